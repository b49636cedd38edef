"""The recurrent additive network (Lee, Levy & Zettlemoyer 2017, arXiv 1705.07393), with g = tanh."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def ran(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    n  = W_in x
    i  = σ(W_ii x + b_ii + W_hi h + b_hi)
    f  = σ(W_if x + b_if + W_hf h + b_hf)
    c' = i ⊙ n + f ⊙ c
    h' = tanh(c')
    """
    n, x_i, x_f = a.split(wx)
    _, h_i, h_f = a.split(a.hidden(h))
    i, f = a.sigmoid(x_i + h_i), a.sigmoid(x_f + h_f)
    c = a.carry(f, c, i * n)
    return {"n": n, "i": i, "f": f, "c": c, "h": a.tanh(c)}


CELL = Cell(
    name="ran",
    torch_name="",
    gates=("n", "i", "f"),
    states=("h", "c"),
    quantities=("n", "i", "f", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=ran,
)


def weights(theirs: Weights) -> Weights:
    """n has no bias, and does not see h."""
    return theirs | {name: placed(theirs[name], 2, (None, 0, 1)) for name in ("weight_hh", "bias_ih", "bias_hh")}


def loop(wrong: bool) -> Step:
    """The mistake: the input and the forget gate exchanged."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, c), size = state, weight_hh.shape[1]
        content, gates = (x_t @ weight_ih.T + bias_ih).split([size, 2 * size], -1)
        i, f = torch.sigmoid(gates + h @ weight_hh[size:].T + bias_hh[size:]).chunk(2, -1)
        c = f * content + i * c if wrong else i * content + f * c
        return torch.tanh(c), c

    return step
