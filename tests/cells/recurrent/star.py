"""The stackable recurrent cell STAR (Turkoglu, D'Aronco, Wegner & Schindler 2021, arXiv 1911.11033)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def star(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = tanh(W_in x + b_in)
    k  = σ(W_ik x + b_ik + W_hk h + b_hk)
    h' = tanh((1 − k) ⊙ h + k ⊙ n)
    """
    x_n, x_k = a.split(wx)
    _, h_k = a.split(a.hidden(h))
    n, k = a.tanh(x_n), a.sigmoid(x_k + h_k)
    return {"n": n, "k": k, "h": a.tanh(a.lerp(h, n, k))}


CELL = Cell("star", "", ("n", "k"), ("h",), ("n", "k", "h"), ("sigmoid", "tanh"), star)


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        (x_n, x_k), size = (x_t @ weight_ih.T + bias_ih).chunk(2, -1), h.shape[-1]
        k = torch.sigmoid(x_k + h @ weight_hh[size:].T + bias_hh[size:])
        mixed = (1 - k) * h + k * torch.tanh(x_n)
        return mixed if wrong else torch.tanh(mixed)

    return step
