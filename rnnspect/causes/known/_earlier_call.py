"""The states that an earlier call on the same sequence would have left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rnnspect.judging.chunks import chunks
from rnnspect.judging.estimate import estimate
from rnnspect.judging.final_states import last
from rnnspect.judging.interpretation import Reading
from rnnspect.judging.layer import Layer
from rnnspect.judging.layer_inputs import handed_on

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.judging.interpretation import At
    from rnnspect.judging.layer_inputs import Steps

    Final = tuple[tuple[Tensor, Tensor], ...]
    """Each state (B, ·), and how far a correct engine's may be."""

FORGOTTEN = 64
"""After so many steps a run no longer shows what it began with: it ends as the call before it did. Where it does show
it, nothing is said of a state that was left over."""
_ROWS = 256


def ended(reading: Reading) -> Final:
    """Of a short run from the equations alone, all layers from their own initial states; of a long one that was
    observed, the states that it ended with itself."""
    if reading.seen and reading.run.x.shape[0] > FORGOTTEN:
        return _seen(reading)
    if not reading.stack.ended:
        reading.stack.ended.update(_from_the_equations(reading))
    return reading.stack.ended[reading.at]


def _seen(reading: Reading) -> Final:
    run = reading.run
    h = last(run.h, run.lengths, run.reverse).double()
    found = [(h, torch.zeros_like(h))]
    if run.c0 is not None:
        layer = Layer(reading.cell, reading.p, reading.u, reading.nonlinearity)
        if run.lengths is None:
            run = run.take(slice(4 * FORGOTTEN) if run.reverse else slice(-4 * FORGOTTEN, None))
        state = layer.begin(run.c0)
        for chunk in chunks(run, 1 if layer.stepwise else _ROWS):
            state = layer.after(layer.look(chunk, state, layer.plain))
        assert state is not None
        c = state.number(torch.float64)
        found.append((c.v, c.e))
    return tuple(found)


def _from_the_equations(reading: Reading) -> dict[At, Final]:
    stack, u = reading.stack, replace(reading.u, relative=0.0, absolute=0.0)
    lengths, x = stack.lengths, stack.x
    valid = None if lengths is None else torch.arange(len(x)).unsqueeze(1) < lengths
    given: tuple[Steps, Steps | None] = x, None
    found: dict[At, Final] = {}
    for layer in range(stack.spec.num_layers):
        outputs = []
        for direction in stack.spec.directions:
            at = layer, direction
            one = estimate(Reading.of(stack, at, *given, u))
            found[at] = one.final
            outputs.append((one.h, one.error))
        given = handed_on(outputs, valid)
    return found
