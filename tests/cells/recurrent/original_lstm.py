"""The LSTM of 1997, without a forget gate (Hochreiter & Schmidhuber 1997, Neural Computation 9(8)), with tanh in place
of the paper's scaled logistic functions 2 tanh(s / 2) and tanh(c / 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def original_lstm(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    i  = σ(W_ii x + b_ii + W_hi h + b_hi)
    g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
    o  = σ(W_io x + b_io + W_ho h + b_ho)
    c' = c + i ⊙ g
    h' = o ⊙ tanh(c')
    """
    s_i, s_g, s_o = a.gates(wx, h)
    i, g, o = a.sigmoid(s_i), a.tanh(s_g), a.sigmoid(s_o)
    c = c + i * g
    return {"i": i, "g": g, "o": o, "c": c, "h": o * a.tanh(c)}


CELL = Cell(
    name="original_lstm",
    torch_name="",
    gates=("i", "g", "o"),
    states=("h", "c"),
    quantities=("i", "g", "o", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=original_lstm,
)


def loop(wrong: bool) -> Step:
    """The mistake: a forget gate, coupled to the input gate."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        h, c = state
        i, g, o = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(3, -1)
        i = torch.sigmoid(i)
        c = ((1 - i) * c if wrong else c) + i * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return step
