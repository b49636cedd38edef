"""The LSTM with working memory connections (Landi, Baraldi, Cornia & Cucchiara 2021, arXiv 2109.00020): gates see the
cell state through matrices and tanh, the blocks of u, v and w in weight_hh."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def wmclstm(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    u  = W_hu c + b_hu
    v  = W_hv c + b_hv
    i  = σ(W_ii x + b_ii + W_hi h + b_hi + tanh(u))
    f  = σ(W_if x + b_if + W_hf h + b_hf + tanh(v))
    g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
    c' = f ⊙ c + i ⊙ g
    w  = W_hw c' + b_hw
    o  = σ(W_io x + b_io + W_ho h + b_ho + tanh(w))
    h' = o ⊙ tanh(c')
    """
    x_i, x_f, x_g, x_o, *_ = a.split(wx)
    h_i, h_f, h_g, h_o, *_ = a.split(a.hidden(h))
    *_, u, v, _ = a.split(a.hidden(c))
    i, f, g = a.sigmoid(x_i + h_i + a.tanh(u)), a.sigmoid(x_f + h_f + a.tanh(v)), a.tanh(x_g + h_g)
    c = f * c + i * g
    *_, w = a.split(a.hidden(c))
    o = a.sigmoid(x_o + h_o + a.tanh(w))
    return {"i": i, "f": f, "g": g, "o": o, "u": u, "v": v, "w": w, "c": c, "h": o * a.tanh(c)}


GATES = ("i", "f", "g", "o", "u", "v", "w")
CELL = Cell(
    name="wmclstm",
    torch_name="",
    gates=GATES,
    states=("h", "c"),
    quantities=(*GATES, "c", "h"),
    functions=("sigmoid", "tanh"),
    step=wmclstm,
    mixes=True,
)


def weights(theirs: Weights) -> Weights:
    places = (0, 1, 2, 3, None, None, None)
    own = {f"{kind}_ih": placed(theirs[f"{kind}_ih"], 4, places) for kind in ("weight", "bias")}
    return own | {f"{kind}_hh": torch.cat([theirs[f"{kind}_hh"], theirs[f"{kind}_mh"]]) for kind in ("weight", "bias")}


def loop(wrong: bool) -> Step:
    """The mistake: the output gate sees the cell state of the step before."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, c), size = state, weight_hh.shape[1]
        gates, memory = (4 * size, 3 * size), weight_hh[4 * size :].chunk(3)
        x, _ = (x_t @ weight_ih.T + bias_ih).split(gates, -1)
        i, f, g, o = (x + h @ weight_hh[: 4 * size].T + bias_hh[: 4 * size]).chunk(4, -1)
        seen = [torch.tanh(c @ w.T + b) for w, b in zip(memory, bias_hh[4 * size :].chunk(3), strict=True)]
        new = torch.sigmoid(f + seen[1]) * c + torch.sigmoid(i + seen[0]) * torch.tanh(g)
        last = seen[2] if wrong else torch.tanh(new @ memory[2].T + bias_hh[6 * size :])
        return torch.sigmoid(o + last) * torch.tanh(new), new

    return step
