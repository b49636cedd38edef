"""The undamped independent controlled oscillatory RNN (Rusch & Mishra 2021, arXiv 2103.05487): c is the velocity of h.
Units see each other through x alone."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights

DT, ALPHA = 0.125, 0.75


def unicornn(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    n  = tanh(W_ih x + b_ih + w ⊙ h)
    c' = c − Δt σ(s) ⊙ (n + α h)
    h' = h + Δt σ(s) ⊙ c'
    """
    (x_n,) = a.split(wx)
    n = a.tanh(x_n + a.parameter("w") * h)
    dt = a.constant("dt") * a.sigmoid(a.parameter("s"))
    c = c - dt * (n + a.constant("alpha") * h)
    return {"n": n, "c": c, "h": h + dt * c}


CELL = Cell(
    name="unicornn",
    torch_name="",
    gates=("n",),
    states=("h", "c"),
    quantities=("n", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=unicornn,
    constants=(("dt", DT), ("alpha", ALPHA)),
    parameters=(("w", ("hidden_size",)), ("s", ("hidden_size",))),
    is_recurrent=False,
)


def weights(theirs: Weights) -> Weights:
    own = {"weight_ih": theirs["weight_ih"], "bias_ih": theirs["bias_ih"] + theirs["bias_hh"]}
    return own | {"w": theirs["weight_hh"], "s": theirs["weight_ch"]}


def loop(wrong: bool) -> Step:
    """The mistake: h moves on by the velocity of the step before."""

    def step(
        x_t: Tensor, state: tuple[Tensor, Tensor], weight_ih: Tensor, bias_ih: Tensor, w: Tensor, s: Tensor
    ) -> tuple[Tensor, Tensor]:
        (y, v), scale = state, DT * torch.sigmoid(s)
        new = v - scale * (torch.tanh(x_t @ weight_ih.T + bias_ih + w * y) + ALPHA * y)
        return y + scale * (v if wrong else new), new

    return step
