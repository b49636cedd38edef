"""The chaos free network (Laurent & von Brecht 2017, arXiv 1612.06212)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def cfn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    θ  = σ(W_iθ x + b_iθ + W_hθ h + b_hθ)
    η  = σ(W_iη x + b_iη + W_hη h + b_hη)
    n  = tanh(W_in x + b_in)
    h' = θ ⊙ tanh(h) + η ⊙ n
    """
    x_theta, x_eta, x_n = a.split(wx)
    h_theta, h_eta, _ = a.split(a.hidden(h))
    theta, eta = a.sigmoid(x_theta + h_theta), a.sigmoid(x_eta + h_eta)
    n = a.tanh(x_n)
    return {"theta": theta, "eta": eta, "n": n, "h": theta * a.tanh(h) + eta * n}


CELL = Cell(
    name="cfn",
    torch_name="",
    gates=("theta", "eta", "n"),
    states=("h",),
    quantities=("theta", "eta", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=cfn,
)


def weights(theirs: Weights) -> Weights:
    recurrent = {name: placed(theirs[name], 2, (0, 1, None)) for name in ("weight_hh", "bias_hh")}
    return theirs | recurrent


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        x_1, x_2, x_3 = (x_t @ weight_ih.T + bias_ih).chunk(3, -1)
        h_1, h_2, _ = (h @ weight_hh.T + bias_hh).chunk(3, -1)
        kept = h if wrong else torch.tanh(h)
        return torch.sigmoid(x_1 + h_1) * kept + torch.sigmoid(x_2 + h_2) * torch.tanh(x_3)

    return step
