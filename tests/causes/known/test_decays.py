"""Decays that are cumulated along another axis than that of the steps."""

from __future__ import annotations

import pytest

import rnnspect
from tests.causes.own_cells import MINGRU
from tests.cells.forms import cumulated_along, mingru


@pytest.mark.parametrize(("axis", "name"), [(1, "batch"), (2, "unit")])
def test_decays_that_are_cumulated_along_another_axis(axis: int, name: str) -> None:
    spec = rnnspect.Spec(cell=MINGRU, input_size=3, hidden_size=4, batch=3, batch_first=True)
    found = rnnspect.check(spec, "randn:12", h0="randn", engine=mingru(cumulated_along(axis)))
    assert found.verdict == "differ"
    assert [(one.name, one.parameters) for one in found.causes][:1] == [("decay-wrong-axis", {"axis": name})]
