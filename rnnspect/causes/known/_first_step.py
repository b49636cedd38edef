"""The first step of a run, which begins with a known state: its input, h after it, and the layers between the two."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspect.causes.known._dropout_masks import Equations
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import LayerRun

_NUMBERS = 2**10
"""In a wide layer so few items are looked at that they have about so many numbers; they tell as much."""
_NEARER = 16
"""With a mistake, the first step has to come so many times nearer to the equations."""


def sums_room(assumed: Assumption) -> float:
    """About how far the sums of one step of a correct engine may be off."""
    u = assumed.u
    return 4 * math.sqrt(assumed.p.terms) * max(u.sums, u.products, u.narrow)


def step_room(assumed: Assumption, run: LayerRun | None = None) -> float:
    """About how far h of one step of a correct engine may be off. With `run`, whose input may be off, by that too."""
    u = assumed.u
    own = sums_room(assumed) + 8 * max(u.stored, u.relative) + u.absolute
    if run is None or run.error is None:
        return own
    return own + math.sqrt(run.x.shape[2]) * float(run.error[:].max())


@dataclass(frozen=True)
class FirstStep:
    """The first step for some items, in float64: x (B, I), and h (B, P) of the engine."""

    x: Tensor
    h: Tensor
    layers: tuple[tuple[Equations, tuple[Tensor, ...]], ...]
    """The equations of each layer, with the state before the step (B, ·)."""
    room: float
    """About how far h of a correct engine may be off."""

    @classmethod
    def of(cls, assumed: Assumption, every: bool = False) -> FirstStep | None:
        """The first step of the layer; or, where the lowest layer was not observed, the first step through all layers
        of a stack in one direction. None where neither is known. `every`: for all items."""
        run, stack = assumed.run, assumed.stack
        if not run.x.shape[0] or not (assumed.seen or (assumed.layer == 0 and not stack.spec.bidirectional)):
            return None
        through = [assumed.at] if assumed.seen else [at for at in stack.spec.places if at in stack.h]
        count = run.x.shape[1] if every else max(1, min(run.x.shape[1], _NUMBERS // assumed.p.terms))
        items = slice(count)
        at = run.order(0, 1)[:, items]
        first = run.take(at, items)
        h = first.h if assumed.seen else stack.h[through[-1]][at, torch.arange(count)]
        layers = tuple((Equations(assumed.cell, stack.parameters[at], stack.spec.nonlinearity_of(at[1])),
                        tuple(state[items].double() for state in stack.states[at])) for at in through)  # fmt: skip
        return cls(first.x[:][0].double(), h[0].double(), layers, step_room(assumed, first))

    def given(self, x: Tensor, begun: Tensor | slice = slice(None)) -> Tensor:
        """h (N, P) by the equations for x (N, I). Row n begins with the state of the item `begun[n]`."""
        h = x
        for equations, state in self.layers:
            before = tuple(of[begun] for of in state)
            h = equations.projected(equations.step(equations.input(h), before)[0])
        return h


def may_show(assumed: Assumption, left: Callable[[FirstStep], Tensor]) -> bool:
    """Whether the first step, which begins with a known state, shows a mistake: `left` gives how far h is from the
    equations with it. True also where the first step cannot say it, since h was not seen or x is an estimate."""
    if not assumed.seen or assumed.run.error is not None:
        return True
    if (step := FirstStep.of(assumed)) is None:
        return False
    without = (step.h - step.given(step.x)).abs().max()
    return bool(left(step).abs().max() * _NEARER <= without)
