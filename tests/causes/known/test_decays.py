"""Decays that are cumulated along another axis than that of the steps."""

from __future__ import annotations

import pytest

import rnnspect
from tests.causes.own_cells import MINGRU
from tests.cells.forms import Form, cumulated_along, in_chunks_of_logs, mingru

CUMULATED = [
    (cumulated_along(1), "batch"),
    (cumulated_along(2), "unit"),
    (in_chunks_of_logs(5, 2), "unit"),
]


@pytest.mark.parametrize(("form", "name"), CUMULATED)
def test_decays_that_are_cumulated_along_another_axis(form: Form, name: str) -> None:
    spec = rnnspect.Spec(cell=MINGRU, input_size=3, hidden_size=4, batch=3, batch_first=True)
    found = rnnspect.check(spec, "randn:12", h0="randn", engine=mingru(form))
    assert found.verdict == "differ"
    assert [(one.name, one.parameters) for one in found.causes][:1] == [("decay-wrong-axis", {"axis": name})]
