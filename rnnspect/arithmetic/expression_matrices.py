"""Matrices, and a cell state of several blocks, as expressions: which numbers each unit is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rnnspect.arithmetic.expression import Expression, zero
from rnnspect.arithmetic.matrices import delta

if TYPE_CHECKING:
    from rnnspect.network.parameters import LayerParameters

_Digits = tuple[int, int, int]


def _at(one: Expression, count: int, start: int, *digits: _Digits) -> Expression:
    """`count` units picked out of `one` (see `Expression.place`)."""
    return Expression("at", (one,), numbers=(start, *(number for digit in digits for number in digit)), count=count)


def _added(count: int, term: Callable[[int], Expression]) -> Expression:
    return term(0) if count == 1 else Expression("+", tuple(map(term, range(count))))


class RecorderMatrices:
    """The operations of `Recorder` for them. A matrix lies row after row, as in `matrices.PlainMatrices`."""

    _p: LayerParameters
    _gates: int

    def blocks(self, c: Expression) -> tuple[Expression, ...]:
        return c.cut(self._p.state_sizes(self._gates))

    def packed(self, *blocks: Expression) -> Expression:
        return Expression("packed", blocks)

    def placed(self, block: Expression, at: int) -> Expression:
        """The cell state with zeros in all other blocks."""
        zeros = [zero(size) for size in self._p.state_sizes(self._gates)]
        return Expression("packed", (*zeros[:at], block, *zeros[at + 1 :]))

    def outer(self, k: Expression, v: Expression, heads: int = 1) -> Expression:
        keys, values, count = k.units // heads, v.units // heads, k.units * v.units // heads
        row, column = (values, k.units, 1), (1, values, 1)
        return _at(k, count, 0, row) * _at(v, count, 0, (keys * values, heads, values), column)

    def by_key(self, s: Expression, q: Expression, heads: int = 1) -> Expression:
        keys, values, count = q.units // heads, s.units // q.units, s.units // q.units * heads

        def term(key: int) -> Expression:
            of_head = _at(q, count, key, (values, heads, keys))
            return _at(s, count, key * values, (values, heads, keys * values), (1, values, 1)) * of_head

        return _added(keys, term)

    def by_value(self, s: Expression, v: Expression, heads: int = 1) -> Expression:
        values, count = v.units // heads, s.units // v.units * heads
        keys = count // heads

        def term(value: int) -> Expression:
            return _at(s, count, value, (1, count, values)) * _at(v, count, value, (keys, heads, values))

        return _added(values, term)

    def spread(self, f: Expression, s: Expression) -> Expression:
        return _at(f, s.units, 0, (s.units // f.units, f.units, 1))

    def summed(self, s: Expression, f: Expression) -> Expression:
        """The transpose of `spread`."""
        each = s.units // f.units
        return _added(each, lambda at: _at(s, f.units, at, (1, f.units, each)))

    def carry_complex(self, p: Expression, q: Expression, c: Expression, v: Expression) -> Expression:
        re, im = c.cut((p.units,) * 2)
        return self.packed(p * re - q * im, q * re + p * im) + v

    def delta(
        self, s: Expression, f: Expression | None, b: Expression, k: Expression, v: Expression, heads: int = 1
    ) -> Expression:
        made: Expression = delta(self, s, f, b, k, v, heads)
        return made
