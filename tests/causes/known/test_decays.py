"""A decay that is left out, included twice or a step off in a chunk, planted in chunked forms in torch."""

from __future__ import annotations

from typing import Any

import pytest

import rnnspect
from rnnspect import Spec, Verdict
from tests.causes.chunked import IN_DECAYS, SCANS, cell_of, scanned
from tests.causes.own_cells import MINGRU
from tests.cells.forms import cumulated_along, mingru


def checked(cell: str, mistake: str, **keys: Any) -> Verdict:
    given = {"input_size": 3, "hidden_size": 6, "h0": "randn", "input": "randn:27", **keys}
    return rnnspect.check(Spec(cell=cell_of(cell), **given), engine=scanned(cell, 8, mistake))


@pytest.mark.each_value_once
@pytest.mark.parametrize("keys", [{}, {"batch": 3}, {"dtype": "float64"}, {"input": "randn:9"}], ids=str)
@pytest.mark.parametrize("mistake", IN_DECAYS)
@pytest.mark.parametrize("cell", SCANS)
def test_it_is_named_first_where_a_chunk_begins(cell: str, mistake: str, keys: dict[str, Any]) -> None:
    found = checked(cell, mistake, **keys)
    assert found.verdict == "differ"
    assert found.causes
    cause = found.causes[0]
    assert (cause.name, cause.parameters["which"], cause.parameters["step"]) == ("chunk-decay-apart", mistake, 8)
    assert cause.parameters.get("every") == (None if keys == {"input": "randn:9"} else 8)
    assert not cause.left


@pytest.mark.each_value_once
@pytest.mark.parametrize("keys", [{}, {"batch": 3}, {"dtype": "float64"}, {"input": "randn:1"}], ids=str)
@pytest.mark.parametrize("cell", SCANS)
def test_a_step_that_decays_what_it_adds(cell: str, keys: dict[str, Any]) -> None:
    found = checked(cell, "own", **keys)
    assert found.verdict == "differ"
    assert "decay-own-step" in [cause.name for cause in found.causes]


@pytest.mark.parametrize("cell", SCANS)
def test_a_right_run_is_given_no_cause(cell: str) -> None:
    assert checked(cell, "").agrees


@pytest.mark.parametrize(("axis", "name"), [(1, "batch"), (2, "unit")])
def test_decays_that_are_cumulated_along_another_axis(axis: int, name: str) -> None:
    spec = rnnspect.Spec(cell=MINGRU, input_size=3, hidden_size=4, batch=3, batch_first=True)
    found = rnnspect.check(spec, "randn:12", h0="randn", engine=mingru(cumulated_along(axis)))
    assert found.verdict == "differ"
    assert [(one.name, one.parameters) for one in found.causes][:1] == [("decay-wrong-axis", {"axis": name})]
