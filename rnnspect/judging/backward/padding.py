"""What an engine gives beyond an item's end: there a gradient is zero, exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.judging.chunks import Chunk
from rnnspect.judging.finding import Deviation, Finding, WrongValues


def with_padding(found: Finding, values: Tensor, lengths: Tensor | None) -> Finding:
    """The finding with the gradients (T, B, ·) that are not zero beyond an item's end. NaN is left out where it may be
    zero times infinity, as numbers of the run leave the range of its dtype."""
    if lengths is None:
        return found
    steps = torch.arange(len(values) - 1, -1, -1).unsqueeze(1).expand(-1, len(lengths))
    turned = values.flip(0)
    wrong = (turned != 0) & ~(steps < lengths).unsqueeze(-1)
    if found.unjudged:
        wrong &= ~turned.isnan()
    over = WrongValues.of(Chunk(0, turned, turned, turned, steps), wrong)
    if over is None:
        return found
    n, b, j = (int(at) for at in wrong.nonzero()[0])
    first = Deviation(n, int(steps[n, b]), b, j, 0.0, float(turned[n, b, j]), 0.0, math.inf)
    earliest = min((one for one in (found.first, first) if one), key=lambda one: one.order)
    return replace(found, over=found.over.joined(over) if found.over else over, first=earliest, worst=first)
