"""From which of the products W_hh v of a step each gate is computed: most cells make one product, for all gates at
once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rnnspect.arithmetic.norms import Norm, Norms
from rnnspect.cells.interface import Cell

_Made = frozenset[tuple[int, int]]
"""What a value is computed from: the number of a call of `hidden` in a step, and the gate whose block of the result is
used."""


class _Value(frozenset[tuple[int, int]]):
    """A vector of which only that is known. The result of an operation is computed from what both operands are."""

    def _with(self, other: Any) -> Any:
        if isinstance(other, _Packed):
            return _Packed(self._with(one) for one in other)
        return _Value(self | other) if isinstance(other, frozenset) else self

    __add__ = __radd__ = __mul__ = __rmul__ = __rsub__ = _with
    __sub__ = _with  # a set's own would take away


class _Packed(tuple[_Value, ...]):
    """The blocks of all gates, packed."""

    def __add__(self, other: Any) -> _Packed:
        return _Packed(one._with(block) for one, block in zip(self, self._blocks(other), strict=True))

    __radd__ = __add__

    def _blocks(self, other: Any) -> tuple[_Value, ...]:
        return other if isinstance(other, _Packed) else (other,) * len(self)


def _all(values: Iterable[Any]) -> _Made:
    """Everything that these values are computed from."""
    parts = (_all(one) if isinstance(one, _Packed) else one for one in values)
    return frozenset().union(*(one for one in parts if isinstance(one, frozenset)))


class _Calls(Norms):
    """An arithmetic in which a cell's lines tell which blocks of which products every value is computed from."""

    def __init__(self, cell: Cell) -> None:
        self._cell, self._made = cell, 0

    def hidden(self, h: _Made) -> _Packed:
        call, self._made = self._made, self._made + 1
        return _Packed(_Value(h | {(call, gate)}) for gate in range(len(self._cell.gates)))

    def split(self, packed: Any) -> Any:
        return packed if isinstance(packed, tuple) else (packed,) * len(self._cell.gates)

    def gates(self, wx: _Made, h: _Made) -> _Packed:
        return self.hidden(h) + wx

    def peepholes(self) -> tuple[_Value, ...]:
        return (_Value(),) * len(self._cell.peepholes)

    def constant(self, _name: str) -> _Value:
        return _Value()

    parameter = constant

    def normalised(self, blocks: Sequence[Any], _norm: Norm) -> tuple[_Value, ...]:
        return (_Value(_all(blocks)),) * len(blocks)

    def blocks(self, c: _Made) -> tuple[_Value, ...]:
        return (_Value(c),) * len(self._cell.cell_state)

    def __getattr__(self, _operation: str) -> Callable[..., _Value]:
        return lambda *values, **named: _Value(_all((*values, *named.values())))


@functools.cache
def hidden_calls(cell: Cell) -> tuple[int, ...]:
    """For each gate which call of `hidden` in a step gives its block of W_hh v + b_hh. A GRU that resets before the
    product makes two calls: the first for r and z, the second, of r ⊙ h, for n."""
    given = cell.step(_Calls(cell), _Value(), *[_Value()] * len(cell.states))
    calls = {gate: call for call, gate in sorted(_all(given.values()))}
    return tuple(calls.get(gate, 0) for gate in range(len(cell.gates)))


@functools.cache
def without_input(cell: Cell) -> tuple[int, ...]:
    """The gates whose W_ih x + b_ih the cell's lines do not use: they are made of W_hh v alone."""
    made = _all(_of_gates(cell).values())
    return tuple(gate for gate in range(len(cell.gates)) if (-1, gate) not in made)


@functools.cache
def gates_of_no_state(cell: Cell) -> tuple[str, ...]:
    """The gates that the cell's lines do not use for its states: they are returned, and nothing is made of them."""
    made = _of_gates(cell)
    used = {gate for _, gate in _all(made[state] for state in cell.states)}
    return tuple(gate for at, gate in enumerate(cell.gates) if at not in used)


@functools.cache
def has_gates_in_h(cell: Cell) -> bool:
    """Whether h of a step depends on a gate; else it is made of the state before the step alone."""
    return bool(_all([_of_gates(cell)["h"]]))


def _of_gates(cell: Cell) -> dict[str, Any]:
    wx = _Packed(_Value({(-1, gate)}) for gate in range(len(cell.gates)))
    return cell.step(_Calls(cell), wx, *[_Value()] * len(cell.states))
