"""The addition-subtraction twin-gated recurrent network (Zhang, Xiong, Su, Lin & Zhang 2018, arXiv 1810.12546): both
gates are made of the same two products."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def atr(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    p  = W_ih x + b_ih
    q  = W_hh h + b_hh
    i  = σ(p + q)
    f  = σ(p − q)
    h' = i ⊙ p + f ⊙ h
    """
    (p,) = a.split(wx)
    (q,) = a.split(a.hidden(h))
    i, f = a.sigmoid(p + q), a.sigmoid(p - q)
    return {"p": p, "i": i, "f": f, "h": i * p + f * h}


CELL = Cell("atr", "", ("p",), ("h",), ("p", "i", "f", "h"), ("sigmoid",), atr)


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        p, q = x_t @ weight_ih.T + bias_ih, h @ weight_hh.T + bias_hh
        i, f = torch.sigmoid(p + q), torch.sigmoid(q - p if wrong else p - q)
        return i * p + f * h

    return step
