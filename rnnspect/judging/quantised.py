"""Numbers that were quantised: multiples of a step that is neither a power of two nor of ten, such as 1/127."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 8
"""At least so many different numbers are needed: two numbers always have a common step."""
_ROUNDED = 64
"""Times ε of the largest number: closer numbers show how they are stored, and not how they were quantised."""
_FAR = 1e150
"""Squares of larger numbers, and the inverse of smaller steps, are beyond float64: nobody quantises these."""
_SURELY = 0.2
"""As a share of a step: how far off a multiple may be to be told from the next one."""


def multiple_of(values: Tensor, dtype: torch.dtype) -> float | None:
    """The step of which all values are multiples, up to their storage in `dtype`; values are positive, in float64,
    sorted and different. None where there is no such step, or too few values, or none that anybody would quantise."""
    if len(values) < _LEAST or not 1 / _FAR < float(values[-1]) < _FAR:
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
    """Whether all values are multiples of the step, as `dtype` stores them."""
    return bool(((values - (values / step).round() * step).abs() <= torch.finfo(dtype).eps * values).all())


def _divisor(numbers: list[float], least: float) -> float | None:
    """The largest number of which all are multiples, by Euclid's algorithm, starting with the smallest number; None
    where there is none of at least `least`, the precision of the numbers."""
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
    """The step near this one that fits all values best; None where one of them is no multiple."""
    counts = (values / step).round()
    if not bool(counts.any()) or bool(((values / step - counts).abs() > _SURELY).any()):
        return None
    return float((values @ counts) / (counts @ counts))
