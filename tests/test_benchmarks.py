"""Each table of `python -m benchmarks` can be made: its first row, each work timed once. No number is asserted."""

from __future__ import annotations

import math
import sys
import timeit
from collections.abc import Callable

import pytest

from benchmarks.__main__ import SUITES
from benchmarks.measure import alternated

ELSEWHERE = {"explain-long", "memory"}
"""Minutes, and in `tests/judging/test_memory.py`."""


def once(_rounds: int, *works: Callable[[], object]) -> list[float]:
    """Without the round before, which only the numbers need."""
    return [timeit.timeit(work, number=1) for work in works]


@pytest.mark.slow
def test_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, suite in SUITES.items():
        if name in ELSEWHERE:
            continue
        monkeypatch.setattr(sys.modules[suite.__module__], "alternated", once, raising=False)
        assert math.isfinite(next(suite()).measured)  # of works timed once, a difference may be below 0


def test_works_are_timed_in_turn_after_a_round_that_does_not_count() -> None:
    ran: list[str] = []
    times = alternated(3, lambda: ran.append("a"), lambda: ran.append("b"))
    assert ran == ["a", "b"] * 4
    assert len(times) == 2
    assert min(times) >= 0
