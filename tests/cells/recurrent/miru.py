"""The two minion gated units (doi 10.1016/j.neucom.2026.132847): a GRU whose update gate is a number λ, and one whose
reset gate is a number ρ, too."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step

KEPT, RESET = 0.375, 0.625


def miru1(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    n  = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)
    h' = n + λ (h − n)                               which is λ h + (1 − λ) n
    """
    x_r, x_n = a.split(wx)
    h_r, _ = a.split(a.hidden(h))
    r = a.sigmoid(x_r + h_r)
    _, h_n = a.split(a.hidden(r * h))
    n = a.tanh(x_n + h_n)
    return {"r": r, "n": n, "h": n + a.constant("kept") * (h - n)}


def miru2(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = tanh(W_in x + b_in + W_hn (ρ h) + b_hn)
    h' = n + λ (h − n)
    """
    (x_n,) = a.split(wx)
    (h_n,) = a.split(a.hidden(a.constant("reset") * h))
    n = a.tanh(x_n + h_n)
    return {"n": n, "h": n + a.constant("kept") * (h - n)}


MIRU1 = Cell(
    name="miru1",
    torch_name="",
    gates=("r", "n"),
    states=("h",),
    quantities=("r", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=miru1,
    constants=(("kept", KEPT),),
    mixes=True,
)
MIRU2 = replace(
    MIRU1,
    name="miru2",
    gates=("n",),
    quantities=("n", "h"),
    functions=("tanh",),
    step=miru2,
    constants=(("kept", KEPT), ("reset", RESET)),
)


def loop_1(wrong: bool) -> Step:
    """The mistake: λ and 1 − λ exchanged."""

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        (x_r, x_n), (w_r, w_n), (b_r, b_n) = (
            (x_t @ weight_ih.T + bias_ih).chunk(2, -1),
            weight_hh.chunk(2),
            bias_hh.chunk(2),
        )
        r = torch.sigmoid(x_r + h @ w_r.T + b_r)
        n = torch.tanh(x_n + (r * h) @ w_n.T + b_n)
        kept = 1 - KEPT if wrong else KEPT
        return kept * h + (1 - kept) * n

    return step


def loop_2(wrong: bool) -> Step:
    """The mistake: no ρ."""

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        n = torch.tanh(x_t @ weight_ih.T + bias_ih + (1 if wrong else RESET) * h @ weight_hh.T + bias_hh)
        return KEPT * h + (1 - KEPT) * n

    return step
