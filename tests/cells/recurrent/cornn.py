"""The coupled oscillatory RNN (Rusch & Mishra 2021, arXiv 2010.00951): c is the velocity of h. The block of k in
weight_hh multiplies c."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed

DT, GAMMA, EPSILON = 0.125, 2.0, 0.75


def cornn(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    n  = tanh(W_in x + b_in + W_hn h + b_hn + W_hk c + b_hk)
    c' = c + Δt (n − γ h − ε c)
    h' = h + Δt c'
    """
    x_n, _ = a.split(wx)
    h_n, _ = a.split(a.hidden(h))
    _, k = a.split(a.hidden(c))
    n = a.tanh(x_n + h_n + k)
    c = c + a.constant("dt") * (n - a.constant("gamma") * h - a.constant("epsilon") * c)
    return {"n": n, "k": k, "c": c, "h": h + a.constant("dt") * c}


CELL = Cell(
    name="cornn",
    torch_name="",
    gates=("n", "k"),
    states=("h", "c"),
    quantities=("n", "k", "c", "h"),
    functions=("tanh",),
    step=cornn,
    constants=(("dt", DT), ("gamma", GAMMA), ("epsilon", EPSILON)),
    mixes=True,
)


def weights(theirs: Weights) -> Weights:
    own = {f"{kind}_ih": placed(theirs[f"{kind}_ih"], 1, (0, None)) for kind in ("weight", "bias")}
    return own | {f"{kind}_hh": torch.cat([theirs[f"{kind}_hh"], theirs[f"{kind}_ch"]]) for kind in ("weight", "bias")}


def loop(wrong: bool) -> Step:
    """The mistake: h moves on by the velocity of the step before."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (y, z), size = state, weight_hh.shape[1]
        s = x_t @ weight_ih[:size].T + bias_ih[:size] + y @ weight_hh[:size].T + bias_hh[:size]
        force = torch.tanh(s + z @ weight_hh[size:].T + bias_hh[size:])
        new = z + DT * force - DT * GAMMA * y - DT * EPSILON * z
        return y + DT * (z if wrong else new), new

    return step
