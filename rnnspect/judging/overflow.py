"""Where a number on the way to h may leave the range of its dtype, even if h itself does not.

Engines add up products in an order of their own. No partial sum of Σ w x is above Σ |w x|, but where that is above the
largest number some order may give infinity. What an engine gives from there on, NaN, 0 or 1, says nothing about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.network.parameters import LayerParameters

_ROOM = 2.0**-10
"""The parts of a sum, and its partial sums, may be so much larger than the sum."""


def may_overflow(p: LayerParameters, u: Roundoff, x: Tensor, h: Tensor, error: Tensor | None = None) -> Tensor | None:
    """(steps, batch, G·H): which pre-activations W_ih x + b_ih + W_hh h + b_hh may have met an infinity; None where
    none can have. `error` says how far x may be off.

    Where products are summed up in float32 and only then stored in float16, what is stored is looked at.
    """
    limit = torch.finfo(p.weight_ih.dtype).max
    biases = [b for b in (p.bias_ih, p.bias_hh) if b is not None]
    offset = sum((b.double().abs() for b in biases), torch.zeros(()))
    terms = ((p.weight_ih.double(), x, error), (p.weight_hh.double(), h, None))
    most = float(offset.max())
    for w, given, off in terms:
        largest = float(given.abs().max()) + (0.0 if off is None else float(off.max()))
        most += float(w.abs().sum(1).max()) * largest
    if most <= limit:
        return None
    stored = u.largest < math.inf and not u.narrow
    size = offset
    for w, given, off in terms:
        v = given.double()
        size = size + ((v @ w.t()).abs() if stored else v.abs() @ w.t().abs())
        if off is not None:
            size = size + off.double() @ w.t().abs()
    lost = ~(size <= limit)
    return lost | beside_in_memory(~x.isfinite().all(-1)).unsqueeze(-1) if p.weight_ih.dtype.itemsize == 2 else lost


def own_may_overflow(u: Roundoff, limit: float, states_with: Callable[[Roundoff], list[Number]]) -> Tensor:
    """(steps, batch, 1): where a number on the way to h may be above `limit` in a cell of one's own. Any operation of
    its lines may give it: from `states_with` come its states with bounds that are infinite after any number which is
    above a share of that."""
    largest = min(limit, u.largest) * _ROOM
    made = states_with(replace(u, stored=max(u.stored, 4 * u.sums), largest=largest))
    return ~torch.stack([(one.v.abs() + one.e <= largest).all(-1, keepdim=True) for one in made]).all(0)


def beside_in_memory(infinite: Tensor) -> Tensor:
    """Which rows of (steps, batch) stand beside an infinite one in memory, so that an engine may have NaN there.

    CPUs multiply numbers of 16 bits in pairs: of a row of odd length the last one goes with the first one of the next
    row, times zero, which is NaN where that is infinite.
    """
    rows = infinite.flatten()
    beside = torch.zeros_like(rows)
    beside[:-1] |= rows[1:]
    beside[1:] |= rows[:-1]
    return beside.view_as(infinite)
