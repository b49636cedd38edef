"""The operations in the lines of a cell of one's own, and the cell with one operation in another form."""

from __future__ import annotations

import ast
import functools
import itertools
import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._operations import with_operations
from rnnspect.causes.known.forms._parted_values import NOTHING
from rnnspect.cells.interface import Cell
from rnnspect.cells.trial import bounds_steps_together, tried
from rnnspect.cells.trial_values import TrialNumber, TrialValue, WrongLineError
from rnnspect.judging.assumption import Assumption


@dataclass(frozen=True)
class Form:
    """Another form of an operation: its name, and a function that is called in place of the operation, with the
    arithmetic, the operation itself and its operands."""

    name: str
    """The id of the cause."""
    said: str
    do: Callable[..., Any]
    is_read: bool = False
    """Whether only the lines after it see the other form, while the cell state that is kept is right."""


def second(_a: Any, _meant: Any, _v: Any, w: Any) -> Any:
    """The second operand, in place of the operation of two."""
    return w


def taken_as_one(a: Any, _meant: Any, v: Any) -> Any:
    """1, in place of a gate: 1 − 0 v."""
    return a.rest(a.constant(NOTHING[0]) * v)


WHOLE: dict[str, Callable[..., Any]] = {
    "1 − z": lambda _a, _meant, n, h, z: n + z * h,
    "z": lambda a, _meant, n, h, z: a.rest(z) * n + h,
}
"""What a lerp, (1 − z) n + z h, becomes without one of its two factors, by the factor."""
IN_BOTH: dict[str, Callable[..., Any]] = {
    "z": lambda _a, _meant, n, h, z: z * n + z * h,
    "1 − z": lambda a, _meant, n, h, z: a.rest(z) * n + a.rest(z) * h,
}
"""What it becomes if both operands have the same factor."""


@dataclass(frozen=True)
class Operation:
    """One operation of a step."""

    number: int
    name: str
    place: str
    """Its line and column."""
    written: tuple[str, ...]
    """Its text in the file; for a sum, difference, product or maximum the text of each operand."""
    known: tuple[bool, ...]
    """For each operand of a sum or product: whether it is a number or a parameter of the cell; in a sum also whether it
    is a product with one. That such an operand is left out is another mistake."""
    fixed: tuple[bool, ...]
    """For each operand: whether it is the same at every step."""
    states: tuple[bool, ...] = ()
    """For each operand: whether it is the state before the step. What multiplies that is a decay."""
    is_factor: bool = False
    """Whether its result is used once, in a product."""
    uses: tuple[tuple[int, int], ...] = ()
    """The operations that use its result, by their numbers, each with the place of the operand."""


@functools.cache
def operations(cell: Cell) -> tuple[Operation, ...]:
    found: list[Operation] = []
    made, given = list[Any](), list[tuple[Any, ...]]()
    own, scaled, fixed, state = list[Any](), list[Any](), list[Any](), list[Any]()
    factors: set[int] = set()

    def called(_a: Any, number: int, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        place, written = _written(sys._getframe(3), operation)  # the line of the cell
        is_sum = operation in ("plus", "minus")
        known, same = (
            tuple(isinstance(one, TrialNumber) or any(one is other for other in among) for one in values)
            for among in (own + scaled * is_sum, fixed)
        )
        found.append(Operation(number, operation, place, written, known, same))
        given.append(values)
        factors.update(id(one) for one in values if operation == "times")
        made.append(meant(*values))
        own.extend(made[-1:] if operation == "parameter" else ())
        of_values = [one for one, value in zip(same, values, strict=True) if isinstance(value, TrialValue)]
        fixed.extend(made[-1:] if operation == "parameter" or (of_values and all(of_values)) else ())
        scaled.extend(made[-1:] if operation == "times" and any(known) else ())
        state.extend(made[-1] if operation == "blocks" else ())
        return made[-1]

    trial, _ = tried(with_operations(cell, called))
    state.extend((trial.h, trial.c))
    return tuple(
        replace(
            one,
            is_factor=isinstance(value, TrialValue) and value.uses == 1 and id(value) in factors,
            states=tuple(any(side is other for other in state) for side in values),
            uses=tuple(
                (user, at) for user, taken in enumerate(given) for at, side in enumerate(taken) if side is value
            ),
        )
        for one, value, values in zip(found, made, given, strict=True)
    )


def _written(frame: FrameType, operation: str) -> tuple[str, tuple[str, ...]]:
    """Where an operation stands in its file, and the text there; no text where it is on several lines."""
    code = frame.f_code
    line, end, column, stop = next(itertools.islice(code.co_positions(), frame.f_lasti // 2, None))
    place = f"{line}:{(column or 0) + 1}"
    if line is None or line != end:
        return place, ()
    text = linecache.getline(code.co_filename, line).encode()[column:stop].decode()
    if operation not in ("plus", "minus", "times", "maximum"):
        return place, (text,)
    try:
        whole = ast.parse(text, mode="eval").body
    except SyntaxError:
        return place, ()
    sides = [whole.left, whole.right] if isinstance(whole, ast.BinOp) else getattr(whole, "args", [])
    return place, tuple(map(ast.unparse, sides)) if len(sides) == 2 else ()


@functools.cache
def changed(cell: Cell, at: tuple[int, ...], form: Form) -> Cell | None:
    """The cell with one operation in another form, or with several; None where the cell then cannot be computed."""

    def called(a: Any, number: int, _operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        return form.do(a, meant, *values) if number in at else meant(*values)

    return _tried(_read_early(cell, at[0], form) if form.is_read else with_operations(cell, called))


@functools.cache
def left_out_of(cell: Cell, at: int, use: tuple[int, int], do: Callable[..., Any] | None) -> Cell | None:
    """The cell with one use of a function's result replaced: there the function's argument is used in place of the
    result; or, with `do`, the whole operation is replaced by `do(argument, *operands)`. `at` is the number of the
    function, `use` the number of the operation that uses its result and which of its operands that is. None as for
    `changed`."""
    given = list[Any]()

    def called(a: Any, number: int, _operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        if number == at:
            given[:] = values
        if do is not None and number == use[0]:
            return do(a, given[0], *values)
        return meant(*(given[0] if (number, place) == use else value for place, value in enumerate(values)))

    return _tried(with_operations(cell, called))


def _tried(made: Cell) -> Cell | None:
    functions = tuple(dict.fromkeys((*made.functions, "sigmoid", "tanh")))
    made = replace(made, functions=functions, constants=(*made.constants, NOTHING))
    try:
        _, q = tried(made)
        bounds_steps_together(made)
    except WrongLineError:
        return None
    return None if any(isinstance(one, TrialNumber) for one in q.values()) else made


def _read_early(cell: Cell, at: int, form: Form) -> Cell:
    """The cell whose lines after an operation read a cell state with the other form, while the state that is kept is
    right."""

    @functools.wraps(cell.step)
    def step(a: Any, *given: Any) -> dict[str, Any]:
        new: list[tuple[Any, Any]] = []

        def called(a: Any, number: int, _operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
            made = meant(*values)
            if number != at:
                return made
            new.append((made, form.do(a, meant, *values)))
            return new[0][1]

        q = with_operations(cell, called).step(a, *given)
        if q["c"] is not new[0][1]:
            raise WrongLineError("the cell state is made of what this operation gives")
        return {**q, "c": new[0][0]}

    return replace(cell, step=step)


def with_cell(assumed: Assumption, cell: Cell, needs_nothing: bool = False) -> Assumption:
    """The assumption with another cell, whose lines may need an additional constant that is 0."""
    made = replace(assumed, cell=cell)
    return made.with_functions(constants=(*assumed.functions.constants, NOTHING)) if needs_nothing else made


def cause_of(
    assumed: Assumption, one: Operation, form: Form, change: Callable[[Assumption], Assumption], **more: Any
) -> Cause:
    """The cause that an engine has an operation in another form."""
    at = f"{Path(assumed.cell.step.__code__.co_filename).name}:{one.place}"
    fix = f"Write the engine as {at} says, or that line as the engine computes it."
    return Cause(form.name, f"{form.said}, where {at} has it", fix, change, **more)
