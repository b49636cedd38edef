"""The update gate RNN (Collins, Sohl-Dickstein & Sussillo 2017, arXiv 1611.09913)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def ugrnn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = tanh(W_in x + b_in + W_hn h + b_hn)
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    h' = z ⊙ h + (1 − z) ⊙ n
    """
    s_n, s_z = a.gates(wx, h)
    n, z = a.tanh(s_n), a.sigmoid(s_z)
    return {"n": n, "z": z, "h": a.lerp(n, h, z)}


CELL = Cell("ugrnn", "", ("n", "z"), ("h",), ("n", "z", "h"), ("sigmoid", "tanh"), ugrnn)


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        first, second = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        n, z = (second, first) if wrong else (first, second)
        return torch.sigmoid(z) * h + (1 - torch.sigmoid(z)) * torch.tanh(n)

    return step
