"""A gate or a function that is left out of an equation of the LSTM or the GRU, or is another one there. For cells of
one's own `lines.py` and `terms.py` have this."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._line_forms import IN_BOTH, WHOLE, Form, changed, operations, second, taken_as_one, with_cell
from rnnspect.causes.known._misplaced_decays import unused_gates
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption

_FACTOR, _LEFT_OUT, _OTHER = "line-factor-left-out", "line-function-left-out", "line-function-other"
_GATES = {
    ("lstm", ""): ("i", "f", "o"),
    ("lstm", "peepholes"): ("i", "f", "o"),
    ("gru", ""): ("r", "z"),
    ("gru", "reset before"): ("r", "z"),
}
"""The gates in the order in which the lines of a cell compute them."""

_Changed = tuple[str, tuple[int, ...], Form]
"""The operation that has another form, the times that it is called, counted from 0, and the form."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    cell = assumed.cell
    if not cell.torch_name or not assumed.functions.are_usual:
        return
    for operation, times, form in _changes(cell.name, cell.variant):
        if (made := _made(cell, operation, times, form)) is not None:
            fix = "Write the line of the engine as the cell's equation has it (rnnspect trace shows each gate)."
            change = functools.partial(with_cell, cell=made, needs_nothing=form.do is taken_as_one)
            unused = unused_gates(change(assumed), made) if form.name == _FACTOR else ()
            yield Cause(form.name, form.said, fix, change, {"how": form.said}, unused=unused)


@functools.cache
def _made(cell: Cell, operation: str, times: tuple[int, ...], form: Form) -> Cell | None:
    called = [one.number for one in operations(cell) if one.name == operation]
    made = changed(cell, tuple(called[at] for at in times), form)
    return None if made is None else replace(made, torch_name="")  # its steps cannot be bounded together


def _changes(cell: str, variant: str) -> Iterator[_Changed]:
    gates = _GATES.get((cell, variant))
    if gates is None:
        return
    for at, gate in enumerate(gates):
        yield "sigmoid", (at,), Form(_LEFT_OUT, f"σ of the gate {gate} is left out", _argument)
        yield "sigmoid", (at,), Form(_OTHER, f"tanh is used in place of σ, for the gate {gate}", _tanh)
        if gate != "z":  # `gru.py` has that
            yield "sigmoid", (at,), Form("line-sign", f"1 − {gate} stands where {gate} is meant", _negative)
    yield "sigmoid", tuple(range(len(gates))), Form(_LEFT_OUT, "σ is left out of every gate", _argument)
    for said, do in _OF_EVERY_GATE.items():
        yield "sigmoid", tuple(range(len(gates))), Form(_OTHER, f"{said} is used in place of σ, for every gate", do)
    yield "tanh", (0,), Form(_OTHER, "σ is used in place of tanh, for the candidate", _sigmoid)
    yield from _OF_LSTM if cell == "lstm" else _OF_GRU
    if cell == "lstm":
        of_i, of_o = (2, 4) if variant else (0, 1)  # the others are those of the peepholes
        yield "times", (of_i,), Form(_FACTOR, "the gate i is left out: c' = f ⊙ c + g", second)
        yield "times", (of_o,), Form(_FACTOR, "the gate o is left out: h' = tanh(c')", second)


def _argument(_a: Any, _meant: Any, v: Any) -> Any:
    return v


def _tanh(a: Any, _meant: Any, v: Any) -> Any:
    return a.tanh(v)


def _sigmoid(a: Any, _meant: Any, v: Any) -> Any:
    return a.sigmoid(v)


def _negative(a: Any, meant: Any, v: Any) -> Any:
    return a.rest(meant(v))


def _twice(_a: Any, meant: Any, v: Any) -> Any:
    return meant(meant(v))


def _scaled(a: Any, meant: Any, v: Any) -> Any:
    """2 σ(v) − 1 = tanh(v / 2)."""
    gate = meant(v)
    return gate - a.rest(gate)


def _state_before(_a: Any, _meant: Any, _f: Any, c: Any, _v: Any) -> Any:
    return c


_OF_EVERY_GATE: dict[str, Callable[..., Any]] = {
    "tanh": _tanh,
    "tanh(x / 2)": _scaled,
    "σ(σ(x))": _twice,
    "σ(−x)": _negative,
}
_OF_LSTM: tuple[_Changed, ...] = (
    ("sigmoid", (1,), Form(_FACTOR, "the gate f is left out: c' = c + i ⊙ g", taken_as_one)),
    ("carry", (0,), Form("line-state-read-early", "h' = o ⊙ tanh(c), of the c before the step", _state_before, True)),
    ("squash", (0,), Form(_OTHER, "σ is used in place of tanh, for the cell state", _sigmoid)),
    ("squash", (0,), Form(_OTHER, "tanh(tanh(c')) is used in place of tanh(c')", _twice)),
)
_OF_GRU: tuple[_Changed, ...] = (
    ("times", (0,), Form(_FACTOR, "the gate r is left out", second)),
    ("lerp", (0,), Form(_FACTOR, "1 − z is left out: h' = n + z ⊙ h", WHOLE["1 − z"])),
    ("lerp", (0,), Form(_FACTOR, "z is left out: h' = (1 − z) ⊙ n + h", WHOLE["z"])),
    ("lerp", (0,), Form("line-rest-left-out", "h' = z ⊙ (n + h)", IN_BOTH["z"])),
)
