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


class Floor(Number):
    """A value, and part of its bound when asked."""

    def __init__(self, v: Tensor, u: Roundoff, least: Callable[[], Tensor]) -> None:
        self.v, self.u, self.rows, self._least = v, u, None, least

    @property
    def e(self) -> Tensor:  # type: ignore[override]
        return self._least()

    def __mul__(self, other: Number) -> Number:
        """The first factor is a gate, 0 ≤ p, and its own error is left out."""
        q = other.settle()
        return Floor(self.v * q.v, self.u, lambda: q.e.mul_(self.v))


class Screen(Bounded):
    """`most` is, after a look, the largest allowance of a pre-activation in each row."""

    most: Tensor

    def __init__(self, p: LayerParameters, gates: int, u: Roundoff) -> None:
        super().__init__(p, gates, u)
        inputs, hidden = ([torch.stack([b.slope, b.offset]) for b in blocks] for blocks in (self._ih, self._hh))
        (self._x, x0), (self._h, h0) = (torch.stack(b).amax((0, 2)).tolist() for b in (inputs, hidden))
        self._offset = x0 + h0
        self._room: Tensor | None = None

    def gates(self, u: Number, h: Number) -> tuple[Number, ...]:
        out = super().gates(u, h)
        assert isinstance(out[0], Product)
        (x, _), (rows, _) = out[0].terms
        self.most = (x.norm * self._x).add_(rows.norm, alpha=self._h).add_(self._offset).view(x.shape)
        return out

    def sigmoid(self, s: Number) -> Number:
        assert isinstance(s, Product)
        v = s.sum().sigmoid_()
        return Floor(v, self.u, lambda: sigmoid_slope(v).mul_(self._shared(s)))

    def tanh(self, s: Number) -> Number:
        if isinstance(s, Product):
            v = _tanh_(s.sum())
            return Floor(v, self.u, lambda: self._shared(s).mul_(self._slope(v)))
        w = _tanh_(s.v.clone())
        return Floor(w, self.u, lambda: s.e.mul_(self._slope(w)))

    def _shared(self, s: Product) -> Tensor:
        return self.allowance(s.terms).view(*s.terms[0][0].shape, -1)

    def _slope(self, v: Tensor) -> Tensor:
        """1 − v², for one use at once: memory that is taken anew costs more than the numbers in it."""
        if self._room is None or self._room.shape != v.shape:
            self._room = torch.empty_like(v)
        return tanh_slope(v, self._room)

    def carry(self, f: Number, c: Number, v: Number) -> Number:
        return Floor(Scan(f.v)(c.v, v.v), self.u, lambda: v.e)


def _tanh_(s: Tensor) -> Tensor:
    return s.mul_(2).sigmoid_().mul_(2).sub_(1)
