"""Heat maps of any size in a bounded number of cells, each with the smallest and the largest number in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnspect.arithmetic.evaluation import Floats

Flags = npt.NDArray[np.uint8]

MOST_STEPS = 1024
"""Cells along the steps, which is about as many as a screen shows, where not every number is kept."""
LEAST = 256
"""Cells of a picture, however many pictures share a file."""
_ENOUGH_UNITS = 64
NAN, PLUS, MINUS = 1, 2, 4
"""What else is in a cell: NaN, an infinity."""
HUGE = 2.0**1000
"""From here on a number counts as infinite where several share a cell: the span of all would overflow."""


@dataclass(frozen=True, eq=False)
class Picture:
    """(steps, units) numbers in cells of `per_step` steps and `per_unit` units; the last ones may hold fewer.

    `low` and `high` are the smallest and the largest finite number of each cell; inf and -inf where it has none.
    `flags` say what else is in it. Where each cell is one number, `low` and `high` are one array of these numbers,
    finite or not.
    """

    steps: int
    units: int
    per_step: int
    per_unit: int
    low: Floats
    high: Floats
    flags: Flags

    @property
    def exact(self) -> bool:
        """Whether every number is kept."""
        return self.per_step == self.per_unit == 1

    def paint(self, start: int, values: Floats) -> None:
        """Adds the numbers (n, units) of the steps from `start` on; parts of a picture may come in any order."""
        if self.exact:
            self.low[start : start + len(values)] = values
            return
        finite = np.abs(values) < HUGE
        rows, first = _starts(start, len(values), self.per_step)
        columns, _ = _starts(0, self.units, self.per_unit)
        here = slice(first, first + len(rows))

        def reduced(ufunc: np.ufunc, cells: npt.NDArray[np.generic], of: npt.NDArray[np.generic]) -> None:
            ufunc(cells[here], ufunc.reduceat(ufunc.reduceat(of, columns, 1), rows, 0), out=cells[here])

        reduced(np.minimum, self.low, np.where(finite, values, np.inf))
        reduced(np.maximum, self.high, np.where(finite, values, -np.inf))
        if not finite.all():
            odd = np.isnan(values) * NAN + (values >= HUGE) * PLUS + (values <= -HUGE) * MINUS
            reduced(np.bitwise_or, self.flags, odd.astype(np.uint8))


def blank(steps: int, units: int, cells: int) -> Picture:
    """A picture to be painted, of at most `cells` cells, or of `LEAST` where that is more."""
    per_step, per_unit = _sizes(steps, units, max(cells, LEAST))
    shape = math.ceil(steps / per_step), math.ceil(units / per_unit)
    exact = per_step == per_unit == 1
    low = np.full(shape, np.nan if exact else np.inf)
    high = low if exact else np.full(shape, -np.inf)
    return Picture(steps, units, per_step, per_unit, low, high, np.zeros(shape, np.uint8))


def picture_of(values: Floats, cells: int) -> Picture:
    """The picture of numbers (steps, units) that are all in memory."""
    picture = blank(len(values), values.shape[1], cells)
    picture.paint(0, values)
    return picture


def _sizes(steps: int, units: int, cells: int) -> tuple[int, int]:
    """How many steps and how many units one cell holds."""
    if steps * units <= cells:
        return 1, 1
    wide = min(units, max(cells // min(steps, MOST_STEPS), min(_ENOUGH_UNITS, cells)))
    per_unit = math.ceil(units / wide)
    long = min(steps, MOST_STEPS, max(cells // math.ceil(units / per_unit), 1))
    return math.ceil(steps / long), per_unit


def _starts(start: int, count: int, size: int) -> tuple[npt.NDArray[np.intp], int]:
    """Of `count` places from `start` on, in cells of `size` places: where each cell begins among them, and the index of
    the first cell."""
    first = start // size
    begins = np.arange(first, (start + count - 1) // size + 1) * size - start
    return np.maximum(begins, 0), first
