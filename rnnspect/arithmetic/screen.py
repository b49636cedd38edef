"""A floor under the bound, cheap enough to clear a whole chunk: what lies within it needs no closer look.

Worth it where a cell has gates, and its bound costs more than its values. Every number here carries no more than
the `Bounded` one would: what costs passes over memory is left out, what nobody asks for is not computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnspect.arithmetic.bounded import Bounded, Difference, Number, Product, Scaled, tanh_slope
from rnnspect.arithmetic.products import squashed
from rnnspect.arithmetic.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.arithmetic.products import Block, Rows
    from rnnspect.arithmetic.roundoff import Roundoff
    from rnnspect.network.parameters import LayerParameters


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

    leads = True

    def __init__(self, v: Tensor, a: Screen, least: Callable[[], Tensor]) -> None:
        self.v, self.u, self.rows, self._a, self._least = v, a.u, None, a, least

    @property
    def e(self) -> Tensor:  # type: ignore[override]
        return self._least()

    def __mul__(self, other: Number) -> Number:
        """The first factor is a gate, 0 ≤ p, and its own error is left out."""
        if isinstance(other, Difference):
            return Scaled(self, other)
        q = other.sum() if isinstance(other, Product) else other.v
        v = torch.mul(self.v, q, out=self._a.blank(q))
        return Floor(v, self._a, lambda: other.e.mul_(self.v))

    def __add__(self, other: Number) -> Number:
        """Of p + q, and of q + z ⊙ (p − q), the error of what is not a gate's."""
        if isinstance(other, Product):
            return Floor(other.sum().add_(self.v), self._a, lambda: other.room)
        assert isinstance(other, Scaled)
        z, p = other.z.v, other.of.p.v
        v = torch.addcmul(self.v, z, torch.sub(p, self.v, out=self._a.blank(p)), out=self._a.blank(p))

        def least() -> Tensor:
            e = self.e
            return e.addcmul_(e, z, value=-1)

        return Floor(v, self._a, least)


class Screen(Bounded):
    """`most` is, after a look, the largest allowance of a pre-activation in each row. A look lasts until the next."""

    most: Tensor

    def __init__(self, p: LayerParameters, gates: int, u: Roundoff) -> None:
        super().__init__(p, gates, u)
        inputs, hidden = ([torch.stack([b.slope, b.offset]) for b in blocks] for blocks in (self._ih, self._hh))
        (self._x, x0), (self._h, h0) = (torch.stack(b).amax((0, 2)).tolist() for b in (inputs, hidden))
        self._offset = x0 + h0
        self._room = Room()
        self._shares: dict[tuple[Block, ...], Tensor] = {}

    def allowance(self, terms: tuple[tuple[Rows, Block], ...]) -> Tensor:
        """What the longest rows would be allowed without their biases, and of that each unit's share: one pass."""
        blocks = tuple(block for _, block in terms)
        if blocks not in self._shares:
            shares = [block.slope / block.slope.amax().clamp_(min=self.u.tiny) for block in blocks]
            self._shares[blocks] = torch.stack(shares).amin(0)
        least = torch.full_like(terms[0][0].norm, len(terms) * self.u.tiny)
        for rows, block in terms:
            least.addcmul_(rows.norm, block.slope.amax())
        share = self._shares[blocks]
        return torch.mul(least.unsqueeze(1), share, out=self._room.of((len(least), len(share)), self.dtype))

    def input(self, x: Tensor, error: Tensor | None = None) -> Number:
        self._room.restart()
        packed = super().input(x, error)
        self._rows = self.split(packed)[0].terms[0][0]  # type: ignore[attr-defined]
        return packed

    def hidden(self, h: Number) -> Number:
        packed = super().hidden(h)
        assert h.rows is not None
        x = self._rows
        self.most = (x.norm * self._x).add_(h.rows.norm, alpha=self._h).add_(self._offset).view(x.shape)
        return packed

    def sigmoid(self, s: Number) -> Number:
        """A gate's own error is never asked for."""
        assert isinstance(s, Product)
        return Floor(s.sum("sigmoid"), self, lambda: s.room)

    def tanh(self, s: Number) -> Number:
        if isinstance(s, Product):
            v = s.sum("tanh")
            return Floor(v, self, lambda: self._slope(v).mul_(s.room))
        w = squashed(s.v, "tanh", self.blank(s.v))
        return Floor(w, self, lambda: self._slope(w).mul_(s.e))

    def blank(self, v: Tensor) -> Tensor:
        return self._room.like(v)

    def _slope(self, v: Tensor) -> Tensor:
        return tanh_slope(v, self.blank(v))

    def carry(self, f: Number, c: Number, v: Number) -> Number:
        return Floor(Scan(f.v)(c.v, v.v), self, lambda: v.e)
