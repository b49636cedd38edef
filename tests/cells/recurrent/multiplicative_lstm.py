"""The multiplicative LSTM (Krause, Lu, Murray & Renals 2016, arXiv 1609.07959): a recurrent matrix for each input. The
block of m in weight_hh multiplies h, the others multiply m."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights


def multiplicative_lstm(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    m  = (W_im x + b_im) ⊙ (W_hm h + b_hm)
    i  = σ(W_ii x + b_ii + W_hi m + b_hi)
    f  = σ(W_if x + b_if + W_hf m + b_hf)
    g  = tanh(W_ig x + b_ig + W_hg m + b_hg)
    o  = σ(W_io x + b_io + W_ho m + b_ho)
    c' = f ⊙ c + i ⊙ g
    h' = o ⊙ tanh(c')
    """
    x_m, x_i, x_f, x_g, x_o = a.split(wx)
    h_m, *_ = a.split(a.hidden(h))
    m = x_m * h_m
    _, m_i, m_f, m_g, m_o = a.split(a.hidden(m))
    i, f, o = a.sigmoid(x_i + m_i), a.sigmoid(x_f + m_f), a.sigmoid(x_o + m_o)
    g = a.tanh(x_g + m_g)
    c = a.carry(f, c, i * g)
    return {"m": m, "i": i, "f": f, "g": g, "o": o, "c": c, "h": o * a.tanh(c)}


CELL = Cell(
    name="multiplicative_lstm",
    torch_name="",
    gates=("m", "i", "f", "g", "o"),
    states=("h", "c"),
    quantities=("m", "i", "f", "g", "o", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=multiplicative_lstm,
    mixes=True,
)


def weights(theirs: Weights) -> Weights:
    recurrent = {f"{kind}_hh": torch.cat([theirs[f"{kind}_hh"], theirs[f"{kind}_mh"]]) for kind in ("weight", "bias")}
    return {name: theirs[name] for name in ("weight_ih", "bias_ih")} | recurrent


def loop(wrong: bool) -> Step:
    """The mistake: the input and the forget gate exchanged."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, c), size = state, weight_hh.shape[1]
        of_m, of_x = (x_t @ weight_ih.T + bias_ih).split([size, 4 * size], -1)
        m = of_m * (h @ weight_hh[:size].T + bias_hh[:size])
        i, f, g, o = (of_x + m @ weight_hh[size:].T + bias_hh[size:]).chunk(4, -1)
        i, f = (f, i) if wrong else (i, f)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return step
