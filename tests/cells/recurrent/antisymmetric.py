"""The antisymmetric RNN and its gated form (Chang, Chen, Haber & Chi 2019, arXiv 1902.09689). M = V − Vᵀ − γ I has
eigenvalues near the imaginary axis; weight_hh is M."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed

EPSILON, GAMMA = 0.25, 0.125


def antisymmetric(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = tanh(W_ih x + b_ih + M h + b_hh)
    h' = h + ε n
    """
    (s,) = a.gates(wx, h)
    n = a.tanh(s)
    return {"n": n, "h": h + a.constant("epsilon") * n}


def gated_antisymmetric(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    z  = σ(W_iz x + b_iz + M h)
    n  = tanh(W_in x + b_in + M h + b_hn)             both blocks of weight_hh are M
    h' = h + ε z ⊙ n
    """
    s_z, s_n = a.gates(wx, h)
    z, n = a.sigmoid(s_z), a.tanh(s_n)
    return {"z": z, "n": n, "h": h + a.constant("epsilon") * (z * n)}


CELL = Cell(
    "antisymmetric", "", ("n",), ("h",), ("n", "h"), ("tanh",), antisymmetric, constants=(("epsilon", EPSILON),)
)
GATED = Cell(
    name="gated_antisymmetric",
    torch_name="",
    gates=("z", "n"),
    states=("h",),
    quantities=("z", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=gated_antisymmetric,
    constants=(("epsilon", EPSILON),),
)


def weights(theirs: Weights) -> Weights:
    w = theirs["weight_hh"]
    m = w - w.T - GAMMA * torch.eye(len(w), dtype=w.dtype)
    return theirs | {"weight_hh": m}


def gated_weights(theirs: Weights) -> Weights:
    own = weights(theirs)
    return own | {"weight_hh": own["weight_hh"].repeat(2, 1), "bias_hh": placed(own["bias_hh"], 1, (None, 0))}


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        m = weight_hh.T if wrong else weight_hh
        return h + EPSILON * torch.tanh(x_t @ weight_ih.T + bias_ih + h @ m.T + bias_hh)

    return step


def gated_loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        first, second = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        z, n = (second, first) if wrong else (first, second)
        return h + EPSILON * torch.sigmoid(z) * torch.tanh(n)

    return step
