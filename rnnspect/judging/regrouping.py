"""The additional error of h in an engine that may compute many steps at once: in chunks, by parallel scans, or with
sums in log space.

A check starts each step from the engine's own h_{t−1}. So does an engine that computes step by step. An engine that
groups its steps has an h_{t−1} with an error of up to G_{t−1} and an h_t with an error of up to G_t, each for its own
grouping, so that h_t may differ by G_t + |a_t| G_{t−1} from what follows from h_{t−1}. That h_{t−1} was rounded as it
was returned, and perhaps not for the next step, is covered by the rounding of the product a_t h_{t−1}.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.forms import TermSums, linear_state, regrouped
from rnnspect.arithmetic.numbers import Numbers
from rnnspect.judging.chunks import Chunk, LayerRun, chunks
from rnnspect.judging.layer import LayerEquations

_VALUES = 2**19
"""So many values of h are computed together."""


def with_regrouping(layer: LayerEquations, run: LayerRun) -> LayerRun:
    """The run with that error at each step, where h of the layer is a linear recurrence and the arithmetic says that
    many steps may be computed at once; else the run unchanged. For a cell state `Bounded.carry` has it."""
    if not layer.u.regrouped or linear_state(layer.cell) != "h" or run.regrouped is not None:
        return run
    found = torch.zeros(run.h.shape, dtype=layer.dtype)
    sums, before = TermSums.begin(run.h0.to(layer.dtype).abs()), torch.zeros_like(run.h0, dtype=layer.dtype)
    for chunk in chunks(run, max(1, _VALUES // layer.units)):
        a, b = coefficients(layer, chunk)
        own, sums = regrouped(a, b, sums, layer.u)
        more = own.addcmul(a.abs(), torch.cat([before[None], own[:-1]]))
        at: Any = chunk.at
        if chunk.valid is None or chunk.steps is None:
            found[at] = more
        else:  # in reverse what lies beyond an item's end stands for its step 0, too
            items = torch.arange(len(run.h0)).expand_as(chunk.steps)
            found[chunk.steps[chunk.valid], items[chunk.valid]] = more[chunk.valid]
        before = own[-1]
    return replace(run, regrouped=found)


def coefficients(layer: LayerEquations, chunk: Chunk) -> tuple[Tensor, Tensor]:
    """a and b of h' = a ⊙ h + b at each step of a chunk, (steps, batch, units)."""
    numbers = Numbers(layer.weights, layer.gates, layer.nonlinearity)
    wx = numbers.input(chunk.x.to(layer.dtype))
    none = torch.zeros(*wx.shape[:-1], layer.units, dtype=wx.dtype)
    b = layer.cell.step(numbers, wx, none)["h"]
    return layer.cell.step(numbers, wx, none + 1)["h"] - b, b
