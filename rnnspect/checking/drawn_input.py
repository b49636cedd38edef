"""Draws an input for a check that was given none, such that the gates of these weights are open and tested.

The spec's default input, three steps of a ramp, saturates most trained weights, and saturated gates hide mistakes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.errors import listed
from rnnspect.judging.verdict import Verdict
from rnnspect.network.drawing import draw_normal, generator_of
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared

STEPS = 64, 256, 1024
"""The lengths of the first sequence, and of those that follow where the one before could not tell."""
SECONDS = 5.0
"""Of CPU time. After that no other sequence is drawn; what else the machine does makes no difference."""
_FOR_EACH = 4
"""How many steps there are for each parameter of a unit, where parameters are to be recovered."""
_SIZES = 2.0**-4, 2.0**2
"""The least and the largest typical size of W_ih x: at some steps it opens gates that are shut at others."""


def is_missing(spec: Spec) -> bool:
    """Whether no input was given."""
    return "input" not in spec.model_fields_set and spec.lengths is None


def judged_on_drawn(prepared: Prepared, judge: Callable[[Prepared], Verdict]) -> Verdict:
    """The verdict of `judge` on a drawn x, and on drawn h0 and c0 where none were given. Where that cannot tell, longer
    ones are drawn, for some seconds. A note says what was drawn."""
    begun, drawn = time.thread_time(), _not_given(prepared)
    for steps in STEPS:
        verdict = judge(replace(prepared, sequence=_sequence(prepared, drawn, steps)))
        if verdict.verdict != "cannot tell" or time.thread_time() - begun > SECONDS:
            break
    were = "were" if drawn else "was"
    said = f"no input was given: random {listed(['x', *drawn])} {were} drawn for these weights, {steps} steps"
    said += " (fewer were not conclusive)" if steps > STEPS[0] else ""
    return replace(verdict, notes=(*verdict.notes, said))


def on_long_input(prepared: Prepared) -> Prepared:
    """The run on a drawn input that is long enough to recover the parameters of every layer."""
    spec = prepared.spec
    widest = max(spec.input_size, spec.output_width if spec.num_layers > 1 else 0)
    unknowns = len(spec.cell_type.gates) * (widest + spec.output_size + 1)
    steps = math.ceil(_FOR_EACH * unknowns / prepared.sequence.batch)
    return replace(prepared, sequence=_sequence(prepared, _not_given(prepared), steps))


def _not_given(prepared: Prepared) -> list[str]:
    return [name for name, given in zip(("h0", "c0"), prepared.sequence.state, strict=False) if not given.any()]


def _sequence(prepared: Prepared, drawn: list[str], steps: int) -> Sequence:
    """A sequence of so many steps, with the batch of the prepared sequence, its items as long in proportion, and its
    states where they are not drawn."""
    spec, given = prepared.spec, prepared.sequence
    generator, lowest = (
        generator_of(spec),
        [LayerParameters.of(prepared.parameters, 0, at, spec) for at in spec.directions],
    )
    low, high = (math.log(size) for size in _SIZES)
    sizes = torch.rand(steps, 1, 1, generator=generator, device=generator.device).mul_(high - low).add_(low).exp_()
    x = draw_normal((steps, given.batch, spec.input_size), generator) * sizes * _unit([p.weight_ih for p in lowest])
    h0, c0 = given.h0, given.c0
    if "h0" in drawn:
        h0 = (draw_normal(tuple(h0.shape), generator) * min(1.0, _unit([p.weight_hh for p in lowest]))).to(h0)
    if c0 is not None and "c0" in drawn:
        c0 = draw_normal(tuple(c0.shape), generator).to(c0)
    lengths = given.lengths and tuple(max(1, length * steps // given.steps) for length in given.lengths)
    return replace(given, x=x.to(given.x), h0=h0, c0=c0, lengths=lengths)


def _unit(weights: list[Tensor]) -> float:
    """The size that elements of v need so that W v is typically 1."""
    size = float(torch.cat([w.double().norm(dim=1) for w in weights]).median())
    return 1 / size if size > 0 else 1.0
