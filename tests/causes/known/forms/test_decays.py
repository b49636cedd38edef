"""Decays that are cumulated along another axis than that of the steps."""

from __future__ import annotations

from typing import Any

import pytest

import rnnspect
from tests.causes.elementwise import CELLS, SHAPES, SUMS, along, cell_of
from tests.causes.own_cells import MINGRU
from tests.cells.forms import Form, cumulated_along, in_chunks_of_logs, mingru
from tests.marks import sampled

CUMULATED = [
    (cumulated_along(1), "batch"),
    (cumulated_along(2), "unit"),
    (in_chunks_of_logs(5, 2), "unit"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "name"), CUMULATED)
def test_decays_that_are_cumulated_along_another_axis(form: Form, name: str) -> None:
    spec = rnnspect.Spec(cell=MINGRU, input_size=3, hidden_size=4, batch=3, batch_first=True)
    found = rnnspect.check(spec, "randn:12", h0="randn", engine=mingru(form))
    assert found.verdict == "differ"
    assert [(one.name, one.parameters) for one in found.causes][:1] == [("decay-wrong-axis", {"axis": name})]


AXES = {
    "s6": ("unit", "d_state"),
    "mamba": ("inner", "n"),
    "retnet": ("heads", "d_k", "hidden_size/heads"),
    "lru": ("n",),
}
"""The axes of the state, in the order that it has in the form; of the other cells it is a row of units."""
OF = {"decays": {}, "additions": {"of": "additions"}, "both": {"of": "decays and additions"}}
ALONG = [
    (cell, axis, name, sums)
    for cell in CELLS
    for axis, name in [(0, "batch"), *enumerate(AXES.get(cell, ("unit",)), 2)]
    for sums in SUMS
]


def checked(cell: str, chunk: int, axis: int, sums: str, **keys: Any) -> rnnspect.Verdict:
    states = {"h0": "randn", "c0": "randn"} if cell_of(cell).has_cell_state else {"h0": "randn"}
    given = {"input_size": 3, "hidden_size": 8, "input": "randn:21", "batch": 3, **states, **keys}
    return rnnspect.check(rnnspect.Spec(cell=cell_of(cell), **given), engine=along(cell, chunk, axis, sums))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("cell", "axis", "name", "sums"), sampled(ALONG, 14))
def test_sums_of_any_state_along_another_axis(cell: str, axis: int, name: str, sums: str, dtype: str) -> None:
    """In one piece, and in chunks of eight steps."""
    for chunk in (32, 8):
        causes = checked(cell, chunk, axis, sums, dtype=dtype).causes
        assert (causes[0].name, causes[0].parameters) == ("decay-wrong-axis", {"axis": name, **OF[sums]})
        assert causes[0].left == ()


@pytest.mark.parametrize("cell", CELLS)
def test_sums_along_the_steps_agree(cell: str) -> None:
    assert checked(cell, 8, 1, "").agrees


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["retnet", "lru"])
def test_constant_decays_cumulated_over_heads_or_units_are_none_from_zeros(cell: str) -> None:
    """All steps then have the same sum of logarithms, so that none decays what the steps before it added: a decay that
    is left out gives the same numbers."""
    names = [one.name for one in checked(cell, 32, 2, "decays", h0="zeros", c0="zeros").causes]
    assert names[0] == "decay-left-out"
    assert "decay-wrong-axis" not in names


def test_every_axis_of_the_state_is_tried() -> None:
    assert {cell: len(AXES.get(cell, ("unit",))) for cell in CELLS} == {
        cell: len(SHAPES.get(cell, (-1,))) for cell in CELLS
    }
