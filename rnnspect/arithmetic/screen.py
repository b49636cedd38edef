"""A floor under the bound, cheap enough to clear a whole chunk: what lies within it needs no closer look.

Only LSTMs are worth it, where the bound costs more than the values. Every number here carries no more than
the `Bounded` one would: what costs passes over memory is left out, what nobody asks for is not computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnspect.arithmetic.bounded import Bounded, Number, Product, sigmoid_slope, tanh_slope
from rnnspect.arithmetic.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.arithmetic.roundoff import Roundoff
    from rnnspect.parameters import LayerParameters


class Room:
    """The buffers of one look, taken in the same order by the next: new memory costs more than the numbers in it."""

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self._taken = 0

    def restart(self) -> None:
        self._taken = 0

    def of(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if self._taken == len(self._buffers):
            self._buffers.append(torch.empty(shape, dtype=dtype))
        elif self._buffers[self._taken].shape != shape:
            self._buffers[self._taken] = torch.empty(shape, dtype=dtype)
        self._taken += 1
        return self._buffers[self._taken - 1]

    def like(self, v: Tensor) -> Tensor:
        return self.of(v.shape, v.dtype)


class Floor(Number):
    """A value, and part of its bound when asked."""

    def __init__(self, v: Tensor, u: Roundoff, room: Room, least: Callable[[], Tensor]) -> None:
        self.v, self.u, self.rows, self._room, self._least = v, u, None, room, least

    @property
    def e(self) -> Tensor:  # type: ignore[override]
        return self._least()

    def __mul__(self, other: Number) -> Number:
        """The first factor is a gate, 0 ≤ p, and its own error is left out."""
        q = other.settle()
        v = torch.mul(self.v, q.v, out=self._room.like(q.v))
        return Floor(v, self.u, self._room, lambda: q.e.mul_(self.v))


class Screen(Bounded):
    """`most` is, after a look, the largest allowance of a pre-activation in each row. A look lasts until the next."""

    most: Tensor

    def __init__(self, p: LayerParameters, gates: int, u: Roundoff) -> None:
        super().__init__(p, gates, u)
        inputs, hidden = ([torch.stack([b.slope, b.offset]) for b in blocks] for blocks in (self._ih, self._hh))
        (self._x, x0), (self._h, h0) = (torch.stack(b).amax((0, 2)).tolist() for b in (inputs, hidden))
        self._offset = x0 + h0
        self._room = Room()

    def gates(self, u: Number, h: Number) -> tuple[Number, ...]:
        self._room.restart()
        out = super().gates(u, h)
        assert isinstance(out[0], Product)
        (x, _), (rows, _) = out[0].terms
        self.most = (x.norm * self._x).add_(rows.norm, alpha=self._h).add_(self._offset).view(x.shape)
        return out

    def sigmoid(self, s: Number) -> Number:
        assert isinstance(s, Product)
        v = s.sum().sigmoid_()
        return Floor(v, self.u, self._room, lambda: sigmoid_slope(v).mul_(self._shared(s)))

    def tanh(self, s: Number) -> Number:
        if isinstance(s, Product):
            v = _tanh_(s.sum())
            return Floor(v, self.u, self._room, lambda: self._shared(s).mul_(self._slope(v)))
        w = torch.mul(s.v, 2, out=self._room.like(s.v)).sigmoid_().mul_(2).sub_(1)
        return Floor(w, self.u, self._room, lambda: s.e.mul_(self._slope(w)))

    def blank(self, v: Tensor) -> Tensor:
        return self._room.like(v)

    def _shared(self, s: Product) -> Tensor:
        rows, block = s.terms[0]
        room = self._room.of((len(rows.v), len(block.w)), self.dtype)
        return self.allowance(s.terms, room).view(*rows.shape, -1)

    def _slope(self, v: Tensor) -> Tensor:
        return tanh_slope(v, self._room.like(v))

    def carry(self, f: Number, c: Number, v: Number) -> Number:
        return Floor(Scan(f.v)(c.v, v.v), self.u, self._room, lambda: v.e)


def _tanh_(s: Tensor) -> Tensor:
    return s.mul_(2).sigmoid_().mul_(2).sub_(1)
