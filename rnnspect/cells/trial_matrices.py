"""Matrices in the cell state, in the arithmetic in which a cell's lines are tried: for each head one with a row for
each key and a column for each value."""

from __future__ import annotations

from rnnspect.cells.interface import Cell
from rnnspect.cells.sizes import Units
from rnnspect.cells.trial_values import TrialValue, WrongLineError, equal_parts, in_words, one_size
from rnnspect.errors import listed


class TrialMatrices:
    """What `Trial` has for matrices, and for a cell state of several blocks."""

    _cell: Cell
    _blocks: list[TrialValue]
    c: TrialValue
    of_matrices = 0
    """Multiplications in products of matrices."""

    def blocks(self, c: object) -> tuple[TrialValue, ...]:
        if c is self.c:
            return tuple(self._blocks)
        if one_size("a.blocks", c) != self.c.size:
            raise WrongLineError(f"a.blocks of {in_words(c)}", "a.blocks(c), of a cell state")
        return tuple(TrialValue(one.size) for one in self._blocks)

    def packed(self, *blocks: object) -> TrialValue:
        found = [one_size("a.packed", one) for one in blocks]
        if found != [one.size for one in self._blocks]:
            names = zip(self._cell.cell_state, self._blocks, strict=True)
            said = listed(f"{name} of {one.size} units" for (name, _), one in names)
            raise WrongLineError(f"a.packed of values of {listed(map(str, found)) or 'no'} units", said)
        made = TrialValue(self.c.size)
        made.parts = tuple(one for one in blocks if isinstance(one, TrialValue))
        return made

    def carry_complex(self, p: object, q: object, c: object, v: object) -> TrialValue:
        if c is not self.c:
            raise WrongLineError(f"a.carry_complex of {in_words(c)}", "c, the state of the step before")
        each = one_size("a.carry_complex", p, q)
        if [each, each] != [one.size for one in self._blocks] or one_size("a.carry_complex", c, v) != 2 * each:
            raise WrongLineError(
                f"a.carry_complex of {in_words(c)} with numbers of {each} units", "two blocks of as many, in c and in v"
            )
        return TrialValue(self.c.size)

    def outer(self, k: object, v: object, heads: object = 1) -> TrialValue:
        keys, values = (_each("a.outer", one, heads) for one in (k, v))
        count = _count("a.outer", heads)
        self.of_matrices += count * keys * values
        return TrialValue(Units(count * keys * values, f"{count}·({keys} × {values})"))

    def by_key(self, s: object, q: object, heads: object = 1) -> TrialValue:
        keys, count = _each("a.by_key", q, heads), _count("a.by_key", heads)
        made = _shared_out("a.by_key", s, count, count * keys)
        self.of_matrices += made.size * keys
        return made

    def by_value(self, s: object, v: object, heads: object = 1) -> TrialValue:
        values, count = _each("a.by_value", v, heads), _count("a.by_value", heads)
        made = _shared_out("a.by_value", s, count, count * values)
        self.of_matrices += made.size * values
        return made

    def spread(self, f: object, s: object) -> TrialValue:
        _rest("a.spread", s, one_size("a.spread", f))
        assert isinstance(s, TrialValue)
        s.uses -= 1  # its size is asked for, not its numbers
        return TrialValue(s.size, is_share=isinstance(f, TrialValue) and f.is_share)

    def delta(self, s: object, f: object, b: object, k: object, v: object, heads: object = 1) -> TrialValue:
        made = self.outer(k, v, heads)
        size = one_size("a.delta", s)
        if size != made.size:
            raise WrongLineError(f"a.delta of {in_words(s)}, with keys and values of {made.size}", "one size")
        if f is not None:
            self.spread(f, s)
        if one_size("a.delta", b) != _count("a.delta", heads):
            raise WrongLineError(f"a.delta with β of {in_words(b)}", "a number for each head")
        self.of_matrices += size  # what it holds for the key
        return TrialValue(size)


def _count(operation: str, heads: object) -> int:
    if type(heads) is not int or heads < 1:
        raise WrongLineError(f"{operation} with {heads!r} heads", "a whole number of heads, such as HEADS of your file")
    return heads


def _shared_out(operation: str, s: object, heads: int, summed: int) -> TrialValue:
    """What is left of matrices whose rows or columns are summed up."""
    left = heads * _rest(operation, s, summed)
    return TrialValue(Units(left, f"{in_words(s)} / {summed // heads}"))


def _each(operation: str, v: object, heads: object) -> int:
    """How many units a head has of it."""
    return _rest(operation, v, _count(operation, heads))


def _rest(operation: str, v: object, parts: int) -> int:
    return equal_parts(operation, v, one_size(operation, v), parts)
