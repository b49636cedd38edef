"""The simple gated recurrent network (Lu, Zhang, Zhang & Wang 2021, IET Generation, Transmission & Distribution, doi
10.1049/gtd2.12056)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def sgrn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    p  = W_ih x + b_ih
    f  = σ(p + W_hh h + b_hh)
    h' = tanh((1 − f) ⊙ p + f ⊙ h)
    """
    (p,) = a.split(wx)
    (q,) = a.split(a.hidden(h))
    f = a.sigmoid(p + q)
    return {"p": p, "f": f, "h": a.tanh(a.lerp(p, h, f))}


CELL = Cell("sgrn", "", ("p",), ("h",), ("p", "f", "h"), ("sigmoid", "tanh"), sgrn)


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        p = x_t @ weight_ih.T + bias_ih
        f = torch.sigmoid(p + h @ weight_hh.T + bias_hh)
        old, new = (1 - f, f) if wrong else (f, 1 - f)
        return torch.tanh(new * p + old * h)

    return step
