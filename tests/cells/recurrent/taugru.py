"""The τ-GRU with a delay of one step more (Erichson, Lim & Mahoney 2022, arXiv 2212.00228): c is the h before last."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def taugru(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    u  = tanh(W_iu x + b_iu + W_hu h + b_hu)
    z  = tanh(W_iz x + b_iz + W_hz c + b_hz)
    g  = σ(W_ig x + b_ig + W_hg h + b_hg)
    a  = σ(W_ia x + b_ia + W_ha h + b_ha)
    c' = h
    h' = (1 − g) ⊙ h + g ⊙ (u + a ⊙ z)
    """
    x_u, x_z, x_g, x_a = a.split(wx)
    h_u, _, h_g, h_a = a.split(a.hidden(h))
    _, c_z, _, _ = a.split(a.hidden(c))
    u, z = a.tanh(x_u + h_u), a.tanh(x_z + c_z)
    g, share = a.sigmoid(x_g + h_g), a.sigmoid(x_a + h_a)
    return {"u": u, "z": z, "g": g, "a": share, "c": h, "h": a.lerp(h, u + share * z, g)}


CELL = Cell(
    name="taugru",
    torch_name="",
    gates=("u", "z", "g", "a"),
    states=("h", "c"),
    quantities=("u", "z", "g", "a", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=taugru,
    mixes=True,
)


def loop(wrong: bool) -> Step:
    """The mistake: no delay."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, before), (w_u, w_z, w_g, w_a), (b_u, b_z, b_g, b_a) = state, weight_hh.chunk(4), bias_hh.chunk(4)
        u, z, g, a = (x_t @ weight_ih.T + bias_ih).chunk(4, -1)
        u, z = torch.tanh(u + h @ w_u.T + b_u), torch.tanh(z + (h if wrong else before) @ w_z.T + b_z)
        g, a = torch.sigmoid(g + h @ w_g.T + b_g), torch.sigmoid(a + h @ w_a.T + b_a)
        return (1 - g) * h + g * (u + a * z), h

    return step
