"""The cell found by neural architecture search (Zoph & Le 2017, arXiv 1611.01578, figure 8), as torchrecurrent has it:
in the paper's own code the fourth gate is relu(W_i3 x ⊙ W_h3 h), a product."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step


def nas(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    s  = W_ih x + b_ih + W_hh h + b_hh               of eight gates, k = 0 … 7
    c' = tanh(tanh(σ(s_0) ⊙ relu(s_1)) + c) ⊙ tanh(σ(s_2) + relu(s_3))
    m  = tanh(tanh(tanh(s_4) ⊙ σ(s_5)) + σ(tanh(s_6) + σ(s_7)))
    h' = tanh(c' ⊙ m)
    """
    s = a.gates(wx, h)
    given = {f"k{k}": s_k for k, s_k in enumerate(s)}
    forget = a.tanh(a.sigmoid(s[0]) * a.relu(s[1]))
    scale = a.tanh(a.sigmoid(s[2]) + a.relu(s[3]))
    one, other = a.tanh(a.tanh(s[4]) * a.sigmoid(s[5])), a.sigmoid(a.tanh(s[6]) + a.sigmoid(s[7]))
    c, m = a.tanh(forget + c) * scale, a.tanh(one + other)
    return given | {"m": m, "c": c, "h": a.tanh(c * m)}


GATES = tuple(f"k{k}" for k in range(8))
CELL = Cell(
    name="nas",
    torch_name="",
    gates=GATES,
    states=("h", "c"),
    quantities=(*GATES, "m", "c", "h"),
    functions=("sigmoid", "tanh", "relu"),
    step=nas,
)


def loop(wrong: bool) -> Step:
    """The mistake: c is added outside of tanh."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        h, c = state
        s = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(8, -1)
        tanh, gate = torch.tanh, torch.sigmoid
        left, right = tanh(gate(s[0]) * torch.relu(s[1])), tanh(gate(s[2]) + torch.relu(s[3]))
        below = tanh(tanh(s[4]) * gate(s[5])) + gate(tanh(s[6]) + gate(s[7]))
        c = (tanh(left) + c if wrong else tanh(left + c)) * right
        return tanh(c * tanh(below)), c

    return step
