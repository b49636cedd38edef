"""Limits how much a search may try: by work, which is the same on every machine, or by the clock."""

from __future__ import annotations

import time

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.backward.case import BackwardAssumption

WORK = 10 * 10**9
"""What a search may do: 10 s of one core that has nothing else to do."""
PER_NANOSECOND = 7
"""Multiplications in products that such a core does in a nanosecond, about."""


def products_of(assumed: Assumption | BackwardAssumption, most: int | None = None) -> int:
    """How many numbers a run multiplies, or so many of its steps."""
    steps, batch = assumed.run.x.shape[:2]
    return min(steps, most or steps) * batch * assumed.p.products


class Effort:
    """What a search may still do. With `seconds` it is over after so long, however much was done; without, after as
    much work as `WORK`, however long that took: what it finds does not depend on what else the machine does."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._until = None if seconds is None else time.monotonic() + seconds
        self._left, self._over = WORK, False

    def spend(self, calls: int, multiplications: int) -> None:
        """Counts work: what calling operations takes an idle core, in nanoseconds, and what their products multiply.
        Both are numbers of the run, not of a clock."""
        self._left -= calls + multiplications // PER_NANOSECOND

    @property
    def is_over(self) -> bool:
        """Once it is, it stays so."""
        spent = self._left <= 0 if self._until is None else time.monotonic() >= self._until
        self._over = self._over or spent
        return self._over

    def explains_nothing(self, tried: int) -> str:
        """That none of so many mistakes of going back was found, and where it stopped."""
        said = f"none of {tried} known mistakes of going back explains it"
        return f"{said}; {self.stopped}" if self.is_over else said

    @property
    def stopped(self) -> str:
        """That it is over, and how to search longer."""
        if self.seconds is None:
            return "stopped before everything was tried (--explain 60 searches for 60 s)"
        longer = max(60.0, 6 * self.seconds)
        return f"stopped after {self.seconds:g} s, not everything tried (--explain {longer:g} searches longer)"
