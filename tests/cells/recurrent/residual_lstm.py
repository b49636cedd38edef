"""The residual LSTM (Kim, El-Khamy & Lee 2017, arXiv 1701.03360): the blocks of r are the projection W_p of tanh(c') in
weight_hh, and the shortcut W_r of x in weight_ih."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights


def residual_lstm(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    i  = σ(W_ii x + b_ii + W_hi h + b_hi + p_i ⊙ c)
    f  = σ(W_if x + b_if + W_hf h + b_hf + p_f ⊙ c)
    g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
    c' = f ⊙ c + i ⊙ g
    o  = σ(W_io x + b_io + W_ho h + b_ho + p_o ⊙ c')
    r  = W_p tanh(c') + W_r x
    h' = o ⊙ r
    """
    x_i, x_f, x_g, x_o, x_r = a.split(wx)
    h_i, h_f, h_g, h_o, _ = a.split(a.hidden(h))
    i = a.sigmoid(x_i + h_i + a.parameter("p_i") * c)
    f = a.sigmoid(x_f + h_f + a.parameter("p_f") * c)
    g = a.tanh(x_g + h_g)
    c = f * c + i * g
    o = a.sigmoid(x_o + h_o + a.parameter("p_o") * c)
    *_, c_r = a.split(a.hidden(a.tanh(c)))
    r = x_r + c_r
    return {"i": i, "f": f, "g": g, "o": o, "r": r, "c": c, "h": o * r}


CELL = Cell(
    name="residual_lstm",
    torch_name="",
    gates=("i", "f", "g", "o", "r"),
    states=("h", "c"),
    quantities=("i", "f", "g", "o", "r", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=residual_lstm,
    parameters=tuple((name, ("hidden_size",)) for name in ("p_i", "p_f", "p_o")),
    mixes=True,
)


def weights(theirs: Weights) -> Weights:
    w, none = theirs, torch.zeros_like(theirs["bias_ih"][: len(theirs["weight_proj"])])
    own = {"weight_ih": torch.cat([w["weight_ih"], w["weight_res"]])}
    own["weight_hh"] = torch.cat([w["weight_hh"], w["weight_proj"]])
    biases = {name: torch.cat([w[name], none]) for name in ("bias_ih", "bias_hh")}
    return own | biases | dict(zip(("p_i", "p_f", "p_o"), w["weight_ph"].chunk(3), strict=True))


def loop(wrong: bool) -> Step:
    """The mistake: the shortcut comes after the output gate."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        p_i: Tensor,
        p_f: Tensor,
        p_o: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, c), size = state, weight_hh.shape[1]
        (x, x_r), b_r = (x_t @ weight_ih.T + bias_ih).split([4 * size, size], -1), bias_hh[4 * size :]
        i, f, g, o = (x + h @ weight_hh[: 4 * size].T + bias_hh[: 4 * size]).chunk(4, -1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        o, projected = torch.sigmoid(o + p_o * c), torch.tanh(c) @ weight_hh[4 * size :].T + b_r
        return (o * projected + x_r if wrong else o * (projected + x_r)), c

    return step
