"""A final state in which some steps are not, while every step is right: those of the last chunk, or all before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import in_order
from rnnspect.causes.known.forms._handed_on import HandingOn, Off, first_of, stands_for, zeros
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.estimate import estimate
from rnnspect.judging.layer import cast

_WORK = 2**30
"""Multiplications with which the step is looked for where the last chunk begins."""


def steps_left_out(assumed: Assumption, returned: Tensor, which: int) -> tuple[Cause, float] | None:
    """The steps without which a run whose steps are right ends with this state (B, ·): h, or by `which` = 1 the cell
    state; and the largest error that is left, in bounds."""
    run = assumed.run
    steps, batch = run.x.shape[:2]
    if not in_order(assumed) or steps < 3 or steps * steps * batch * assumed.p.products > _WORK:
        return None
    right = HandingOn.at_the_end(assumed).right[which][0]
    for cause, state in _ends(assumed, returned, which):
        top = stands_for(assumed, right, returned, state)
        if top is not None:
            return cause, top
    return None


def _ends(assumed: Assumption, returned: Tensor, which: int) -> Iterator[tuple[Cause, Off]]:
    steps = assumed.run.x.shape[0]
    from_start, from_zeros = _states(assumed, which)
    last = 1 + _nearest(from_start[: steps - 2], returned)
    yield (
        Cause(
            "state-not-carried",
            f"the final state is that before step {last}: the steps from there on are not in it",
            "Return the state after the last step that was processed.",
            lambda made: made,
            {"from": "the state before it", "step": last},
        ),
        HandingOn.of_the_first(assumed, last).right[which],
    )
    start = 1 + _nearest(from_zeros, returned)
    rest = replace(assumed, run=assumed.run.take(slice(start, None)), u=replace(assumed.u, relative=0.0, absolute=0.0))
    yield (
        Cause(
            "chunk-state-lost",
            f"the final state is what the steps from step {start} on make of zeros: those before it are not in it",
            "Begin each chunk, and each later call, with the state that the one before ended with.",
            lambda made: made,
            {"from": "zeros", "step": start},
        ),
        estimate(rest.begun_with(zeros(first_of(assumed)))).final[which],
    )


def _states(assumed: Assumption, which: int) -> tuple[Tensor, Tensor]:
    """(T, B, ·): the state after each step; and (T − 1, B, ·): the one after the last step of a run that begins from
    zeros, with the second step, the third, …"""
    run, p = assumed.run, cast(assumed.p, torch.float64)
    steps, batch = run.x.shape[:2]
    numbers = Numbers(p, len(assumed.cell.gates), assumed.nonlinearity)
    # All runs at once, each an item more: the first from the initial state, the others from zeros.
    state = tuple(
        torch.cat([one.double(), one.new_zeros((steps - 1) * batch, one.shape[1]).double()]) for one in run.state
    )
    ended = []
    for step in range(steps):
        begun = (step + 1) * batch  # a run that begins later is still at zeros
        wx = linear(run.x[step].double(), p.weight_ih, p.bias_ih).repeat(step + 1, 1)
        q = assumed.cell.step(numbers, wx, *(one[:begun] for one in state))
        for name, one in zip(assumed.cell.states, state, strict=True):
            one[:begun] = q[name]
        ended.append(state[which][:batch].clone())
    return torch.stack(ended), state[which][batch:].view(steps - 1, batch, -1)


def _nearest(states: Tensor, returned: Tensor) -> int:
    return int((states - returned).abs().flatten(1).amax(1).argmin())
