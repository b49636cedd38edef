"""The three mutated units of a search over architectures (Jozefowicz, Zaremba & Sutskever 2015, PMLR 37). Where the
paper adds x itself (tanh(x) in MUT1, x in r of MUT2), here W_ih x + b_ih stands, so that x may have another size than
h."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def mut1(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    z  = σ(W_iz x + b_iz)
    r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    n  = tanh(W_hn (r ⊙ h) + b_hn + tanh(W_in x + b_in))
    h' = z ⊙ n + (1 − z) ⊙ h
    """
    x_z, x_r, x_n = a.split(wx)
    _, h_r, _ = a.split(a.hidden(h))
    z, r = a.sigmoid(x_z), a.sigmoid(x_r + h_r)
    _, _, h_n = a.split(a.hidden(r * h))
    n = a.tanh(h_n + a.tanh(x_n))
    return {"z": z, "r": r, "n": n, "h": a.lerp(h, n, z)}


def mut2(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    n  = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)
    h' = z ⊙ n + (1 − z) ⊙ h
    """
    x_z, x_r, x_n = a.split(wx)
    h_z, h_r, _ = a.split(a.hidden(h))
    z, r = a.sigmoid(x_z + h_z), a.sigmoid(x_r + h_r)
    _, _, h_n = a.split(a.hidden(r * h))
    n = a.tanh(x_n + h_n)
    return {"z": z, "r": r, "n": n, "h": a.lerp(h, n, z)}


def mut3(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    z  = σ(W_iz x + b_iz + W_hz tanh(h) + b_hz)
    r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    n  = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)
    h' = z ⊙ n + (1 − z) ⊙ h
    """
    x_z, x_r, x_n = a.split(wx)
    h_z, _, _ = a.split(a.hidden(a.tanh(h)))
    _, h_r, _ = a.split(a.hidden(h))
    z, r = a.sigmoid(x_z + h_z), a.sigmoid(x_r + h_r)
    _, _, h_n = a.split(a.hidden(r * h))
    n = a.tanh(x_n + h_n)
    return {"z": z, "r": r, "n": n, "h": a.lerp(h, n, z)}


MUT1 = Cell(
    name="mut1",
    torch_name="",
    gates=("z", "r", "n"),
    states=("h",),
    quantities=("z", "r", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=mut1,
    mixes=True,
)
MUT2 = replace(MUT1, name="mut2", step=mut2)
MUT3 = replace(MUT1, name="mut3", step=mut3)


def weights_1(theirs: Weights) -> Weights:
    """z of MUT1 does not see h."""
    return theirs | {name: placed(theirs[name], 2, (None, 0, 1)) for name in ("weight_hh", "bias_hh")}


def loop(unit: int, wrong: bool) -> Step:
    """The mistake: r comes after the product, as in PyTorch's GRU, where it is before it."""

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        x_z, x_r, x_n = (x_t @ weight_ih.T + bias_ih).chunk(3, -1)
        (w_z, w_r, w_n), (b_z, b_r, b_n) = weight_hh.chunk(3), bias_hh.chunk(3)
        seen = torch.tanh(h) if unit == 3 else h
        z = torch.sigmoid(x_z if unit == 1 else x_z + seen @ w_z.T + b_z)
        r = torch.sigmoid(x_r + h @ w_r.T + b_r)
        reset = r * (h @ w_n.T) if wrong else (r * h) @ w_n.T
        n = torch.tanh(reset + b_n + (torch.tanh(x_n) if unit == 1 else x_n))
        return n * z + h * (1 - z)

    return step
