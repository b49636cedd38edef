"""Limits how much a search may try: by work, which is the same on every machine, or by the clock."""

from __future__ import annotations

import math
import time

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.backward.case import BackwardAssumption

WORK = 10 * 10**9
"""How much a search may do: what takes about 10 s of one core that does nothing else."""
PER_NANOSECOND = 7
"""How many multiplications of a matrix product such a core does in a nanosecond, about."""
STEP_BACK = 2_250_000
"""About how many nanoseconds the backward pass through one step of a layer takes."""


def products_of(assumed: Assumption | BackwardAssumption, most: int | None = None) -> int:
    """How many multiplications the products of a run take, or those of its first `most` steps."""
    steps, batch = assumed.run.x.shape[:2]
    return min(steps, most or steps) * batch * assumed.p.products


class NothingExplains(str):
    """The note of a search for a mistake of the backward pass that found none."""


class Effort:
    """What a search may still do. With `seconds` it ends after that time. Without, it ends after the amount of work
    `WORK`, so that what it finds does not depend on how fast the machine is."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self._began = seconds, time.monotonic()
        self._until = None if seconds is None else self._began + seconds
        self._left = WORK

    def spend(self, calls: int, multiplications: int) -> None:
        """Counts work: the nanoseconds that calling operations takes on an idle core, and the multiplications of their
        products. Both are computed from the run, and not measured."""
        self._left -= calls + multiplications // PER_NANOSECOND

    @property
    def is_over(self) -> bool:
        """Whether the search has to end. Once true, it stays true: neither work nor time goes back."""
        return self._left <= 0 if self._until is None else time.monotonic() >= self._until

    def explains_nothing(self, tried: int) -> NothingExplains:
        """Says that none of `tried` mistakes of going back explains the run, and whether the search ended early."""
        said = f"none of {tried} known mistakes of the backward pass explains it"
        return NothingExplains(f"{said}; {self.stopped}" if self.is_over else said)

    @property
    def stopped(self) -> str:
        """Says that the search ended early, and how to search longer."""
        if self.seconds is None:  # its work takes a busy or slow machine longer than an idle one
            longer: float = max(60, 60 * math.ceil(2 * (time.monotonic() - self._began) / 60))
            return f"stopped before everything was tried (--explain {longer} searches for {longer} s)"
        longer = max(60, 6 * self.seconds)
        return f"stopped after {self.seconds:g} s, not everything tried (--explain {longer:g} searches longer)"
