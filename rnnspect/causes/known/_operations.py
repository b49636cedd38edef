"""Cells with some operations of their lines in another form, or with other results of their steps."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rnnspect.cells.interface import Cell

_Called = Callable[[Any, int, str, Any, tuple[Any, ...]], Any]
"""A function that a line calls in place of an operation: from the arithmetic, the operation's number in the step, its
name, the operation itself and its operands to the result."""


def with_operations(cell: Cell, called: _Called) -> Cell:
    """The cell in whose lines `called` is called in place of each operation. The names of v + w, v − w and v * w are
    plus, minus and times."""

    @functools.wraps(cell.step)
    def step(a: Any, *given: Any) -> dict[str, Any]:
        wrapped = _Wrapped(a, called)
        q = cell.step(wrapped, *(_Value(wrapped, one) for one in given))
        return {name: _plain(one) for name, one in q.items()}

    return replace(cell, step=step)


def with_results(cell: Cell, changed: Callable[[Any, dict[str, Any]], dict[str, Any]]) -> Cell:
    """The cell with some results of its step changed: `changed` gives those, from the arithmetic and all results. It
    does not count as one of torch's cells, whose steps can be bounded together."""

    @functools.wraps(cell.step)
    def step(a: Any, *given: Any) -> dict[str, Any]:
        q = cell.step(a, *given)
        return {**q, **changed(a, q)}

    return replace(cell, step=step, torch_name="")


class _Wrapped:
    """An arithmetic that calls `called` for each operation."""

    def __init__(self, a: Any, called: _Called) -> None:
        self._a, self._called, self._numbers = a, called, itertools.count()

    def __getattr__(self, operation: str) -> Any:
        meant = getattr(self._a, operation)

        def made(*values: Any, **named: Any) -> Any:
            if named:
                values = inspect.signature(meant).bind(*values, **named).args
            return self.made(operation, meant, values)

        return made

    def made(self, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        found = self._called(self._a, next(self._numbers), operation, meant, tuple(map(_plain, values)))
        return tuple(_Value(self, one) for one in found) if isinstance(found, tuple) else _Value(self, found)


class _Value:
    """A value of the lines, whose sums and products are operations too."""

    def __init__(self, a: _Wrapped, plain: Any) -> None:
        self._a, self.plain = a, plain

    def __add__(self, other: Any) -> _Value:
        return self._a.made("plus", lambda v, w: v + w, (self, other))  # type: ignore[no-any-return]

    def __sub__(self, other: Any) -> _Value:
        return self._a.made("minus", lambda v, w: v - w, (self, other))  # type: ignore[no-any-return]

    def __mul__(self, other: Any) -> _Value:
        return self._a.made("times", lambda v, w: v * w, (self, other))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.plain if isinstance(value, _Value) else value
