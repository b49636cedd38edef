"""The smallest shift of a gate's pre-activation that a look would have seen: bound / |∂h/∂s|."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.judging.look import Layer, Look

NEAR, FAR = 2.0**-7, 2.0**-3
"""The shifts that are tried. Downwards: a relu that is shut would open, but its bound is that of a shut one."""


class _Known:
    """Plain numbers whose recurrent product is known, and which stop at the hidden units."""

    sigmoid, tanh = staticmethod(torch.sigmoid), staticmethod(torch.tanh)

    def __init__(self, product: Tensor, gates: int, nonlinearity: str) -> None:
        self._product, self._gates = product, gates
        self.phi = torch.relu if nonlinearity == "relu" else torch.tanh

    def hidden(self, _h: Tensor) -> Tensor:
        return self._product

    def split(self, packed: Tensor) -> tuple[Tensor, ...]:
        return packed.chunk(self._gates, -1)

    def gates(self, u: Tensor, _h: Tensor) -> tuple[Tensor, ...]:
        return self.split(u + self._product)

    def carry(self, f: Tensor, c: Tensor, v: Tensor) -> Tensor:
        return f * c + v

    def project(self, m: Tensor) -> Tensor:
        return m


def resolution(layer: Layer, look: Look, rows: int) -> Tensor:
    """(gates, units), the best of some rows, in each of which one gate after the other is shifted; infinite where
    even a shift of `FAR` would not have been seen."""
    chunk, p = look.chunk, layer.weights
    valid = torch.ones(chunk.x.shape[:2], dtype=torch.bool) if chunk.valid is None else chunk.valid
    places = valid.nonzero()
    if not len(places):
        return torch.full((layer.gates, layer.units), torch.inf)
    n, b = places[torch.linspace(0, len(places) - 1, min(rows, len(places))).long()].unbind(1)
    h = chunk.before[n, b].to(layer.dtype)
    a = _Known(linear(h, p.weight_hh, p.bias_hh), layer.gates, layer.nonlinearity)
    u = linear(chunk.x[n, b].to(layer.dtype), p.weight_ih, p.bias_ih)
    state: tuple[Any, ...] = (h,)
    if look.c is not None:
        c = look.q["c"].v
        state = (*state, torch.cat([look.c.v[None].to(c.dtype), c[:-1]])[n, b].to(layer.dtype))
    bound = look.bound[n, b].to(layer.dtype)

    def seen(shift: float) -> Tensor:
        """The shift that would have moved h by its bound, if h moves on as it does up to `shift`."""
        shifts = torch.zeros(layer.gates + 1, 1, layer.gates, layer.units, dtype=layer.dtype)
        shifts[:-1, 0].diagonal().fill_(-shift)
        m = layer.cell.step(a, u + shifts.flatten(2), *state)["h"]
        moved = (m[:-1] - m[-1]).abs_()
        parts = moved / bound if p.weight_hr is None else moved * (p.weight_hr.abs() / bound.unsqueeze(-1)).amax(1)
        best: Tensor = parts.amax(1).reciprocal_().mul_(shift)
        return best

    near = seen(NEAR)
    if not bool((near > 2 * NEAR).any()):
        return near
    far = seen(FAR)  # a gate that is nearly shut does not go on as it begins
    return torch.where(near > 2 * NEAR, far.masked_fill_(~(far <= FAR), torch.inf), near)
