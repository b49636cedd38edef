"""The light recurrent unit (Ye, Zhang, Lu, Wang, Zhang & Xu 2024, Electronics 13(16) 3204)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def lightru(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = tanh(W_in x + b_in)
    f  = σ(W_if x + b_if + W_hf h + b_hf)
    h' = (1 − f) ⊙ h + f ⊙ n
    """
    x_n, x_f = a.split(wx)
    _, h_f = a.split(a.hidden(h))
    n, f = a.tanh(x_n), a.sigmoid(x_f + h_f)
    return {"n": n, "f": f, "h": a.lerp(h, n, f)}


CELL = Cell("lightru", "", ("n", "f"), ("h",), ("n", "f", "h"), ("sigmoid", "tanh"), lightru)


def weights(theirs: Weights) -> Weights:
    """W_hh is that of the gate alone."""
    return theirs | {name: placed(theirs[name], 1, (None, 0)) for name in ("weight_hh", "bias_hh")}


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        (x_n, x_f), size = (x_t @ weight_ih.T + bias_ih).chunk(2, -1), h.shape[-1]
        f = torch.sigmoid(x_f + h @ weight_hh[size:].T + bias_hh[size:])
        old, new = (f, 1 - f) if wrong else (1 - f, f)
        return old * h + new * torch.tanh(x_n)

    return step
