"""The memory-controller LSTM (a NIPS 2017 workshop paper of Intel's): gates see v, the control, and h is the output
alone. c is both v and the cell state."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def mclstm(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    """
    f  = σ(W_if x + b_if + W_hf v + b_hf)
    i  = σ(W_ii x + b_ii + W_hi v + b_hi)
    o  = σ(W_io x + b_io + W_ho v + b_ho)
    m  = σ(W_im x + b_im + W_hm v + b_hm)
    g  = tanh(W_ig x + b_ig + W_hg v + b_hg)
    c' = f ⊙ c + i ⊙ g
    v' = m ⊙ tanh(c')
    h' = o ⊙ tanh(c')
    """
    v, c = a.blocks(c)
    s_f, s_i, s_o, s_m, s_g = a.gates(wx, v)
    f, i, o, m, g = a.sigmoid(s_f), a.sigmoid(s_i), a.sigmoid(s_o), a.sigmoid(s_m), a.tanh(s_g)
    c = f * c + i * g
    shown = a.tanh(c)
    return {"f": f, "i": i, "o": o, "m": m, "g": g, "c": a.packed(m * shown, c), "h": o * shown}


CELL = Cell(
    name="mclstm",
    torch_name="",
    gates=("f", "i", "o", "m", "g"),
    states=("h", "c"),
    quantities=("f", "i", "o", "m", "g", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=mclstm,
    cell_state=(("v", ("hidden_size",)), ("c", ("hidden_size",))),
    mixes=True,
)


def loop(wrong: bool) -> Step:
    """The mistake: gates see the output, as in an LSTM."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, packed) = state
        v, c = packed.chunk(2, -1)
        f, i, o, m, g = (x_t @ weight_ih.T + bias_ih + (h if wrong else v) @ weight_hh.T + bias_hh).chunk(5, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), torch.cat([torch.sigmoid(m) * torch.tanh(c), c], -1)

    return step
