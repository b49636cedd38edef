"""The structurally constrained recurrent network (Mikolov, Joulin, Chopra, Mathieu & Ranzato 2014, arXiv 1412.7753), as
torchrecurrent has it: what comes back is the output y, here h, where the paper's hidden layer m comes back. The blocks
of weight_hh: none of s; R of m; U of y; P, which takes c to m; V, which takes c to y."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def scrn(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    s  = W_is x + b_is
    c' = (1 − α) s + α c
    m  = σ(W_im x + b_im + R h + b_R + P c' + b_P)
    h' = tanh(U m + b_U + V c' + b_V)
    """
    s, x_m, *_ = a.split(wx)
    _, r, *_ = a.split(a.hidden(h))
    c = a.lerp(s, c, a.parameter("alpha"))
    _, _, _, p, v = a.split(a.hidden(c))
    m = a.sigmoid(x_m + r + p)
    _, _, u, _, _ = a.split(a.hidden(m))
    return {"s": s, "m": m, "u": u, "p": p, "v": v, "c": c, "h": a.tanh(u + v)}


CELL = Cell(
    name="scrn",
    torch_name="",
    gates=("s", "m", "u", "p", "v"),
    states=("h", "c"),
    quantities=("s", "m", "u", "p", "v", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=scrn,
    parameters=(("alpha", ("hidden_size",)),),
    mixes=True,
)


def weights(theirs: Weights) -> Weights:
    own = {"alpha": theirs["alpha"].expand(theirs["weight_hh"].shape[1])}
    for kind in ("weight", "bias"):
        (r, u), (p, v) = theirs[f"{kind}_hh"].chunk(2), theirs[f"{kind}_ch"].chunk(2)
        own |= {f"{kind}_ih": placed(theirs[f"{kind}_ih"], 2, (0, 1, None, None, None))}
        own |= {f"{kind}_hh": torch.cat([torch.zeros_like(r), r, u, p, v])}
    return own


def loop(wrong: bool) -> Step:
    """The mistake: the context of the step before goes into m."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        alpha: Tensor,
    ) -> tuple[Tensor, Tensor]:
        h, c = state
        (_, r, u, p, v), (_, b_r, b_u, b_p, b_v) = weight_hh.chunk(5), bias_hh.chunk(5)
        s, x_m, *_ = (x_t @ weight_ih.T + bias_ih).chunk(5, -1)
        new = (1 - alpha) * s + alpha * c
        m = torch.sigmoid(x_m + h @ r.T + b_r + (c if wrong else new) @ p.T + b_p)
        return torch.tanh(m @ u.T + b_u + new @ v.T + b_v), new

    return step
