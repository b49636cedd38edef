"""Layer norm, RMS norm and the larger of two values as expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rnnspect.arithmetic.norms import Norm, Norms
from rnnspect.errors import InputError

if TYPE_CHECKING:
    from rnnspect.cells.functions import Functions


def of_all(kind: str, values: list[float], numbers: tuple[float, ...]) -> float:
    """A mean or a deviation of these; its own numbers are how many of each block there are, and ε."""
    if kind == "mean":
        return math.fsum(values) / len(values)
    return math.sqrt(math.fsum(value * value for value in values) / len(values) + numbers[1])


def of_two(kind: str, v: float, w: float) -> float:
    """The larger one; or 1 where v is, ½ where both are equal, else 0."""
    if kind == "larger":
        return float(v > w) + float(v == w) / 2
    return math.nan if math.isnan(v + w) else max(v, w)


class RecorderNorms(Norms):
    """Written out: (v − mean v) · reciprocal(deviation)."""

    _functions: Functions
    reciprocal: Callable[[Any], Any]

    def normalised(self, blocks: Sequence[Any], norm: Norm) -> tuple[Any, ...]:
        if norm.heads is not None and len(blocks) > 1:
            found = "a norm of each head of several gates together is not shown as arithmetic yet"
            raise InputError(found, advice="run, trace and check show its numbers")
        made, each = type(blocks[0]), _each(blocks, norm)
        mean = made("mean", tuple(blocks), numbers=(each,)) if norm.centred else None
        d = tuple(blocks) if mean is None else tuple(block - mean for block in blocks)
        numbers = (each, self._functions.constant(norm.eps))
        share = self.reciprocal(made("deviation", d, numbers=numbers))
        return tuple(each * share for each in d)

    def through_norm(
        self, gradients: Sequence[Any], blocks: Sequence[Any], made: Sequence[Any], norm: Norm
    ) -> tuple[Any, ...]:
        kind, numbers = type(made[0]), (_each(blocks, norm),)
        parts = tuple(kind("number", numbers=(0.0,)) if g is None else g for g in gradients)
        along = kind("mean", tuple(part * y for part, y in zip(parts, made, strict=True)), numbers=numbers)
        mean = kind("mean", parts, numbers=numbers) if norm.centred else None
        left = parts if mean is None else tuple(part - mean for part in parts)
        share = made[0].of[1]
        return tuple((part - y * along) * share for part, y in zip(left, made, strict=True))

    def maximum(self, v: Any, w: Any) -> Any:
        return type(v)("max", (v, w))

    def larger(self, v: Any, w: Any) -> Any:
        return type(v)("larger", (v, w))


def _each(blocks: Sequence[Any], norm: Norm) -> int:
    """How many units of a block a mean is over."""
    units: int = blocks[0].units
    return units // (norm.heads or 1)
