"""Decays of another step in what a chunk of steps reads alone, or in what it hands on alone, of states whose decays
depend on the step: planted in forms in torch."""

from __future__ import annotations

import pytest

from tests.causes.carried import TERMS
from tests.causes.known.forms.test_carried import CONSTANT, FROM_DRAWN, FROM_ZEROS, IN_CHUNKS, checked
from tests.marks import sampled

CASES = [
    (cell, mistake, where)
    for cell in TERMS
    if cell not in CONSTANT
    for mistake in IN_CHUNKS
    for where in ("read", "handed")
]


@pytest.mark.each_value_once
@pytest.mark.parametrize("state", [FROM_ZEROS, FROM_DRAWN], ids=["from zeros", "from drawn states"])
@pytest.mark.parametrize(("cell", "mistake", "where"), sampled(CASES, 5))
def test_decays_of_another_step_in_one_of_both(cell: str, mistake: str, where: str, state: dict[str, str]) -> None:
    found = checked(cell, mistake, where, **state)
    assert found.verdict == "differ"
    first = found.causes[0]
    assert (first.name, first.parameters["which"], first.parameters["in"]) == ("decay-shifted", mistake, where)
    assert (first.parameters["step"], first.parameters["every"]) == (8, 8)
    assert not first.left
    assert not found.indistinguishable
