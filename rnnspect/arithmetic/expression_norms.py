"""Layer norm, RMS norm and the larger of two values as expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rnnspect.arithmetic.expression import Expression, zero
from rnnspect.arithmetic.norms import Norm, Norms

if TYPE_CHECKING:
    from rnnspect.cells.functions import Functions


class RecorderNorms(Norms):
    """Written out: (v − mean v) · reciprocal(deviation)."""

    _functions: Functions
    reciprocal: Callable[[Expression], Expression]

    def normalised(self, blocks: Sequence[Expression], norm: Norm) -> tuple[Expression, ...]:
        each = _each(blocks, norm)
        mean = Expression("mean", tuple(blocks), numbers=(each,)) if norm.centred else None
        d = tuple(blocks) if mean is None else tuple(block - mean for block in blocks)
        share = self.reciprocal(Expression("deviation", d, numbers=(each, self._functions.constant(norm.eps))))
        return tuple(one * share for one in d)

    def through_norm(
        self,
        gradients: Sequence[Expression | None],
        blocks: Sequence[Expression],
        made: Sequence[Expression],
        norm: Norm,
    ) -> tuple[Expression, ...]:
        numbers = (_each(blocks, norm),)
        parts = tuple(zero() if g is None else g for g in gradients)
        along = Expression("mean", tuple(part * y for part, y in zip(parts, made, strict=True)), numbers=numbers)
        mean = Expression("mean", parts, numbers=numbers) if norm.centred else None
        left = parts if mean is None else tuple(part - mean for part in parts)
        share = made[0].of[1]
        return tuple((part - y * along) * share for part, y in zip(left, made, strict=True))

    def maximum(self, v: Expression, w: Expression) -> Expression:
        return Expression("max", (v, w))

    def larger(self, v: Expression, w: Expression) -> Expression:
        return Expression("larger", (v, w))


def _each(blocks: Sequence[Expression], norm: Norm) -> int:
    """The number of units of each block over which a mean is taken."""
    return blocks[0].units // (norm.heads or 1)
