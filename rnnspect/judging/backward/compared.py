"""An engine's gradients of the pre-activations beside those of the equations, for some steps."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.product_bounds import largest
from rnnspect.judging.backward.passing import BackwardSteps
from rnnspect.judging.chunks import Chunk
from rnnspect.judging.finding import ComparedValues, Deviation


def ratio_of(own: Number, steps: BackwardSteps, factor: int) -> tuple[Tensor, float]:
    """|difference| / bound, (steps, batch, G·H) in processing order, and the largest of them. The bound is `factor`
    times that of `own`."""
    theirs, valid = steps.seen.to(own.v.dtype), steps.chunk.valid
    ratio = (own.v - theirs).div_(own.e).abs_()
    if factor != 1:
        ratio.div_(factor)
    if valid is not None:
        ratio.masked_fill_(~valid.unsqueeze(-1), 0)
    if (nowhere := lost(own.e, steps)) is not None:
        ratio.masked_fill_(nowhere, 0)
    top = float(ratio.amax())
    if math.isnan(top):  # 0 / 0, or the difference of infinities
        top = float(ratio.masked_fill_(own.v == theirs, 0).amax())
    return ratio, top


def in_range(own: Number, limit: float) -> Number:
    """With an infinite bound where an engine's number may be above `limit`, its largest number, and so infinite."""
    if largest(own.v) < limit / 2:  # as everywhere but at the end of the range
        return own
    return replace(own, e=own.each.masked_fill(own.v.abs() + own.each > limit, math.inf))


def unknown(bound: Tensor) -> Tensor | None:
    """Where nothing can be judged, since a number on the way may be beyond the range of the dtype; None where that is
    nowhere."""
    return None if math.isfinite(float(bound.amax())) else ~bound.isfinite()


def lost(bound: Tensor, steps: BackwardSteps) -> Tensor | None:
    """As `unknown`, for gradients that an engine shows through more features of x than one: where one number of a row
    is infinite, zero times infinity is in all of them."""
    found, rows = unknown(bound), None if steps.lost is None else steps.lost.unsqueeze(-1)
    if found is not None:
        infinite = found.any(-1, keepdim=True)
        rows = infinite if rows is None else rows | infinite
    return None if rows is None else rows.expand_as(bound)


def compared(turned: Chunk, own: Number, steps: BackwardSteps, factor: int) -> ComparedValues:
    """Gradients of both sides in the order of going back; `turned` is the chunk in that order (`turned_of`)."""
    ratio, _ = ratio_of(own, steps, factor)
    v, theirs, bound = own.v.flip(0), steps.seen.to(own.v.dtype).flip(0), own.e.flip(0) * factor
    return ComparedValues(turned, v, theirs, bound, ratio.flip(0))


def nearest(own: Number, steps: BackwardSteps, ratio: Tensor, factor: int, total: int) -> Deviation:
    """The value that is nearest to its bound, the first one going back."""
    n, b = divmod(int(ratio.amax(2).flip(0).argmax()), ratio.shape[1])
    at = len(ratio) - 1 - n
    one = slice(at, at + 1)
    bound, theirs = own.e[one] * factor, steps.seen[one].to(own.v.dtype)
    values = ComparedValues(turned_of(steps.chunk.cut(at, at + 1), total), own.v[one], theirs, bound, ratio[one])
    return values.seen((0, b, int(ratio[at, b].argmax())))


def turned_of(chunk: Chunk, total: int) -> Chunk:
    """The chunk in the order of going back; the run has `total` steps."""
    n, batch = chunk.x.shape[:2]
    steps = chunk.steps
    if steps is None:
        steps = torch.arange(chunk.start, chunk.start + n).unsqueeze(1).expand(-1, batch)
    valid = None if chunk.valid is None else chunk.valid.flip(0)
    return Chunk(total - chunk.start - n, chunk.x.flip(0), chunk.before, chunk.after, steps.flip(0), valid)
