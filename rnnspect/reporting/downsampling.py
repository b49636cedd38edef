"""A heat map of any size in a bounded number of cells, each with the smallest and the largest number in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.uint8]

MOST_STEPS = 1024
"""Cells along the steps, which is about as many as a screen shows, where not every number is kept."""
LEAST = 256
"""Cells of a picture, however many pictures share a file."""
_ENOUGH_UNITS = 64
NAN, PLUS, MINUS = 1, 2, 4
"""What else is in a cell: NaN, an infinity."""
HUGE = 2.0**1000
"""From here on a number counts as infinite where several share a cell: the span of all could not be said."""


@dataclass(frozen=True, eq=False)
class Picture:
    """(steps, units) numbers in cells of `per_step` steps and `per_unit` units; the last ones may hold fewer.

    `low` and `high` are the smallest and the largest finite number of each cell; inf and -inf where it has none.
    `flags` say what else is in it. Where each cell is one number, `low` is `high` and has it, finite or not.
    """

    steps: int
    units: int
    per_step: int
    per_unit: int
    low: Array
    high: Array
    flags: Flags

    @property
    def exact(self) -> bool:
        """Whether every number is kept."""
        return self.per_step == self.per_unit == 1


class Painter:
    """Takes the numbers of a picture some steps at a time, in any order."""

    def __init__(self, steps: int, units: int, cells: int) -> None:
        """At most `cells` cells, but never less than a few."""
        self._steps, self._units = steps, units
        self._per_step, self._per_unit = _sizes(steps, units, max(cells, LEAST))
        shape = math.ceil(steps / self._per_step), math.ceil(units / self._per_unit)
        exact = self._per_step == self._per_unit == 1
        self._low = np.full(shape, np.nan if exact else np.inf)
        self._high = self._low if exact else np.full(shape, -np.inf)
        self._flags = np.zeros(shape, np.uint8)

    def paint(self, start: int, values: Array) -> None:
        """The numbers (n, units) of the steps from `start` on."""
        if self._low is self._high:
            self._low[start : start + len(values)] = values
            return
        finite = np.abs(values) < HUGE
        low, high = np.where(finite, values, np.inf), np.where(finite, values, -np.inf)
        rows, first = _starts(start, len(values), self._per_step)
        columns, _ = _starts(0, self._units, self._per_unit)
        here = slice(first, first + len(rows))

        def reduced(ufunc: np.ufunc, cells: npt.NDArray[np.generic], of: npt.NDArray[np.generic]) -> None:
            ufunc(cells[here], ufunc.reduceat(ufunc.reduceat(of, columns, 1), rows, 0), out=cells[here])

        reduced(np.minimum, self._low, low)
        reduced(np.maximum, self._high, high)
        if not finite.all():
            odd = np.isnan(values) * NAN + (values >= HUGE) * PLUS + (values <= -HUGE) * MINUS
            reduced(np.bitwise_or, self._flags, odd.astype(np.uint8))

    def picture(self) -> Picture:
        return Picture(
            self._steps, self._units, self._per_step, self._per_unit, self._low, self._high, self._flags
        )  # fmt: skip


def picture_of(values: Array, cells: int) -> Picture:
    """Of numbers (steps, units) that are all at hand."""
    painter = Painter(len(values), values.shape[1], cells)
    painter.paint(0, values)
    return painter.picture()


def _sizes(steps: int, units: int, cells: int) -> tuple[int, int]:
    """How many steps and how many units one cell holds."""
    if steps * units <= cells:
        return 1, 1
    wide = min(units, max(cells // min(steps, MOST_STEPS), min(_ENOUGH_UNITS, cells)))
    per_unit = math.ceil(units / wide)
    long = min(steps, MOST_STEPS, max(cells // math.ceil(units / per_unit), 1))
    return math.ceil(steps / long), per_unit


def _starts(start: int, count: int, size: int) -> tuple[npt.NDArray[np.intp], int]:
    """Where in `count` places from `start` on a new cell of so many places begins, and which cell is the first."""
    first = start // size
    begins = np.arange(first, (start + count - 1) // size + 1) * size - start
    return np.maximum(begins, 0), first
