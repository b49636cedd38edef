"""The light GRU (Ravanelli, Brakel, Omologo & Bengio 2018, arXiv 1803.10225): a GRU without r, with relu. Of the
paper's layer this leaves out the batch normalisation of W_ih x."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def ligru(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    n  = relu(W_in x + b_in + W_hn h + b_hn)
    h' = z ⊙ h + (1 − z) ⊙ n
    """
    s_z, s_n = a.gates(wx, h)
    z, n = a.sigmoid(s_z), a.relu(s_n)
    return {"z": z, "n": n, "h": a.lerp(n, h, z)}


CELL = Cell("ligru", "", ("z", "n"), ("h",), ("z", "n", "h"), ("sigmoid", "relu"), ligru)


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        z, n = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        z, n = torch.sigmoid(z), torch.tanh(n) if wrong else torch.relu(n)
        return z * h + (1 - z) * n

    return step
