"""Several steps at once, each computed from the equations' state after the step before: a short run of one item
through a bidirectional stack whose lowest layer was not observed, or the beginning of a run that was recorded with
few digits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspect.causes.known._dropout_masks import Equations
from rnnspect.causes.known._first_step import FirstStep, step_room, sums_room
from rnnspect.judging.assumption import Assumption

_STEPS = 128
"""At most so many steps, of all layers and directions together: a search computes them some eighty times, one after the
other."""
_ITEMS = 4
_ROOM = 4
"""After all of these steps a correct engine may be off by about so many times the roundings of one step."""


@dataclass(frozen=True)
class WholeRun(FirstStep):
    """A run used as `FirstStep` is, with all steps of the item as one row: x (1, T · I) and h of both directions (1, T
    · D · P). `layers` has the directions of each layer."""

    def given(self, x: Tensor, begun: Tensor | slice = slice(None)) -> Tensor:
        width = self.layers[0][0].p.weight_ih.shape[1]
        h = x.view(len(x), -1, width)
        for forward, reverse in zip(self.layers[::2], self.layers[1::2], strict=True):
            h = torch.cat([_through(*forward, begun, h), _through(*reverse, begun, h.flip(1)).flip(1)], -1)
        return h.flatten(1)


def whole_run(assumed: Assumption) -> WholeRun | None:
    """The run of the stack; None where there is no such run, or it is too long."""
    stack = assumed.stack
    spec, steps = stack.spec, int(assumed.run.step_counts[0])
    tops = [(spec.num_layers - 1, direction) for direction in spec.directions]
    if assumed.seen or assumed.layer or not spec.bidirectional or any(at not in stack.h for at in tops):
        return None
    if not 0 < steps * len(spec.places) <= _STEPS:
        return None
    layers = tuple((Equations(spec.cell_type, stack.parameters[at], spec.nonlinearity_of(at[1])),
                    tuple(state[:1].double() for state in stack.states[at])) for at in spec.places)  # fmt: skip
    h = torch.cat([stack.h[at][:steps, 0] for at in tops], -1)
    room = _ROOM * step_room(assumed)
    return WholeRun(assumed.run.x[:][:steps, 0].double().view(1, -1), h.double().view(1, -1), layers, room)


@dataclass(frozen=True)
class Beginning(FirstStep):
    """The beginning of a run used as `FirstStep` is, with several steps of a layer as one row: x (B, T · I) and h (B, T
    · P)."""

    def given(self, x: Tensor, begun: Tensor | slice = slice(None)) -> Tensor:
        of, state = self.layers[0]
        return _through(of, state, begun, x.view(len(x), -1, of.p.weight_ih.shape[1])).flatten(1)


def beginning(assumed: Assumption) -> Beginning | None:
    """The beginning of a run that was recorded with few digits, whose first step alone says little; None for other
    runs."""
    run, u = assumed.run, assumed.u
    items = slice(min(_ITEMS, run.x.shape[1]))
    steps = min(_STEPS // _ITEMS, int(run.step_counts[items].min()))
    if not assumed.seen or not (u.relative or u.absolute) or steps < 2:
        return None
    first = run.take(run.order(0, steps)[:, items], items)
    x, h = (of[:].double().transpose(0, 1).flatten(1) for of in (first.x, first.h))
    of = Equations(assumed.cell, assumed.p, assumed.nonlinearity)
    room = _ROOM * (sums_room(assumed) + 8 * u.stored) + 2 * (u.relative * float(h.abs().max()) + u.absolute)
    return Beginning(x, h, ((of, tuple(state.double() for state in first.state)),), room)


def _through(of: Equations, state: tuple[Tensor, ...], begun: Tensor | slice, x: Tensor) -> Tensor:
    """h (N, T, P) of a layer and direction for x (N, T, I), both in processing order."""
    state, found = tuple(one[begun].expand(len(x), -1) for one in state), []
    for u in of.input(x).unbind(1):
        h, *others = of.step(u, state)
        state = (of.projected(h), *others)
        found.append(state[0])
    return torch.stack(found, 1)
