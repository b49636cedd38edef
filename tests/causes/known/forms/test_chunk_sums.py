"""What a chunk of steps hands on, made wrongly of its two sums, planted in forms in torch."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from tests.causes.elementwise import CELLS, HANDED, LAST, Sequence, cell_of, handing_on, short_last
from tests.marks import sampled

CHUNK = 8
WHICH = {
    "its own sums are lost": ("chunk-state-lost", "all but its own sums", "handed"),
    "last decay twice": ("chunk-decay-apart", "the last twice", "handed"),
    "first decay twice": ("chunk-decay-apart", "twice", "handed"),
    "first decay left out": ("chunk-decay-apart", "left out", "handed"),
    "all once more": ("chunk-decay-apart", "of the step before", "both"),
}
"""The id of the cause, and what it is told apart by."""
CONSTANT = ("retnet", "lru")
"""Cells whose decays are the same at each step, so that it makes no difference which of them is there twice."""
WHOLE = {
    "what was handed on": "carried by a whole chunk",
    "what was added": "added by a whole chunk",
    "all": "all by a whole chunk",
}
NEARLY_ALL = [(cell, mistake) for cell in CELLS for mistake in HANDED]


def checked(cell: str, engine: Sequence, **keys: Any) -> Verdict:
    states = {"h0": "randn", "c0": "randn"} if cell_of(cell).has_cell_state else {"h0": "randn"}
    spec = Spec(cell=cell_of(cell), **{"input_size": 3, "hidden_size": 6, "input": "randn:27", **states, **keys})
    return rnnspect.check(spec, engine=engine)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("cell", "mistake"), sampled(NEARLY_ALL, 12))
def test_what_each_chunk_hands_on(cell: str, mistake: str, dtype: str) -> None:
    causes = checked(cell, handing_on(cell, CHUNK, mistake), dtype=dtype).causes
    said = [(one.name, one.parameters.get("which"), one.parameters.get("in")) for one in causes]
    assert WHICH[mistake] in said[: 2 if cell in CONSTANT else 1]
    assert causes[0].name == WHICH[mistake][0]
    assert (causes[0].parameters["every"], causes[0].left) == (CHUNK, ())


@pytest.mark.slow
@pytest.mark.parametrize("cell", sampled(CELLS, 3))
def test_without_what_its_steps_added_a_run_from_zeros_begins_each_chunk_with_zeros(cell: str) -> None:
    """The first chunk hands on zeros then, and so does each after it."""
    zeros = {"h0": "zeros"} | ({"c0": "zeros"} if cell_of(cell).has_cell_state else {})
    found = checked(cell, handing_on(cell, CHUNK, "its own sums are lost"), **zeros)
    assert found.causes[0].name == "chunk-state-lost"


@pytest.mark.parametrize("dtype", sampled(["float32", "float64"], 2))
@pytest.mark.parametrize("steps", [27, 5])
@pytest.mark.parametrize("mistake", LAST)
@pytest.mark.parametrize("cell", CONSTANT)
def test_a_short_last_chunk_that_decays_as_a_whole_one(cell: str, mistake: str, steps: int, dtype: str) -> None:
    """Every step is right. Of five steps it is the only chunk."""
    found = checked(cell, short_last(cell, CHUNK, mistake), input=f"randn:{steps}", dtype=dtype)
    (cause,) = found.causes
    if mistake == "all":  # as steps in which nothing is added would
        assert cause.name == "padding-not-masked"
        assert "5 steps" in cause.explanation if steps == 27 else "3 steps" in cause.explanation
        return
    assert cause.name == "chunk-decay-apart"
    assert cause.parameters == {"from": WHOLE[mistake], "step": steps // CHUNK * CHUNK}


@pytest.mark.parametrize("mistake", ["its own sums are lost", "last decay twice"])
@pytest.mark.parametrize("cell", sampled(CELLS, 3))
def test_what_the_last_chunk_alone_hands_on(cell: str, mistake: str) -> None:
    def engine(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        right, wrong = handing_on(cell, CHUNK, ""), handing_on(cell, CHUNK, mistake)
        output, final = right(x, state, parameters)
        _, before = right(x[:, :24], state, parameters)
        _, ended = wrong(x[:, 24:], before, parameters)
        return output, (final[0], ended[1]) if isinstance(state, tuple) else ended

    (cause,) = checked(cell, engine).causes
    assert cause.name == WHICH[mistake][0]
    assert cause.parameters == {"from": WHICH[mistake][1], "step": 24}


@pytest.mark.parametrize("cell", CELLS)
def test_right_forms_agree(cell: str) -> None:
    assert checked(cell, handing_on(cell, CHUNK, "")).agrees
