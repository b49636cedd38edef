"""A cheap lower estimate of the bound. A chunk whose differences all lie within it needs no full bound.

It pays where a cell has gates, whose bound costs more than their values. Every error here is at most the one that
`Bounded` gives: terms that would take another pass over memory are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.bounded_values import Number, Operand, Packed, Product
from rnnspect.arithmetic.product_bounds import RowBlock, Rows, squashed
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.scan import Scan
from rnnspect.arithmetic.slopes import tanh_slope
from rnnspect.network.parameters import LayerParameters


class Buffers:
    """The memory of one chunk's evaluation, which the next evaluation uses again in the same order: new memory costs
    more than the numbers in it. Within an evaluation no buffer is given out twice."""

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self._taken = 0

    def restart(self) -> None:
        self._taken = 0

    def of(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        at, size = self._taken, math.prod(shape)
        self._taken += 1
        if at == len(self._buffers):
            self._buffers.append(torch.empty(size, dtype=dtype))
        elif len(self._buffers[at]) < size:
            self._buffers[at] = torch.empty(size, dtype=dtype)
        return self._buffers[at][:size].view(shape)

    def like(self, v: Tensor) -> Tensor:
        return self.of(v.shape, v.dtype)


@dataclass(frozen=True, eq=False)
class Floor(Number):
    """A value and part of its bound, in buffers: both last until the next chunk is evaluated."""

    buffers: Buffers = field(kw_only=True)

    def __mul__(self, other: Operand) -> Floor:
        """The product with a gate, 0 ≤ v ≤ 1, on the left. The rounding errors of the gate and of the product are
        ignored."""
        if isinstance(other, Tanh):
            return other.after(self)
        if isinstance(other, Product):
            q, e = other.sum(), self.e
        else:
            q, e = other.v, torch.mul(other.e, self.v, out=self.buffers.like(other.v))
        return Floor(torch.mul(self.v, q, out=self.buffers.like(q)), e, self.u, buffers=self.buffers)

    def added_to(self, product: Product) -> Floor:
        """The rounding error of this value is ignored."""
        return Floor(product.sum().add_(self.v), product.allowance, self.u, buffers=self.buffers)

    def squashed(self, function: str) -> tuple[Tensor, Tensor]:
        return squashed(self.v, function, self.buffers.like(self.v)), self.e


@dataclass(frozen=True, eq=False)
class Tanh(Floor):
    """tanh of a number with the error e. e is multiplied by the slope 1 − v² only when it is needed, since the product
    of a gate with that slope takes one pass less."""

    def after(self, gate: Floor) -> Floor:
        """gate ⊙ v, whose slope is gate − (gate v) v."""
        v = torch.mul(gate.v, self.v, out=self.buffers.like(self.v))
        e = torch.addcmul(gate.v, v, self.v, value=-1, out=self.buffers.like(v)).mul_(self.e)
        return Floor(v, e, self.u, buffers=self.buffers)


class Screening(Bounded):
    """The arithmetic of the screening. After each evaluation `most` holds, for each row, the largest allowance of a
    pre-activation."""

    most: Tensor

    def __init__(self, p: LayerParameters, gates: int, u: Roundoff) -> None:
        super().__init__(p, gates, u)
        inputs, hidden = ([torch.stack([b.slope, b.offset]) for b in blocks] for blocks in (self._ih, self._hh))
        (self._x, x0), (self._h, h0) = (torch.stack(b).amax((0, 2)).tolist() for b in (inputs, hidden))
        self._offset = x0 + h0
        self._buffers = Buffers()
        self._shares: dict[tuple[RowBlock, ...], Tensor] = {}
        self._none = torch.zeros((), dtype=self.dtype)

    def allowance(self, terms: tuple[tuple[Rows, RowBlock], ...]) -> Tensor:
        """The allowance of the longest rows without their biases, and each unit's share of that, in one pass."""
        blocks = tuple(block for _, block in terms)
        if blocks not in self._shares:
            shares = [block.slope / block.slope.amax().clamp_(min=self.u.tiny) for block in blocks]
            self._shares[blocks] = torch.stack(shares).amin(0)
        least = torch.full_like(terms[0][0].norm, len(terms) * self.u.tiny)
        for rows, block in terms:
            least.addcmul_(rows.norm, block.slope.amax())
        share = self._shares[blocks]
        return torch.mul(least.unsqueeze(1), share, out=self._buffers.of((len(least), len(share)), self.dtype))

    def input(self, x: Tensor, error: Tensor | None = None) -> Packed:
        self._buffers.restart()
        packed = super().input(x, error)
        self._rows, _ = packed[0].terms[0]
        return packed

    def hidden(self, h: Number) -> Packed:
        assert h.rows is not None
        x = self._rows
        self.most = (x.norm * self._x).add_(h.rows.norm, alpha=self._h).add_(self._offset).view(x.shape)
        return super().hidden(h)

    def sigmoid(self, s: Operand) -> Floor:
        """The error of a gate is ignored, so that no allowance is computed for its sum."""
        v = s.sum("sigmoid") if isinstance(s, Product) else squashed(s.v, "sigmoid", self.blank(s.v))
        return Floor(v, self._none, self.u, buffers=self._buffers)

    def tanh(self, s: Operand) -> Tanh:
        v, before = s.squashed("tanh")
        return Tanh(v, before, self.u, buffers=self._buffers)

    def lerp(self, n: Number, h: Number, z: Number) -> Floor:
        """The lerp with the error of n alone."""
        v = torch.addcmul(n.v, z.v, torch.sub(h.v, n.v, out=self.blank(n.v)), out=self.blank(n.v))
        e = tanh_slope(n.v, self.blank(v)).mul_(n.e)
        return Floor(v, e.addcmul_(e, z.v, value=-1), self.u, buffers=self._buffers)

    def carry(self, f: Number, c: Number, v: Number) -> Floor:
        """The carried state with the error of v alone."""
        return Floor(Scan(f.v)(c.v, v.v, self.blank(v.v)), v.e, self.u, buffers=self._buffers)

    def blank(self, v: Tensor, width: int | None = None) -> Tensor:
        return self._buffers.like(v) if width is None else self._buffers.of((*v.shape[:-1], width), v.dtype)
