"""The minimal RNN (Chen 2017, arXiv 1711.06788): U_z, which multiplies n, is the block of n in weight_hh."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights


def minimalrnn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = tanh(W_in x + b_in)
    u  = σ(W_hu h + b_hu + W_hn n)
    h' = u ⊙ h + (1 − u) ⊙ n
    """
    x_n, _ = a.split(wx)
    _, h_u = a.split(a.hidden(h))
    n = a.tanh(x_n)
    n_u, _ = a.split(a.hidden(n))
    u = a.sigmoid(h_u + n_u)
    return {"n": n, "u": u, "h": a.lerp(n, h, u)}


CELL = Cell("minimalrnn", "", ("n", "u"), ("h",), ("n", "u", "h"), ("sigmoid", "tanh"), minimalrnn, mixes=True)


def weights(theirs: Weights) -> Weights:
    w_ih, b_ih, b_hh = theirs["weight_ih"], theirs["bias_ih"], theirs["bias_hh"]
    return {
        "weight_ih": torch.cat([w_ih, torch.zeros_like(w_ih)]),
        "weight_hh": torch.cat([theirs["weight_mm"], theirs["weight_hh"]]),
        "bias_ih": torch.cat([b_ih, torch.zeros_like(b_ih)]),
        "bias_hh": torch.cat([torch.zeros_like(b_hh), b_hh]),
    }


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        size = h.shape[-1]
        n = torch.tanh(x_t @ weight_ih[:size].T + bias_ih[:size])
        (of_n, of_h), b = weight_hh.split(size), bias_hh[:size] + bias_hh[size:]
        u = torch.sigmoid((n @ of_h.T + h @ of_n.T if wrong else n @ of_n.T + h @ of_h.T) + b)
        return u * h + (1 - u) * n

    return step
