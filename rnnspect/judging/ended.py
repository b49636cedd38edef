"""The states that an earlier call on the same sequence would have ended with, from the equations alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rnnspect.judging.estimate import estimate
from rnnspect.judging.inputs import beside

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.judging.inputs import Steps
    from rnnspect.judging.reading import At, Reading

STEPS = 256
"""Of a longer run the last so many tell it: what was before them is forgotten, or else nothing is said."""


def ended(reading: Reading) -> dict[At, tuple[tuple[Tensor, Tensor], ...]]:
    """By layer and direction each final state (B, ·), and how far a correct engine's may be."""
    run, stack = reading.run, reading.stack
    if run.lengths is None and len(stack.x) > STEPS:
        # What the forward direction ends with comes from the end of the sequence, the other's from its beginning.
        ends = {"forward": _ended(reading, stack.x[-STEPS:]), "reverse": _ended(reading, stack.x[:STEPS])}
        return {at: ends[at[1]][at] for at in stack.parameters}
    return _ended(reading, stack.x)


def _ended(reading: Reading, x: Steps) -> dict[At, tuple[tuple[Tensor, Tensor], ...]]:
    stack, spec = reading.stack, reading.stack.spec
    u = replace(reading.u, relative=0.0, absolute=0.0)
    lengths = reading.run.lengths
    valid = None if lengths is None else torch.arange(x.shape[0]).unsqueeze(1) < lengths
    error: Steps | None = None
    found: dict[At, tuple[tuple[Tensor, Tensor], ...]] = {}
    for layer in range(spec.num_layers):
        outputs = []
        for direction in spec.directions:
            at = layer, direction
            one = estimate(
                spec.cell_type, stack.parameters[at], u, spec.nonlinearity_of(direction), x, error, stack.states[at],
                lengths, direction == "reverse",
            )  # fmt: skip
            found[at] = one.final
            outputs.append(one)
        x, error = beside([one.h for one in outputs], valid), beside([one.error for one in outputs])
    return found
