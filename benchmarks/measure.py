"""Medians of alternated runs."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Row:
    """One line of the table: `limit` None where nothing is promised."""

    what: str
    reference: str
    limit: float | None
    measured: float

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"{self.limit:.2f}"
        return f"| {self.what} | {self.reference} | {limit} | {self.measured:.2f} |"


def alternated(rounds: int, *works: Callable[[], object]) -> list[float]:
    """The median time of each, in seconds; one uncounted round first, then all of them in turn."""
    times: list[list[float]] = [[] for _ in works]
    for turn in range(rounds + 1):
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            if turn:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]
