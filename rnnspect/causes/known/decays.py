"""Decays of a form that computes many steps of h' = a ⊙ h + b at once, cumulated along another axis than that of the
steps. What else may be wrong with decays is in `carried.py`."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.arithmetic.forms import linear_state
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._chunk_edges import in_pieces
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.layer import LayerEquations
from rnnspect.judging.regrouping import coefficients

_ROWS = 2**14
"""Steps times items of a run that is looked at whole."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    if not assumed.seen or run.reverse or run.lengths is not None or linear_state(assumed.cell) != "h":
        return
    if run.x.shape[0] * run.x.shape[1] > _ROWS:
        return
    for axis, name, among in ((1, "batch", "the items of the batch"), (2, "unit", "units")):
        if run.h.shape[axis] > 1:
            yield Cause(
                "decay-wrong-axis",
                f"decays are cumulated over {among}, not over steps",
                "Take the cumulated product, or the cumulated sum of logarithms, along the axis of the steps.",
                functools.partial(_cumulated, axis=axis),
                {"axis": name},
            )


def _cumulated(assumed: Assumption, axis: int) -> Assumption:
    """Each step by itself, from the h with which the equations give what follows from the decay exp(L_t − L_{t−1}),
    where L_t are the logarithms of that step's decays, cumulated along the wrong axis. At the first step of a
    chunk L_{t−1} is 0."""
    run, (a, b) = assumed.run, _coefficients(assumed)
    h = torch.cat([run.h0.double()[None], run.h[:-1].double()])
    sums = a.log().cumsum(axis)
    apart = sums.diff(dim=0, prepend=torch.zeros_like(sums[:1]))
    anew, on = ((logs.exp() * h + b - run.h).abs().flatten(1).amax(1) for logs in (sums, apart))
    apart = torch.where((anew < on)[:, None, None], sums, apart)  # there a chunk begins, with sums of its own
    states = (h * (apart - a.log()).exp()).flatten(0, 1)  # known but for their rounding
    return in_pieces(assumed, range(1, len(h)), [(states, torch.zeros_like(states))])


def _coefficients(assumed: Assumption) -> tuple[Tensor, Tensor]:
    """a and b of h' = a ⊙ h + b at each step, (T, B, H), in float64."""
    wide = LayerEquations(assumed.cell, assumed.p, ROUNDOFF[torch.float64], assumed.nonlinearity)
    return coefficients(wide, chunk_at(assumed.run, 0, assumed.run.x.shape[0]))
