"""Which of the products W_hh v of a step each gate is computed from: most cells make one, for all gates at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rnnspect.cells.interface import Cell

Made = frozenset[tuple[int, int]]
"""What a value is computed from: the number of a call of `hidden` in a step, and the gate whose block of it that is."""


class _Value(frozenset[tuple[int, int]]):
    """A vector of which only that is known. The sum and the product of two are computed from what both are."""

    def __add__(self, other: Made) -> _Value:
        return _Value(self | other)

    __mul__ = __add__


class _Calls:
    """The arithmetic in which a cell's lines say of every value which blocks of which products are in it."""

    def __init__(self, cell: Cell) -> None:
        self._cell, self._made = cell, 0

    def hidden(self, h: Made) -> tuple[_Value, ...]:
        call, self._made = self._made, self._made + 1
        return tuple(_Value(h | {(call, gate)}) for gate in range(len(self._cell.gates)))

    def split(self, packed: Any) -> Any:
        return packed if isinstance(packed, tuple) else (packed,) * len(self._cell.gates)

    def gates(self, wx: Made, h: Made) -> tuple[_Value, ...]:
        return tuple(one + wx for one in self.hidden(h))

    def peepholes(self) -> tuple[_Value, ...]:
        return (_Value(),) * len(self._cell.peepholes)

    def constant(self, _name: str) -> _Value:
        return _Value()

    def __getattr__(self, _operation: str) -> Callable[..., _Value]:
        return lambda *values: _Value(frozenset().union(*values))


@functools.cache
def hidden_calls(cell: Cell) -> tuple[int, ...]:
    """For each gate which call of `hidden` in a step gives its block of W_hh v + b_hh. A GRU that resets before the
    product makes two calls: the first for r and z, the second, of r ⊙ h, for n."""
    given = cell.step(_Calls(cell), _Value(), *[_Value()] * len(cell.states))
    calls = {gate: call for call, gate in sorted(frozenset().union(*given.values()))}
    return tuple(calls[gate] for gate in range(len(cell.gates)))
