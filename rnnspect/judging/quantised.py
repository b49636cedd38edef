"""Numbers that were quantised: multiples of a step that is neither a power of two nor of ten, such as 1/127."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 8
"""Different numbers without which nothing is said: two of them may choose the step."""
_ROUNDED = 64
"""Times ε of the largest: numbers that are nearer together show how they are stored, not how they were quantised."""
_SURELY = 0.2
"""Of a step: how far a multiple may be off where it is to be told from the next."""


def multiple_of(values: Tensor, dtype: torch.dtype) -> float | None:
    """The step that all values are multiples of, but for how they are stored in `dtype`: of positive numbers in
    float64, each once and in order. None where there is no such step, or they are few."""
    if len(values) < _LEAST:
        return None
    stored = torch.finfo(dtype).eps * float(values[-1])  # how exactly the largest is
    nearest = torch.cat([values[:1], values.diff()]).sort().values[: 2 * _LEAST]
    step = _divisor(nearest.tolist(), _ROUNDED * stored)
    if step is None or (step := _fitted(nearest, step)) is None:
        return None
    reach = float(nearest[-1]) * _SURELY * step / stored  # beyond it the step is not exact enough to count steps
    within = values[values <= reach]
    if len(within) and (step := _fitted(within, step)) is None:
        return None
    if (step := _fitted(values, step)) is None:
        return None
    ones = round(1 / step) if step < 1 else 0
    return 1 / ones if ones and _is_stored(values, 1 / ones, dtype) else step


def _is_stored(values: Tensor, step: float, dtype: torch.dtype) -> bool:
    """Whether all are multiples of the step, as `dtype` stores them."""
    return bool(((values - (values / step).round() * step).abs() <= torch.finfo(dtype).eps * values).all())


def _divisor(numbers: list[float], least: float) -> float | None:
    """What all of them, the smallest first, are multiples of, by Euclid's algorithm; None where it finds no such number
    of at least `least`, to which they are known."""
    found = numbers[0]
    if found < least:
        return None
    for seen, number in enumerate(numbers, start=1):
        while number >= least:
            found, number = number, abs(found - round(found / number) * number)
        counts = [round(one / found) for one in numbers[:seen]]
        found = sum(one * count for one, count in zip(numbers, counts, strict=False)) / sum(n * n for n in counts)
    return found


def _fitted(values: Tensor, step: float) -> float | None:
    """The step nearest to this one that fits all values best; None where one of them is no multiple."""
    counts = (values / step).round()
    if not bool(counts.any()) or bool(((values / step - counts).abs() > _SURELY).any()):
        return None
    return float((values @ counts) / (counts @ counts))
