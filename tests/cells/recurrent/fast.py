"""FastRNN and FastGRNN (Kusupati, Singh, Bhatia, Kumar, Jain & Varma 2018, arXiv 1901.02358). Their scalars α, β, ζ and
ν stand here as vectors of one number, and go through σ as in the paper's own code."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights


def fastrnn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = tanh(W_ih x + b_ih + W_hh h + b_hh)
    h' = σ(α) ⊙ n + σ(β) ⊙ h
    """
    (s,) = a.gates(wx, h)
    n = a.tanh(s)
    return {"n": n, "h": a.sigmoid(a.parameter("alpha")) * n + a.sigmoid(a.parameter("beta")) * h}


def fastgrnn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    s  = W_ih x + W_hh h
    z  = σ(s + b_z)
    n  = tanh(s + b_n)
    h' = (σ(ζ) ⊙ (1 − z) + σ(ν)) ⊙ n + z ⊙ h
    """
    (s,) = a.gates(wx, h)
    z, n = a.sigmoid(s + a.parameter("b_z")), a.tanh(s + a.parameter("b_n"))
    share = a.sigmoid(a.parameter("zeta")) * a.rest(z) + a.sigmoid(a.parameter("nu"))
    return {"s": s, "z": z, "n": n, "h": share * n + z * h}


def _vectors(*names: str) -> tuple[tuple[str, tuple[str]], ...]:
    return tuple((name, ("hidden_size",)) for name in names)


FASTRNN = Cell(
    name="fastrnn",
    torch_name="",
    gates=("n",),
    states=("h",),
    quantities=("n", "h"),
    functions=("sigmoid", "tanh"),
    step=fastrnn,
    parameters=_vectors("alpha", "beta"),
)
FASTGRNN = replace(
    FASTRNN,
    name="fastgrnn",
    gates=("s",),
    quantities=("s", "z", "n", "h"),
    step=fastgrnn,
    parameters=_vectors("b_z", "b_n", "zeta", "nu"),
)


def fastrnn_weights(theirs: Weights) -> Weights:
    size = len(theirs["weight_hh"])
    return theirs | {name: theirs[name].expand(size) for name in ("alpha", "beta")}


def fastgrnn_weights(theirs: Weights) -> Weights:
    w, size = theirs, len(theirs["weight_hh"])
    b_z, b_n = (w["bias_ih"] + w["bias_hh"]).chunk(2)
    none = {name: torch.zeros_like(b_z) for name in ("bias_ih", "bias_hh")}
    return w | none | {"b_z": b_z, "b_n": b_n} | {name: w[name].expand(size) for name in ("zeta", "nu")}


def fastrnn_loop(wrong: bool) -> Step:
    def step(
        x_t: Tensor,
        h: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        alpha: Tensor,
        beta: Tensor,
    ) -> Tensor:
        n = torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)
        return (alpha if wrong else torch.sigmoid(alpha)) * n + torch.sigmoid(beta) * h

    return step


def fastgrnn_loop(wrong: bool) -> Step:
    """The mistake: the two biases exchanged."""

    def step(x_t: Tensor, h: Tensor, parameters: Weights) -> Tensor:
        w = {name.removesuffix("_l0"): one for name, one in parameters.items()}
        both = x_t @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
        b_z, b_n = (w["b_n"], w["b_z"]) if wrong else (w["b_z"], w["b_n"])
        z = torch.sigmoid(both + b_z)
        return (torch.sigmoid(w["zeta"]) * (1 - z) + torch.sigmoid(w["nu"])) * torch.tanh(both + b_n) + z * h

    return step
