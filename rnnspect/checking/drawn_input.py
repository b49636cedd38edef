"""Draws an input for a check that was given none, such that the gates of these weights are open and tested.

The spec's default input, three steps of a ramp, saturates most trained weights, and saturated gates hide mistakes.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor

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
_MOST = 2.0**10
"""The largest typical size of W_ih x where x cancels a bias."""


def is_missing(spec: Spec) -> bool:
    """Whether no input was given."""
    return "input" not in spec.model_fields_set and spec.lengths is None


def judged_on_drawn(prepared: Prepared, judge: Callable[[Prepared], Verdict]) -> Verdict:
    """The verdict of `judge` on a drawn x, and on drawn h0 and c0 where none were given. Where that cannot tell, longer
    ones are drawn, for some seconds. A note says what was drawn."""
    begun, drawn = time.thread_time(), _not_given(prepared)
    for steps, large in itertools.product(STEPS, [False, True] if _is_shut(prepared) else [False]):
        verdict = judge(replace(prepared, sequence=_sequence(prepared, drawn, steps, large)))
        if verdict.verdict != "cannot tell" or time.thread_time() - begun > SECONDS:
            break
    were = "were" if drawn else "was"
    said = f"no input was given: random {listed(['x', *drawn])} {were} drawn for these weights, {steps} steps"
    if large:
        said += ", x large enough to cancel their biases (smaller ones were not conclusive)"
    elif steps > STEPS[0]:
        said += " (fewer were not conclusive)"
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


def _lowest(prepared: Prepared) -> list[LayerParameters]:
    spec = prepared.spec
    return [LayerParameters.of(prepared.parameters, 0, direction, spec) for direction in spec.directions]


def _sequence(prepared: Prepared, drawn: list[str], steps: int, large: bool = False) -> Sequence:
    """A sequence of so many steps, with the batch of the prepared sequence, its items as long in proportion, and its
    states where they are not drawn. A `large` x also cancels biases."""
    spec, given = prepared.spec, prepared.sequence
    generator, lowest = generator_of(spec), _lowest(prepared)
    low, high = (math.log(size) for size in _SIZES)
    sizes = torch.rand(steps, 1, 1, generator=generator, device=generator.device).mul_(high - low).add_(low).exp_()
    x = draw_normal((steps, given.batch, spec.input_size), generator) * sizes * _unit([p.weight_ih for p in lowest])
    if large:
        x += _cancelling(prepared, (steps, given.batch), generator)
    h0, c0 = given.h0, given.c0
    if "h0" in drawn:
        h0 = (draw_normal(tuple(h0.shape), generator) * min(1.0, _unit([p.weight_hh for p in lowest]))).to(h0)
    if c0 is not None and "c0" in drawn:
        c0 = draw_normal(tuple(c0.shape), generator).to(c0)
    lengths = given.lengths and tuple(max(1, length * steps // given.steps) for length in given.lengths)
    limit = min(torch.finfo(v.dtype).max for v in (x, given.x)) / 16  # of float16, with weights of 1e-4
    return replace(given, x=x.clamp(-limit, limit).to(given.x), h0=h0, c0=c0, lengths=lengths)


def _is_shut(prepared: Prepared) -> bool:
    """Whether a bias of the lowest layer, such as a forget bias of 10, is larger than the usual W_ih x."""
    lowest = _lowest(prepared)
    reach = _SIZES[1] * _unit([p.weight_ih for p in lowest])
    return any(bool((_biases(p).abs() > p.weight_ih.double().norm(dim=1) * reach).any()) for p in lowest)


def _biases(p: LayerParameters) -> Tensor:
    """(G·H), bias_ih + bias_hh; 0 where there are none."""
    total = p.weight_ih.new_zeros(len(p.weight_ih), dtype=torch.float64)
    given = [bias.double() for bias in (p.bias_ih, p.bias_hh) if bias is not None and bias.shape == total.shape]
    return sum(given, total)


def _cancelling(prepared: Prepared, shape: tuple[int, int], generator: Generator) -> Tensor:
    """(T, B, I): in turn an x at which W_ih x = -bias in one row, one at which it is so in all gates of a unit (where
    one gate alone is open, another may hide what it does), and a random one that is as large."""
    sizes, lowest = prepared.spec.gate_sizes, _lowest(prepared)
    of_rows, of_units = [], []
    for p in lowest:
        weights, biases = (v.cpu().nan_to_num(0, 0, 0) for v in (p.weight_ih.double(), _biases(p)))
        of_rows.append(_smallest(weights[:, None], biases[:, None]))
        if len(set(sizes)) == 1 and sum(sizes) == len(weights):
            weights, biases = (v.reshape(len(sizes), -1, *v.shape[1:]).transpose(0, 1) for v in (weights, biases))
            of_units.append(_smallest(weights, biases))
    most = _MOST * _unit([p.weight_ih for p in lowest])

    def picked(found: list[Tensor]) -> Tensor:
        table = torch.cat(found)
        norms = table.norm(dim=1)
        table[norms > most] = norms[norms > most] = 0  # of weights that are nearly 0: it would shut every other gate
        often = (norms / norms.max()).nan_to_num(1)
        return table[torch.multinomial(often, math.prod(shape), replacement=True, generator=generator)].view(*shape, -1)

    x = picked(of_rows)
    x[1::3] = picked(of_units or of_rows)[1::3]
    x[2::3] = (draw_normal(tuple(x.shape), generator) * x.norm(dim=2, keepdim=True))[2::3]
    return x.float()


def _smallest(weights: Tensor, biases: Tensor) -> Tensor:
    """(N, I): for each of the N groups of rows (N, G, I) the smallest x at which W x is nearest to -bias."""
    inverse: Tensor = torch.linalg.pinv(weights @ weights.mT, hermitian=True)
    return -(weights.mT @ (inverse @ biases[..., None]))[..., 0]


def _unit(weights: list[Tensor]) -> float:
    """The size that elements of v need so that W v is typically 1."""
    size = float(torch.cat([w.double().norm(dim=1) for w in weights]).median())
    return 1 / size if size > 0 else 1.0
