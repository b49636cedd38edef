"""The cell state of an LSTM is cut off at ±k after each step, as TensorFlow's `cell_clip` does. (ONNX's `clip` limits
what goes into the functions, and not what is carried.)"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import linear

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._operations import with_operations
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.layer import cast

_USUAL = (1.0, 3.0, 5.0, 10.0, 50.0)
"""What people clip to. It is tried in a layer that was not observed, or whose input was not."""
_STEPS = 1024
"""So many steps are looked at for the first one whose h shows a limit."""
_ROOM, _DIGITS = 256, 4
"""By how many unit roundoffs h may be off without a limit; a limit has at most so many significant digits."""
_IN, _LIMIT = "cell_clip_in", "cell_clip"


def causes(assumed: Assumption) -> Iterator[Cause]:
    if assumed.cell.name != "lstm" or not assumed.functions.are_usual or assumed.p.weight_hr is not None:
        return
    for limit in _limits(assumed):
        yield Cause(
            "cell-state-clipped",
            f"the cell state is cut off at ±{limit:g} after each step",
            "Leave out cell_clip, or whatever clips c in the engine, or train with it.",
            functools.partial(_clipped, limit=limit),
            {"limit": limit},
        )


def _limits(assumed: Assumption) -> Iterator[float]:
    if not assumed.seen or assumed.run.error is not None:
        yield from _USUAL
    elif (found := _shown(assumed)) is not None:
        yield found


def _shown(assumed: Assumption) -> float | None:
    """The limit that the first wrong step shows: there the cell state before is right, and h / o = tanh(c) tells where
    c was cut off. None where it shows none of few digits."""
    run, room = assumed.run, _ROOM * max(assumed.u.stored, assumed.u.sums)
    steps = min(run.x.shape[0], _STEPS)
    inside = torch.arange(steps).unsqueeze(1) < run.step_counts
    run, p = run.take(run.order(0, steps)), cast(assumed.p, torch.float64)
    a = Numbers(p, len(assumed.cell.gates), assumed.nonlinearity)
    x, seen, h, c = run.x[:].double(), run.h.double(), run.h0.double(), run.state[1].double()
    for t in range(steps):
        q = assumed.cell.step(a, linear(x[t], p.weight_ih, p.bias_ih), h, c)
        h, c = seen[t], q["c"]
        off = (h - q["h"]).abs() > room
        if bool((off & inside[t].unsqueeze(1)).any()):
            return _of_few_digits(h[off] / q["o"][off], q["o"][off], c[off], room)
    return None


def _of_few_digits(squashed: torch.Tensor, o: torch.Tensor, c: torch.Tensor, room: float) -> float | None:
    """The number of few digits at which all of these c were cut off, from tanh(c) as the engine has it."""
    limits = torch.atanh(squashed * c.sign())
    reach = room / (o * (1 - squashed.square()))
    if not bool(((limits > 0) & (limits < c.abs()) & reach.isfinite()).all()):
        return None
    near = float(limits[reach.argmin()])
    every = (float(f"{near:.{digits}g}") for digits in range(1, _DIGITS + 1))
    return next((limit for limit in every if limit and bool(((limits - limit).abs() <= reach).all())), None)


def _clipped(assumed: Assumption, limit: float) -> Assumption:
    cell, known = assumed.cell, {name for name, _ in assumed.functions.constants}
    numbers = tuple(one for one in _numbers(limit) if one[0] not in known)
    made = replace(assumed, cell=_cell(cell, limit))
    return made.with_functions(constants=(*assumed.functions.constants, *numbers))


def _numbers(limit: float) -> tuple[tuple[str, float], ...]:
    return (_IN, 3 / limit), (_LIMIT, limit)


@functools.cache
def _cell(cell: Cell, limit: float) -> Cell:
    """The cell whose c is cut off before h is made of it. It does not count as one of torch's cells, whose steps can be
    bounded together."""

    def called(a: Any, _number: int, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        made = meant(*values)
        if operation != "carry":
            return made
        share = a.hard_sigmoid(a.constant(_IN) * made)  # v / 6 + ½, cut off at 0 and 1
        return a.constant(_LIMIT) * (share - a.rest(share))

    functions = tuple(dict.fromkeys((*cell.functions, "hard_sigmoid")))
    constants = (*cell.constants, *_numbers(limit))
    return replace(with_operations(cell, called), functions=functions, constants=constants, torch_name="")
