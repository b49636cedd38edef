"""The simple gated unit and the deep one (Gao & Glowacka 2016, arXiv 1604.02910)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def sgu(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    g  = tanh(W_hg ((W_ig x + b_ig) ⊙ h) + b_hg)
    z  = hard_sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    h' = (1 − z) ⊙ h + z ⊙ softplus(g ⊙ h)
    """
    x_g, x_z = a.split(wx)
    _, h_z = a.split(a.hidden(h))
    h_g, _ = a.split(a.hidden(x_g * h))
    g, z = a.tanh(h_g), a.hard_sigmoid(x_z + h_z)
    return {"g": g, "z": z, "h": a.lerp(h, a.softplus(g * h), z)}


def dsgu(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    g  = tanh(W_hg ((W_ig x + b_ig) ⊙ h) + b_hg)
    z  = hard_sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    o  = σ(W_ho (g ⊙ h))
    h' = (1 − z) ⊙ h + z ⊙ o
    """
    x_g, x_z, _ = a.split(wx)
    _, h_z, _ = a.split(a.hidden(h))
    h_g, _, _ = a.split(a.hidden(x_g * h))
    g, z = a.tanh(h_g), a.hard_sigmoid(x_z + h_z)
    _, _, h_o = a.split(a.hidden(g * h))
    o = a.sigmoid(h_o)
    return {"g": g, "z": z, "o": o, "h": a.lerp(h, o, z)}


SGU = Cell(
    name="sgu",
    torch_name="",
    gates=("g", "z"),
    states=("h",),
    quantities=("g", "z", "h"),
    functions=("tanh", "softplus", "hard_sigmoid"),
    step=sgu,
    mixes=True,
)
DSGU = replace(
    SGU,
    name="dsgu",
    gates=("g", "z", "o"),
    quantities=("g", "z", "o", "h"),
    functions=("sigmoid", "tanh", "hard_sigmoid"),
    step=dsgu,
)


def dsgu_weights(theirs: Weights) -> Weights:
    own = {name: placed(theirs[name], 2, (0, 1, None)) for name in ("weight_ih", "bias_ih", "bias_hh")}
    return own | {"weight_hh": torch.cat([theirs["weight_hh"], theirs["weight_ho"]])}


def loop(is_deep: bool, wrong: bool) -> Step:
    """The mistake: the product with h comes after W_hg."""

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        (x_g, x_z, *_), size = (x_t @ weight_ih.T + bias_ih).split(h.shape[-1], -1), h.shape[-1]
        (w_g, w_z, *w_o), (b_g, b_z, *b_o) = weight_hh.split(size), bias_hh.split(size)
        g = torch.tanh((x_g * (h @ w_g.T) if wrong else (x_g * h) @ w_g.T) + b_g)
        z = (x_z + h @ w_z.T + b_z + 3).clamp(0, 6) / 6
        new = torch.sigmoid((g * h) @ w_o[0].T + b_o[0]) if is_deep else torch.log1p(torch.exp(g * h))
        return (1 - z) * h + z * new

    return step
