"""Finds delay lines among the blocks of a cell state: what keeps the inputs of the last steps for a convolution over
steps. Nothing is asked but the cell's lines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnspect.cells.interface import Cell


@dataclass(frozen=True)
class DelayLine:
    """A delay line: blocks of the cell state of which the first is set from x alone, and each later one to the value
    that the block before it had."""

    names: tuple[str, ...]
    blocks: tuple[int, ...]
    """The places of the blocks in the cell state, that of the latest input first."""
    weights: tuple[str, ...]
    """The parameters that multiply the input of a step and the value of each block; empty where there is not one
    parameter for each."""


@functools.cache
def delayed(cell: Cell) -> frozenset[int]:
    """The blocks of the cell state that keep inputs for a convolution. They depend on x alone."""
    return frozenset(block for line in delay_lines(cell) for block in line.blocks)


class _Seen:
    """A value of which is known whether it depends on a state, and which parameters multiply it."""

    def __init__(self, *made_of: Any, is_state: bool = False, parameter: str = "") -> None:
        self.of_state: bool = is_state or any(one.of_state for one in made_of if isinstance(one, _Seen))
        self.parameter, self.weights = parameter, dict[str, None]()
        self.packed: tuple[_Seen, ...] = (self,)
        """The blocks of a packed value."""

    def __add__(self, other: _Seen) -> _Seen:
        return _Seen(self, other)

    __sub__ = __add__

    def __mul__(self, other: _Seen) -> _Seen:
        for one, by in ((self, other), (other, self)):
            if by.parameter:
                one.weights[by.parameter] = None
        return _Seen(self, other)


class _Looking:
    """An arithmetic that runs a cell's lines to see which states they keep as they are."""

    def __init__(self, cell: Cell) -> None:
        self._cell, self.begun = cell, tuple(_Seen(is_state=True) for _ in cell.cell_state)
        self.c = self.begun[0] if len(self.begun) == 1 else _Seen(is_state=True)

    def parameter(self, name: str) -> _Seen:
        return _Seen(parameter=name)

    def split(self, *packed: _Seen) -> tuple[_Seen, ...]:
        return tuple(_Seen(*packed) for _ in self._cell.gates)

    gates = split

    def peepholes(self) -> tuple[_Seen, ...]:
        return tuple(_Seen() for _ in self._cell.peepholes)

    def blocks(self, c: _Seen) -> tuple[_Seen, ...]:
        return self.begun if c is self.c else tuple(_Seen(c) for _ in self.begun)

    def packed(self, *blocks: _Seen) -> _Seen:
        made = _Seen(*blocks)
        made.packed = blocks
        return made

    def __getattr__(self, _operation: str) -> Callable[..., Any]:
        def made(*given: Any, **named: Any) -> Any:
            values = (*given, *named.values())
            together = isinstance(values[0], tuple)  # blocks that are normalised as one vector
            return tuple(_Seen(*values[0]) for _ in values[0]) if together else _Seen(*values)

        return made


@functools.cache
def delay_lines(cell: Cell) -> tuple[DelayLine, ...]:
    if cell.torch_name or not cell.has_cell_state:
        return ()
    a = _Looking(cell)
    ended = cell.step(a, _Seen(), _Seen(is_state=True), a.c)["c"].packed
    if len(ended) != len(a.begun):
        return ()
    found = []
    for first, value in enumerate(ended):
        if value.of_state:
            continue
        line = [first]
        while after := [block for block, kept in enumerate(ended) if kept is a.begun[line[-1]] and block not in line]:
            line.append(after[0])
        by = [tuple(one.weights) for one in (value, *(a.begun[block] for block in line))]
        weights = tuple(one[0] for one in by if len(one) == 1)
        weights = weights if len(set(weights)) == len(by) else ()
        found.append(DelayLine(tuple(cell.cell_state[block][0] for block in line), tuple(line), weights))
    return tuple(found)
