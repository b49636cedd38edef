"""Decays that are wrong in a prompt alone, before right single steps."""

from __future__ import annotations

import pytest

from tests.causes.carried import NAMED, OF_STEPS
from tests.causes.known.forms.test_handed_apart import CONSTANT, DRAWN, IN_TURN, KEYS, PROMPT, checked
from tests.marks import sampled

CASES = [
    *((cell, way, mistake, where) for cell, way in IN_TURN for mistake in OF_STEPS for where in ("both", "read")),
    *((cell, way, "earlier in its chunk", "both") for cell, way in IN_TURN if cell not in CONSTANT),
]
"""A mistake, and in what it is made."""


@pytest.mark.parametrize(("cell", "way", "mistake", "where"), sampled(CASES, 14))
def test_it_is_told_with_the_length_of_the_prompt(cell: str, way: int, mistake: str, where: str) -> None:
    found = checked(cell, mistake, where, (0,), PROMPT, **DRAWN, **KEYS[way])
    assert found.verdict == "differ"
    said = [(one.name, one.parameters.get("which"), one.parameters.get("in")) for one in found.causes]
    wanted = NAMED.get(mistake, "chunk-decay-apart"), mistake, where
    assert wanted in (said if cell in CONSTANT else said[:1])
    cause = found.causes[said.index(wanted)]
    same = (cell in CONSTANT, mistake, where) == (True, "its own", "both")  # the first of equal decays is left out
    assert cause.parameters.get("prompt") == (None if same else 13)
