"""A number as an expression: recorded once for every unit and step (`recorder.py`), and evaluated where a number is
wanted (`evaluation.py`).

The page of a report evaluates the same expressions: `views/report/expression.js`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

SUMS = ("sum", "column")
"""The kinds of expressions that are sums of products."""
POOLED = ("mean", "deviation")
"""The kinds of expressions that are one number for many units."""


@dataclass(frozen=True, eq=False)
class Expression:
    """The number of unit j, for any j. `kind` says what it is:

    - "+" the sum of all `of`; "−" the difference and "·" the product of two
    - "sum": Σ_k w[row + j, k] · v[k], with the weight w called `name`; v[k] is `of[0]` for unit k
    - "column": Σ_k w[row + k, j] · v[k] over `numbers[0]` rows, which is the same by the transposed weight
    - "parameter": entry row + j of the bias, peephole or parameter of the cell's own called `name`
    - "given": unit j of what the step is given, called `name`: x, or h or c of the step before
    - "quantity": unit j of the quantity of the same step called `name`
    - "at": another unit of `of[0]`, that which `place` gives
    - "packed": all units of `of[0]`, then all of `of[1]`, and so on
    - "mean": of `of`, over `numbers[0]` units of each, the same for each of these; "deviation": √(mean of their squares
      + `numbers[1]`)
    - "max" the larger of two; "larger" 1 where the first of two is, ½ where they are equal, else 0
    - "number": `numbers[0]`
    - "limit": `of[0]`, kept within ± `numbers[0]`
    - a function of `cells.functions.KINDS` or `FIXED`: of `of[0]`, with its α and β in `numbers`
    """

    kind: str
    of: tuple[Expression, ...] = ()
    name: str = ""
    row: int = 0
    numbers: tuple[float, ...] = ()
    count: int = 0
    """How many units there are, where that does not follow from `of`; see `units`."""

    def __add__(self, other: Expression) -> Expression:
        return self._with("+", other)

    def __sub__(self, other: Expression) -> Expression:
        return self._with("−", other)

    def __mul__(self, other: Expression) -> Expression:
        return self._with("·", other)

    def _with(self, kind: str, other: Expression) -> Expression:
        """The operation with another expression; for packed values block by block."""
        if "packed" not in (self.kind, other.kind):
            return Expression(kind, (self, other))
        sizes = [block.units for block in (self if self.kind == "packed" else other).of]
        blocks = zip(self.cut(sizes), other.cut(sizes), strict=True)
        return Expression("packed", tuple(one._with(kind, two) for one, two in blocks))

    @cached_property
    def units(self) -> int:
        """How many units it has; 0 for a number that is the same for all units."""
        return self.count or max((one.units for one in self.operands), default=0)

    @property
    def is_zero(self) -> bool:
        """Whether it is zero, and left out of a sum."""
        return self.kind == "number" and self.numbers == (0.0,)

    @property
    def is_rest(self) -> bool:
        """Whether it is 1 − another expression."""
        return self.kind == "−" and self.of[0].kind == "number" and self.of[0].numbers == (1.0,)

    @property
    def operands(self) -> tuple[Expression, ...]:
        """The operands of the same unit: none for a sum of products, a mean, or a value at another unit."""
        return () if self.kind in (*SUMS, *POOLED, "at", "packed") else self.of

    def place(self, unit: int) -> tuple[Expression, int]:
        """For a unit the expression that gives its number, and the unit of that: another one for "at" and "packed", and
        for all else itself. The numbers of "at" are a start, then three for each digit of the unit: by what it is
        divided, how many such digits there are, and how far one of them leads."""
        if self.kind == "at":
            return self.of[0].place(_other(self.numbers, unit))
        block, own = self.in_block(unit)
        return (self, unit) if block is self else block.place(own)

    def in_block(self, unit: int) -> tuple[Expression, int]:
        """For a packed value the block that holds a unit, and the unit in that; for all else itself."""
        if self.kind != "packed":
            return self, unit
        start, block = [found for found in blocks_of(self) if found[0] <= unit][-1]
        return block, unit - start

    @property
    def source(self) -> Expression:
        """For a value at another unit the expression that it is a unit of; for all else itself."""
        return self.of[0].source if self.kind == "at" else self

    def read(self, unit: int) -> Iterator[tuple[Expression, int | None]]:
        """The expressions with an address that a unit depends on, and the unit of each; None for all units, as in a sum
        of products or a mean."""
        for one, at in (leaf.place(unit) for leaf in self.leaves()):
            if one.of:
                yield from ((inner, None) for part in one.of for inner, _ in part.read(0))
            else:
                yield one, at

    def leaves(self) -> Iterator[Expression]:
        """The units, parameters, sums of products and numbers that it is written with, in reading order."""
        if not self.operands:
            yield self
        for operand in self.operands:
            yield from operand.leaves()

    def cut(self, sizes: Sequence[int]) -> tuple[Expression, ...]:
        """A packed value in blocks of these sizes."""
        if self.kind == "packed":
            return self.of
        starts = itertools.accumulate(sizes, initial=0)
        return tuple(self.block(start, size) for start, size in zip(starts, sizes, strict=False))

    def block(self, start: int, count: int) -> Expression:
        """`count` units from `start` on, with those rows of its parameters."""
        if self.kind in ("sum", "parameter"):
            return replace(self, row=self.row + start, count=count)
        if self.kind == "number":
            return self
        if not self.operands:
            return Expression("at", (self,), numbers=(start, 1, count, 1), count=count)
        return replace(self, of=tuple(one.block(start, count) for one in self.of))


def chained(
    equations: Mapping[str, Expression], kind: str, name: str, unit: int
) -> Iterator[tuple[str, int, Expression, int]]:
    """The equation of a unit, then those of the leaves of a kind that it needs one unit of, and so on: name, unit, its
    expression and the unit of that, which are those of a block for a packed value."""
    waiting = [(name, unit)]
    for name, unit in waiting:
        expression, own = equations[name].in_block(unit)
        yield name, unit, expression, own
        units: dict[str, set[int]] = {}
        for one, other in (leaf.place(own) for leaf in expression.leaves()):
            if one.kind == kind and one.name in equations:
                units.setdefault(one.name, set()).add(other)
        needed = [(other, which.pop()) for other, which in units.items() if len(which) == 1]
        waiting += [one for one in needed if one not in waiting]


def zero(units: int = 0) -> Expression:
    """Nothing, for so many units."""
    return Expression("number", numbers=(0.0,), count=units)


LeafOf = Mapping[Expression, Expression]
"""By an expression the leaf that stands for it: a quantity, or some units of one."""


def written_out(one: Expression, named: LeafOf) -> Expression:
    """An expression with quantities replaced by their names, but not itself."""
    if one.kind == "packed":
        return replace(one, of=tuple(written_out(block, named) for block in one.of))
    if one.kind == "at":
        return moved(by_name(one.of[0], named), one)
    return replace(one, of=_operands_by_name(one, named))


def by_name(one: Expression, named: LeafOf) -> Expression:
    """An expression with quantities replaced by their names, itself as well."""
    return named.get(one) or (written_out(one, named) if one.of else one)


def _operands_by_name(whole: Expression, named: LeafOf) -> tuple[Expression, ...]:
    """Sums of sums are one sum: W_ih x + b_ih + W_hh h + b_hh."""
    made: list[Expression] = []
    for part in (by_name(one, named) for one in whole.of):
        made += part.of if part.kind == whole.kind == "+" else (part,)
    return tuple(made)


def blocks_of(packed: Expression) -> Iterator[tuple[int, Expression]]:
    """The blocks of a packed value, each with the unit that it begins at."""
    start = 0
    for block in packed.of:
        yield start, block
        start += block.units


def moved(one: Expression, at: Expression) -> Expression:
    """The expression for another unit, by the same unit of its leaves."""
    if one.kind == "number":
        return one
    if one.kind == "packed":
        first, last = (_other(at.numbers, unit) for unit in (0, at.units - 1))
        for start, block in blocks_of(one):
            if start <= first and last < start + block.units:
                return moved(block, replace(at, numbers=(first - start, *at.numbers[1:])))
    if not one.operands:
        return replace(at, of=(one,))
    return replace(one, of=tuple(moved(operand, at) for operand in one.of))


def _other(numbers: tuple[float, ...], unit: int) -> int:
    start, *digits = map(int, numbers)
    by_three = zip(digits[::3], digits[1::3], digits[2::3], strict=True)
    return start + sum(unit // over % count * step for over, count, step in by_three)
