"""Plain numbers for all steps of a run at once: each step starts from the h that an engine gave for the step before."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.going_back import BackwardNumbers
from rnnspect.arithmetic.scan import Scan
from rnnspect.cells.functions import Nonlinearity
from rnnspect.cells.interface import Cell
from rnnspect.network.parameters import LayerParameters


class TeacherForced(BackwardNumbers):
    """Values are (steps, batch, units); `h` is that before each step, (steps, batch, P), and `product` W_hh h + b_hh.
    With `units`, only the rows of those hidden units."""

    def __init__(
        self, p: LayerParameters, gates: int, nonlinearity: Nonlinearity, before: Tensor, units: slice = slice(None)
    ) -> None:
        super().__init__(p, gates, nonlinearity)
        self.h, self.product = before[..., units], linear(before, p.weight_hh, p.bias_hh)

    def hidden_product(self, h: Tensor) -> Tensor:
        return self.product if h is self.h else linear(h, self._p.weight_hh, self._p.bias_hh)

    def states_before(self, cell: Cell, wx: Tensor, c0: Tensor, stepwise: bool) -> Tensor:
        """The cell state before each step, (steps, batch, H), from that before the first, (batch, H). `stepwise` is
        whether a gate of a step needs that step's own cell state, so that no step can be computed before it."""
        if not stepwise:
            after = cell.step(_Carrying.of(self), wx, self.h, c0)["c"]
            return torch.cat([c0[None], after.expand(len(wx), *c0.shape)[:-1]])
        found = [c0]
        for t in range(len(wx) - 1):
            one = copy(self)
            one.h, one.product = self.h[t], self.product[t]
            found.append(cell.step(one, wx[t], one.h, found[-1])["c"])
        return torch.stack(found)


class _Carrying(TeacherForced):
    """The same, but the cell state, (batch, H) before the first step, is carried through all steps."""

    @classmethod
    def of(cls, a: TeacherForced) -> _Carrying:
        made = cls.__new__(cls)
        made.__dict__.update(vars(a))
        return made

    def carry(self, f: Tensor, c: Tensor, v: Tensor) -> Tensor:
        like = torch.zeros_like(f + v)  # either may be of parameters alone
        return Scan(f.expand_as(like).contiguous())(c, like + v)
