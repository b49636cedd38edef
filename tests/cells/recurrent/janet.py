"""JANET, an LSTM with a forget gate alone (van der Westhuizen & Lasenby 2018, arXiv 1804.04849): h is c."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights


def janet(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    s  = W_is x + b_is + W_hs h + b_hs
    n  = tanh(W_in x + b_in + W_hn h + b_hn)
    h' = σ(s) ⊙ h + (1 − σ(s − β)) ⊙ n
    """
    s, s_n = a.gates(wx, h)
    n = a.tanh(s_n)
    f, kept = a.sigmoid(s), a.sigmoid(s - a.parameter("beta"))
    return {"s": s, "n": n, "f": f, "h": f * h + a.rest(kept) * n}


CELL = Cell(
    name="janet",
    torch_name="",
    gates=("s", "n"),
    states=("h",),
    quantities=("s", "n", "f", "h"),
    functions=("sigmoid", "tanh"),
    step=janet,
    parameters=(("beta", ("hidden_size",)),),
)


def weights(theirs: Weights) -> Weights:
    """β is one number."""
    return theirs | {"beta": theirs["beta"].expand(theirs["weight_hh"].shape[1])}


def loop(wrong: bool) -> Step:
    """The mistake: + β."""

    def step(x_t: Tensor, h: Tensor, parameters: Weights) -> Tensor:
        w = {name.removesuffix("_l0"): one for name, one in parameters.items()}
        s, n = (x_t @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]).chunk(2, -1)
        shifted = s + w["beta"] if wrong else s - w["beta"]
        return torch.sigmoid(s) * h + (1 - torch.sigmoid(shifted)) * torch.tanh(n)

    return step
