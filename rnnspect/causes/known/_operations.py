"""Cells of one's own with some operations of their lines in another form."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rnnspect.cells.interface import Cell

Called = Callable[[Any, int, str, Any, tuple[Any, ...]], Any]
"""From the arithmetic, an operation's number in the step, its name, the operation itself, and what the line calls it
with, to what the line gets."""


def with_operations(cell: Cell, called: Called) -> Cell:
    """The cell whose lines get what `called` gives in place of each operation."""

    @functools.wraps(cell.step)
    def step(a: Any, *given: Any) -> dict[str, Any]:
        return cell.step(_Wrapped(a, called), *given)

    return replace(cell, step=step)


class _Wrapped:
    """An arithmetic that asks `called` at each operation."""

    def __init__(self, a: Any, called: Called) -> None:
        self._a, self._called, self._numbers = a, called, itertools.count()

    def __getattr__(self, operation: str) -> Any:
        meant, number = getattr(self._a, operation), next(self._numbers)
        return lambda *values, **named: self._called(self._a, number, operation, meant, (*values, *named.values()))
