"""The cell state of an LSTM is clipped to ±k after each step, as TensorFlow's `cell_clip` does; or only where it is
handed on, by code around a cell that has made h of it already. (ONNX's `clip` limits what goes into the functions, and
not what is carried.)"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._operations import with_operations, with_results
from rnnspect.causes.known.forms._chunk_edges import in_order
from rnnspect.causes.known.forms._chunk_states import HandingOn, first_that_stands
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.stack import unchanged

_USUAL = (1.0, 3.0, 5.0, 10.0, 50.0)
"""What people clip to. It is tried in a layer that was not observed, or whose input was not."""
_STEPS = 1024
"""So many steps are looked at for the first one whose h shows a limit."""
_ROOM, _DIGITS = 256, 4
"""By how many unit roundoffs h may be off without a limit; a limit has at most so many significant digits."""
_BETWEEN = "Leave out what clips c between the steps, or train with it."
_IN, _LIMIT = "cell_clip_in", "cell_clip"


def causes(assumed: Assumption) -> Iterator[Cause]:
    if assumed.cell.name != "lstm" or not assumed.functions.are_usual or assumed.p.weight_hr is not None:
        return
    for limit in _limits(assumed):
        yield Cause(
            "cell-state-clipped",
            f"the cell state is clipped to ±{limit:g} after each step",
            "Leave out cell_clip, or whatever clips c in the engine, or train with it.",
            functools.partial(_clipped, limit=limit),
            {"limit": limit},
        )
    if assumed.seen and assumed.run.error is None and (found := _handed_on(assumed)) is not None:
        yield Cause(
            "cell-state-clipped",
            f"the cell state is clipped to ±{found:g} between steps, and h is computed from the unclipped one",
            _BETWEEN,
            functools.partial(_clipped_between, limit=found),
            {"limit": found, "where": "between steps"},
        )


def clipped_at_the_end(assumed: Assumption, c_n: torch.Tensor) -> tuple[Cause, float] | None:
    """That this final cell state (B, ·) is cut off after right steps, and the largest ratio of difference to limit that
    is left. A call of one step, by a cell that cuts off the c that it returns, shows no more of it."""
    if assumed.cell.name != "lstm" or assumed.run.c0 is None or not in_order(assumed):
        return None
    right, error = HandingOn.at_the_end(assumed).right[1]
    limit = _largest(assumed, c_n)
    if limit is None:
        return None
    said = f"the final cell state is clipped to ±{limit:g}, and h is computed from the unclipped one"
    cause = Cause("cell-state-clipped", said, _BETWEEN, unchanged, {"limit": limit, "where": "the final state"})
    return first_that_stands(assumed, right, c_n, [(cause, (right.clamp(-limit, limit), error))])


def _limits(assumed: Assumption) -> Iterator[float]:
    if not assumed.seen or assumed.run.error is not None:
        yield from _USUAL
    elif (found := _shown(assumed)) is not None:
        yield found


def _handed_on(assumed: Assumption) -> float | None:
    """The limit of the c that is handed on, where c was recorded the largest of it."""
    if assumed.run.c is None:
        return _shown(assumed, handed_on=True)
    return _largest(assumed, assumed.run.c) or _shown(assumed, handed_on=True)


def _largest(assumed: Assumption, c: torch.Tensor) -> float | None:
    """The largest of these numbers, where it has few digits."""
    largest = float(c.abs().max())
    limit = float(f"{largest:.{_DIGITS}g}")
    room = _ROOM * max(assumed.u.stored, assumed.u.sums) * limit
    return limit if limit and abs(limit - largest) <= room else None


def _shown(assumed: Assumption, *, handed_on: bool = False) -> float | None:
    """The limit that the first wrong step shows: there the cell state before is right, and h / o = tanh(c) tells where
    c was cut off; with `handed_on` where the c before was, of which f ⊙ c is in this one. None where it shows none of
    few digits."""
    run, room = assumed.run, _ROOM * max(assumed.u.stored, assumed.u.sums)
    steps = min(run.x.shape[0], _STEPS)
    inside = run.inside
    run, a = run.take(run.order(0, steps)), assumed.in_float64()
    x, seen, h, c = run.x[:].double(), run.h.double(), run.h0.double(), run.state[1].double()
    for t in range(steps):
        q = assumed.cell.step(a, a.input(x[t]), h, c)
        (h, c), before = (seen[t], q["c"]), c
        off = ((h - q["h"]).abs() > room) & inside[t].unsqueeze(1)
        if bool(off.any()):
            squashed, o = h[off] / q["o"][off], q["o"][off]
            theirs, reach = torch.atanh(squashed), room / (o * (1 - squashed.square()))
            if not handed_on:
                return _of_few_digits(theirs, reach, c[off])
            added, f = (q["i"] * q["g"])[off], q["f"][off]
            return _of_few_digits((theirs - added) / f, reach / f, before[off]) if t else None
    return None


def _of_few_digits(theirs: torch.Tensor, reach: torch.Tensor, c: torch.Tensor) -> float | None:
    """The number of few digits at which all of these c were cut off, from the engine's, each known to a `reach`."""
    limits = theirs * c.sign()
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


def _clipped_between(assumed: Assumption, limit: float) -> Assumption:
    clipped = _clipped(assumed, limit)
    made = replace(clipped, cell=_cell_between(assumed.cell, limit))
    if assumed.run.c is not None and _largest(assumed, assumed.run.c) == limit:
        return made
    # It may return and record c as it hands it on, or the c that h is made of.
    return replace(made, has_final_states=False).with_run(c=None, c_error=None)


def _numbers(limit: float) -> tuple[tuple[str, float], ...]:
    return (_IN, 3 / limit), (_LIMIT, limit)


@functools.cache
def _cell(cell: Cell, limit: float) -> Cell:
    """The cell whose c is cut off before h is made of it."""

    def called(a: Any, _number: int, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        return _cut(a, meant(*values)) if operation == "carry" else meant(*values)

    return _with_limit(with_operations(cell, called), limit)


@functools.cache
def _cell_between(cell: Cell, limit: float) -> Cell:
    """The cell whose c is cut off after h was made of it."""
    return _with_limit(with_results(cell, lambda a, q: {"c": _cut(a, q["c"])}), limit)


def _cut(a: Any, c: Any) -> Any:
    share = a.hard_sigmoid(a.constant(_IN) * c)  # v / 6 + ½, cut off at 0 and 1
    return a.constant(_LIMIT) * (share - a.rest(share))


def _with_limit(cell: Cell, limit: float) -> Cell:
    """The cell with what `_cut` needs. It does not count as one of torch's cells, whose steps can be bounded
    together."""
    functions = tuple(dict.fromkeys((*cell.functions, "hard_sigmoid")))
    return replace(cell, functions=functions, constants=(*cell.constants, *_numbers(limit)), torch_name="")
