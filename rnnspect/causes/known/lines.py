"""Mistakes in the lines of a cell of one's own. Nothing else is known of such a cell, so its known mistakes are made
from its lines.

Each operation of a step is tried in another form: a function left out, the two sides of a gate exchanged, a number or a
parameter of the cell left out.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from rnnspect.causes.interface import Cause
from rnnspect.causes.known import _misplaced_decays as misplaced_decays
from rnnspect.causes.known._line_forms import (
    IN_BOTH,
    Form,
    Operation,
    cause_of,
    changed,
    left_out_of,
    operations,
    with_cell,
)
from rnnspect.causes.known.forms._parted_cell import in_parts
from rnnspect.cells.functions import CHOSEN, FIXED
from rnnspect.judging.assumption import Assumption

_OTHER = {"sigmoid": "tanh", "tanh": "sigmoid", "relu": "tanh"}
"""What is used in place of a function; relu in place of tanh is `activations.py`'s."""
_SIGNS = {"sigmoid": "σ", "squash": "tanh", "phi": "φ", "reciprocal": "1 / v", "rest": "1 − v"}


def _left_out(_a: Any, _meant: Any, v: Any, *_numbers: Any) -> Any:
    return v


def _before(operation: str, _a: Any, _meant: Any, *values: Any) -> Any:
    return values[{"carry": 1, "carry_complex": 2}.get(operation, 0)]


def _without_own(_a: Any, _meant: Any, f: Any, c: Any, _v: Any) -> Any:
    return f * c


_IN_ONE_SHARE: dict[str, Callable[..., Any]] = {
    "the share z": lambda a, given, n, h, z: a.rest(z) * n + given * h,
    "the share 1 − z": lambda a, given, n, h, z: a.rest(given) * n + z * h,
}
"""What it becomes if one of the two factors has lost its function, and is the function's argument."""


@functools.cache
def _forms(operation: str) -> tuple[Form, ...]:
    """The other forms in which an operation is tried."""
    written, found = _SIGNS.get(operation, operation), []
    if operation in (*CHOSEN, *FIXED, "norm", "rms_norm"):
        found.append(Form("line-function-left-out", f"{written} is left out", _left_out))
    if other := _OTHER.get(operation):
        said = f"{_SIGNS.get(other, other)} is used in place of {written}"
        found.append(Form("line-function-other", said, lambda a, _meant, v: getattr(a, other)(v)))
    if operation == "rest":
        found.append(Form("line-rest-left-out", "v is used in place of 1 − v", _left_out))
    if operation == "lerp":
        said = "the two values that are mixed are swapped, so that each gets the other's share"
        found.append(Form("line-lerp-turned", said, lambda _a, meant, n, h, z: meant(h, n, z)))
        for share, do in IN_BOTH.items():
            found.append(Form("line-rest-left-out", f"{share} weighs both of the values that are mixed", do))
    if operation == "carry":
        said = "1 − f carries the cell state in place of f"
        found.append(Form("line-carry-turned", said, lambda a, meant, f, c, v: meant(a.rest(f), c, v)))
        said = "h is read from the new cell state without what this step adds (a mask without its diagonal)"
        found.append(Form("line-state-read-early", said, _without_own, is_read=True))
    if operation in ("carry", "carry_complex", "delta"):
        said = "h is read from the cell state of the step before, not from the new one"
        found.append(Form("line-state-read-early", said, functools.partial(_before, operation), is_read=True))
    return (*found, *(Form(*form) for form in misplaced_decays.forms(operation)))


def causes(assumed: Assumption) -> Iterator[Cause]:
    cell = assumed.cell
    if cell.torch_name or cell.variant:
        return
    for one in operations(cell):
        for form in _forms(one.name):
            decays = form.name.startswith("decay") and not form.is_read
            in_chunks = (decays or form.do is _without_own) and in_parts(cell) is not None
            if in_chunks and (one.name, form.name) != ("delta", "decay-own-step"):
                continue  # `carried.py` has these, and where chunks begin
            if (made := changed(cell, (one.number,), form)) is None:
                continue
            is_one_of_two = form.is_read or form.do in IN_BOTH.values()
            parameters = {"place": one.place, "operation": one.name} | ({"how": form.said} if is_one_of_two else {})
            unused = misplaced_decays.unused_gates(assumed, made) if form.name == "decay-left-out" else ()
            change = functools.partial(with_cell, cell=made)
            yield cause_of(assumed, one, form, change, parameters=parameters, unused=unused)
        yield from _in_one_place(assumed, one)
    yield from _of_numbers(assumed)


def _in_one_place(assumed: Assumption, one: Operation) -> Iterator[Cause]:
    """A function is left out in one of the places where its result is used."""
    if one.name not in (*CHOSEN, *FIXED):
        return
    every, name = operations(assumed.cell), _SIGNS.get(one.name, one.name)
    for number, at in one.uses:
        user = every[number]
        found: dict[str, Callable[..., Any] | None] = {}
        if len(one.uses) > 1:
            found[f"what {user.place} takes"] = None
        if (user.name, at) == ("lerp", 2):  # a lerp uses its share twice
            found |= {f"{share} at {user.place}": do for share, do in _IN_ONE_SHARE.items()}
        for where, do in found.items():
            if (made := left_out_of(assumed.cell, one.number, (number, at), do)) is not None:
                form = Form("line-function-left-out", f"{name} is left out of {where}, and of no other", _left_out)
                parameters = {"place": one.place, "operation": one.name, "in": where}
                yield cause_of(assumed, one, form, functools.partial(with_cell, cell=made), parameters=parameters)


def _of_numbers(assumed: Assumption) -> Iterator[Cause]:
    """Mistakes in the cell's own numbers and parameters."""
    for name, value in assumed.cell.constants:
        for number, said in {1.0: "left out", -value: "with the other sign"}.items():
            if number != value and name in dict(assumed.functions.constants):
                constants = tuple((key, number if key == name else given) for key, given in assumed.functions.constants)
                yield Cause(
                    "line-constant",
                    f"the number {name}, {value:g}, is {said}",
                    f"Use {name} = {value:g} in the engine, or another number in the cell's constants.",
                    functools.partial(Assumption.with_functions, constants=constants),
                    {"constant": name, "how": said},
                )
    own = dict(assumed.p.own)
    for name, tensor in own.items():
        for value, said in ((0.0, "is left out, as if it were 0"), (1.0, "is left out, as if it were 1")):
            other: dict[str, Any] = {name: torch.full_like(tensor, value)}
            yield Cause(
                "line-parameter-left-out",
                f"the parameter {name} {said}",
                f"Use {name} in the engine.",
                functools.partial(Assumption.with_parameters, **other),
                {"parameter": name, "how": said},
            )
    for one, two in itertools.combinations(own, 2):
        if own[one].shape == own[two].shape:
            exchanged: dict[str, Any] = {one: own[two], two: own[one]}
            yield Cause(
                "line-parameters-exchanged",
                f"the parameters {one} and {two} are swapped",
                f"Swap {one} and {two}, in the engine or in the file of weights.",
                functools.partial(Assumption.with_parameters, **exchanged),
                {"parameters": f"{one} {two}"},
            )
