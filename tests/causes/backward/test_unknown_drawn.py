"""What no known mistake of going back made is given no known mistake's name.

Those here were given one; 3,000 with `pytest -m campaign -s tests/causes/backward/test_unknown_drawn.py`, or as many
as DRAWN says, from the seed FIRST on.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.causes.backward.unknown import unknown

DRAWN, FIRST = int(os.environ.get("DRAWN", "3000")), int(os.environ.get("FIRST", "0"))
ONCE_NAMED = (5, 162, 196, 360, 467, 540)
"""As clipped: one number or norm was smaller than it should be, and a limit was made for it."""


def named(first: int, count: int) -> tuple[list[str], Counter[str]]:
    found, answers = [], Counter[str]()
    for seed in range(first, first + count):
        change = unknown(seed)
        verdict = change.check()
        answers[verdict.verdict] += 1
        if verdict.causes:
            found.append(f"{seed}: {change}: {[(cause.name, cause.parameters) for cause in verdict.causes]}")
            print(found[-1], flush=True)
    return found, answers


@pytest.mark.parametrize("seed", ONCE_NAMED)
def test_what_was_once_given_a_name(seed: int) -> None:
    found, answers = named(seed, 1)
    assert not found
    assert answers["differ"] == 1


@pytest.mark.slow
def test_bounds_that_a_mistake_makes_infinite_explain_nothing() -> None:
    """The slope of tanh in place of relu's, of numbers that relu let grow."""
    verdict = unknown(35).check_results()
    assert (verdict.verdict, verdict.causes) == ("differ", ())


@pytest.mark.campaign
def test_what_nobody_knows_is_given_no_name() -> None:
    found, answers = named(FIRST, DRAWN)
    print(answers)
    assert not found, "\n".join(found)
