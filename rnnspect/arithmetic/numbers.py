"""Numbers, one step: tensors (B, units) in the spec's dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.parameters import LayerParameters

_NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


class Numbers:
    """The plain meaning: W v is a matrix product, every operation rounds in the tensors' own dtype."""

    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)

    def __init__(self, parameters: LayerParameters, gates: int, nonlinearity: str = "tanh") -> None:
        self._p = parameters
        self._gates = gates
        self.phi = _NONLINEARITIES[nonlinearity]

    def input(self, x: Tensor) -> Tensor:
        """u = W_ih x + b_ih, packed, for any number of steps at once: (…, I) → (…, G·H)."""
        return linear(x, self._p.weight_ih, self._p.bias_ih)

    def hidden(self, h: Tensor) -> Tensor:
        return linear(h, self._p.weight_hh, self._p.bias_hh)

    def split(self, packed: Tensor) -> tuple[Tensor, ...]:
        return packed.chunk(self._gates, -1)

    def gates(self, u: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return self.split(u + self.hidden(h))

    def carry(self, f: Tensor, c: Tensor, v: Tensor) -> Tensor:
        return f * c + v

    def project(self, m: Tensor) -> Tensor:
        return m if self._p.weight_hr is None else linear(m, self._p.weight_hr)
