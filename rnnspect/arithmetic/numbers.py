"""Numbers, one step: tensors (B, units) in the parameters' own dtype, on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import linear

from rnnspect.arithmetic.activations import plain
from rnnspect.cells.functions import functions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from rnnspect.cells.functions import Nonlinearity
    from rnnspect.network.parameters import LayerParameters

_NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


class Numbers:
    """The plain meaning: W v is a matrix product, every operation rounds in the tensors' dtype."""

    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)
    squash = staticmethod(torch.tanh)
    where = staticmethod(torch.where)

    def __init__(self, parameters: LayerParameters, gates: int, nonlinearity: Nonlinearity) -> None:
        self._p = parameters
        self._gates = gates
        functions = functions_of(nonlinearity)
        if functions.are_usual:
            self.phi = _NONLINEARITIES[functions.phi.name]
        else:
            for name in ("sigmoid", "tanh", "squash", "phi"):
                setattr(self, name, plain(getattr(functions, name), functions.clip_of(name)))
        # A copy that lies as the product reads it: a third faster at each of many small steps.
        self._weight_hh = parameters.weight_hh.t().contiguous()

    def hidden(self, h: Tensor) -> Tensor:
        bias = self._p.bias_hh
        return h @ self._weight_hh if bias is None else torch.addmm(bias, h, self._weight_hh)

    def split(self, packed: Tensor) -> tuple[Tensor, ...]:
        return packed.chunk(self._gates, -1)

    def gates(self, u: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return self.split(u + self.hidden(h))

    def carry(self, f: Tensor, c: Tensor, v: Tensor) -> Tensor:
        return f * c + v

    def rest(self, v: Tensor) -> Tensor:
        return 1 - v

    def peepholes(self) -> tuple[Tensor, ...]:
        assert self._p.weight_ch is not None
        return self._p.weight_ch.reshape(-1, self._p.weight_hh.shape[0] // self._gates).unbind()

    def project(self, m: Tensor) -> Tensor:
        return m if self._p.weight_hr is None else linear(m, self._p.weight_hr)

    def taken(self, values: Tensor) -> Tensor:
        """(…, B, units) as this arithmetic computes with it; iterating gives one step at a time."""
        return values

    def keep(self, steps: Sequence[Tensor], place: Tensor) -> None:
        """Packs one value a step into (steps, B, units)."""
        torch.stack(list(steps), out=place)

    def given(self, value: Tensor) -> Tensor:
        """A value as a tensor."""
        return value.clone()
