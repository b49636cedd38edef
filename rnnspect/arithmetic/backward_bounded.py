"""Going back over numbers with their bound: how far an engine's gradients may be from those of the equations.

An engine goes back with the values of its own pass forwards, which are within the bounds of `bounded.py`. Every product
and sum on the way back is charged as there, with an underflow each: gradients vanish, and what is stored below the
smallest normal number may be lost. Where an engine may factor an expression in another way, the way that rounds worst
is charged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import KERNEL, Bounded
from rnnspect.arithmetic.bounded_values import Number, Product
from rnnspect.arithmetic.product_bounds import RowBlock, Rows
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.scan import Scan
from rnnspect.arithmetic.slopes import UNBOUNDED, slope, spread, steepest
from rnnspect.arithmetic.sum_orders import Ordered
from rnnspect.cells.functions import RELU, Activation, Nonlinearity
from rnnspect.network.parameters import LayerParameters


class BackwardBounded(Bounded):
    """Numbers with their bound, with what going back needs (`tape.Backward`)."""

    def __init__(self, p: LayerParameters, gates: int, u: Roundoff, nonlinearity: Nonlinearity = "tanh") -> None:
        super().__init__(p, gates, u, nonlinearity)
        self._transposed: dict[str, RowBlock] = {}
        self.on_the_way_back = p
        """The parameters with which transposed products are computed."""
        self.limit = math.inf
        """The largest sum that does not overflow in an engine (`sums_up_to`)."""
        self._one, self._least, self._tiny = torch.tensor([1, 4 * u.sums, u.tiny], dtype=self.dtype).unbind()

    def exact(self, v: Tensor, relative: float = 0.0) -> Number:
        """A gradient of the engine's own, (steps, batch, units), with a relative error."""
        e = v.abs().mul_(relative) if relative else torch.zeros((), dtype=v.dtype)
        return Number(v, e, self.u)

    def slope(self, function: str, s: Number | Product, v: Number) -> Number:
        """The derivative: of σ and tanh from their value, as engines compute it; of other functions from their
        argument."""
        f: Activation = self.functions.named(function)
        clip = self.functions.clip_of(function)
        if f.name == "exp":
            return v
        if f.name in ("sigmoid", "tanh") and clip is None:
            return self._of_value(f, v)
        at = slope(f, clip, s.v, v.v)
        if f == RELU and clip is None:
            off = (s.v.abs() <= s.e).to(at.dtype)  # next to the kink a correct engine may be on its other side
        else:
            e = s.e
            if self.u.coarse:  # where each of the operations that f is made of is stored
                e = e + (s.v.abs() + 1) * (2 * self.u.stored)
            most = at.abs() if f.name in UNBOUNDED else max(1.0, steepest(f))
            off = spread(f, clip, s.v, e).add_((KERNEL + 4) * self.u.sums * most)
            if self.u.coarse:  # g / (1 + |s|) − g |s| / (1 + |s|)² cancels, as softsign's derivative is composed
                off.add_(1 - v.v.abs() if f.name == "softsign" else at.abs(), alpha=4 * self.u.stored)
        off.masked_fill_(~s.v.isfinite(), torch.inf)  # beyond the range of the dtype nothing is known of it
        return Number(at, self.u.store(at, off) if self.u.coarse else off, self.u)

    def _of_value(self, f: Activation, v: Number) -> Number:
        """v (1 − v) or 1 − v², also as v − v² or (1 − v)(1 + v)."""
        if f.name == "sigmoid":
            at = torch.addcmul(v.v, v.v, v.v, value=-1)
            e = torch.sub(self._one, v.v, alpha=2).abs_().add_(v.e).mul_(v.e).add_(v.v, alpha=4 * self.u.sums)
        else:
            at = torch.addcmul(self._one, v.v, v.v, value=-1)
            size = v.v.abs()
            e = torch.add(v.e, size, alpha=2)
            e = torch.addcmul(self._least, e, v.e, out=e)
        return Number(at, self.u.store(at, e) if self.u.coarse else e, self.u, is_gate=True)

    def columns(self, weight: str) -> RowBlock:
        if weight not in self._transposed:
            w: Tensor = getattr(self.on_the_way_back, weight).t().contiguous()
            # What an engine in a half type shows as zero may have been lost by underflow.
            shown = self.u.tiny if self.u.coarse else 0.0
            self._transposed[weight] = RowBlock.of(w, None, w.shape[1] + 2, self.u, (0.0, shown))
        return self._transposed[weight]

    def transposed(self, weight: str, g: Number) -> Number:
        """Wᵀ g: a sum over the rows of W, for each of its columns."""
        error = g.e if g.e.dim() else None
        rows, block = Rows(g.v, error), self.columns(weight)
        found = Product(self, (rows, block)).number
        if self.u.coarse and (added := self._added_by_gate(weight, g.v)) is not None:
            of_each = len(self.parameters.gate_sizes(len(self._ih))) * self.u.stored
            found = self._summed(replace(found, e=found.e + added * of_each), added)
        if float(rows.norm.max()) * float(block.length.max()) <= self.limit:
            return found
        over = ~(torch.outer(rows.norm, block.length) <= self.limit).view_as(found.v)  # no partial sum is above that
        return Number(found.v, found.e.masked_fill(over, math.inf), self.u)

    def _added_by_gate(self, weight: str, g: Tensor) -> Tensor | None:
        """Σ over the gates of the sizes of the products with their rows, which an engine may store one by one; None for
        a product with all rows at once."""
        w, sizes = self.on_the_way_back[weight], self.parameters.gate_sizes(len(self._ih))
        if len(sizes) == 1 or sum(sizes) != len(w):
            return None
        parts = zip(torch.split(g, list(sizes), -1), torch.split(w, list(sizes)), strict=True)
        return torch.stack([(of @ rows).abs_() for of, rows in parts]).sum(0)

    def _summed(self, found: Number, added: Tensor) -> Number:
        """A sum of numbers that an engine stores, whose sizes add up to `added`: nothing is known of it where a sum on
        the way may overflow."""
        if self.u.largest == math.inf:
            return found
        return replace(found, e=found.each.masked_fill(added > self.u.largest, math.inf), added=added)

    def joined(self, blocks: Sequence[Number | None]) -> Number:
        like = next(block for block in blocks if block is not None)
        exact = not any(block is not None and block.e.dim() for block in blocks)
        if exact and (packed := _packed(blocks)) is not None:
            return Number(packed, like.e, self.u)
        sizes = self.parameters.gate_sizes(len(blocks))
        zeros = [like.v.new_zeros(*like.v.shape[:-1], size) for size in sizes]
        v = torch.cat([none if block is None else block.v for none, block in zip(zeros, blocks, strict=True)], -1)
        if exact:
            return Number(v, torch.zeros((), dtype=v.dtype), self.u)
        parts = [none if block is None else block.e.expand_as(none) for none, block in zip(zeros, blocks, strict=True)]
        return Number(v, torch.cat(parts, -1), self.u)

    def times(self, g: Number, v: Number | Product) -> Number:
        v = v.number if isinstance(v, Product) else v
        made = g.v * v.v
        size = g.v.expand_as(made).abs()
        if self.u.coarse:
            e = size.mul_(v.e)
            if g.e.dim():
                e.addcmul_(v.v.abs() + v.e, g.e)
            else:  # g was shown by the engine: zero, where it was lost by underflow
                e.add_(v.v.abs(), alpha=self.u.tiny)
            return self._rounded(made, e)
        slope = v.v if v.is_gate else v.v.abs()
        e = torch.addcmul(self._tiny, size, torch.add(v.e, slope, alpha=self.u.stored), out=size)
        if g.e.dim():
            e.addcmul_(slope + v.e, g.e)
        return Number(made, e, self.u)

    def plus(self, g: Number, other: Number) -> Number:
        v, e = g.v + other.v, g.e + other.e
        found = self._rounded(v, e if e.shape == v.shape else e.expand_as(v).clone())
        return found if self.u.largest == math.inf else self._summed(found, g.size + other.size)

    def minus(self, v: Number, other: Number) -> Number:
        """v − other, bounded also for engines that multiply each with the gradient first, and subtract the products."""
        size = v.v.abs().add_(other.v.abs()).mul_(2 * self.u.stored)
        return Number(v.v - other.v, size.add_(v.e).add_(other.e), self.u)

    def rest(self, v: Number) -> Number:
        """1 − v, bounded also for engines that compute g − g v in place of g (1 − v)."""
        rest = super().rest(v)
        return Number(rest.v, torch.add(rest.e, v.v.abs(), alpha=2 * self.u.stored), self.u, is_gate=rest.is_gate)

    def negative(self, v: Number) -> Number:
        return Number(-v.v, v.e, v.u)

    def one(self) -> Number:
        return Number(self._one, torch.zeros_like(self._one), self.u)

    def carry(self, f: Number, c: Number, v: Number) -> Number:
        return f * c + v if c.v.dim() > 2 else super().carry(f, c, v)

    def before(self, c: Number, after: Number) -> Number:
        if c.v.dim() > 2:
            return c
        v, e = (torch.cat([one[None], all_[:-1]]) for one, all_ in ((c.v, after.v), (c.e, after.e)))
        return Number(v, e, self.u)

    def scanned(self, slope: Number, last: Number, rest: Number | None) -> Number:
        """g of every step and of one before the first, (steps + 1, batch, units), where g before a step is
        slope ⊙ (g after it) + rest, and `last` (batch, units) is g after the last one."""
        v = torch.cat([torch.zeros_like(slope.v) if rest is None else rest.v, last.v[None]])
        Scan(slope.v, back=True)(last.v, v[:-1])
        size, own = v.abs(), torch.zeros_like(slope.v) if rest is None else rest.e
        e = torch.addcmul(own, slope.e, size[1:]).add_(size[:-1], alpha=2 * self.u.stored).add_(2 * self.u.tiny)
        e = torch.cat([e, last.e.expand_as(last.v)[None]])
        added = None
        if self.u.largest < math.inf:
            terms = slope.v.abs() * size[1:] + (0 if rest is None else rest.size)
            added = torch.cat([terms, last.size[None]])
            e.masked_fill_(torch.maximum(size + e, added) > self.u.largest, math.inf)
        Scan(slope.v.abs().add_(slope.e), back=True)(e[-1], e[:-1])
        return Number(v, e, self.u, added=added)

    def _rounded(self, v: Tensor, e: Tensor) -> Number:
        """v as an engine stores it. e is overwritten."""
        if self.u.coarse:
            return Number(v, self.u.store(v, e), self.u)
        return Number(v, e.add_(v.abs(), alpha=self.u.stored).add_(self.u.tiny), self.u)


def sums_up_to(p: LayerParameters, u: Roundoff) -> float:
    """The largest number of the sums that an engine keeps: those that are stored in float16 are of float32."""
    in_its_own = bool(u.narrow) or u.largest == math.inf
    return float(torch.finfo(p.weight_ih.dtype).max) if in_its_own else math.inf


def _packed(blocks: Sequence[Number | None]) -> Tensor | None:
    """The tensor that holds these blocks one after the other, as the engine packed them; None where there is none."""
    if any(block is None for block in blocks):
        return None
    values = [block.v for block in blocks if block is not None]
    first, width, place = values[0], 0, values[0].untyped_storage().data_ptr()
    for v in values:
        at = v.storage_offset() - first.storage_offset()
        if v.untyped_storage().data_ptr() != place or v.stride() != first.stride() or at != width:
            return None
        width += v.shape[-1]
    fits = first.dim() > 1 and first.stride()[-1] == 1 and first.stride()[-2] >= width
    return first.as_strided((*first.shape[:-1], width), first.stride()) if fits else None


class BackwardOrdered(BackwardBounded, Ordered):
    """As `BackwardBounded`, with the sums computed in the orders that engines use: for a second look."""
