"""The bistable recurrent cell and its neuromodulated form (Vecoven, Ernst & Drion 2021, doi
10.1371/journal.pone.0252676): past a = 1 a unit has two stable states."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def br(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    a  = 1 + tanh(W_ia x + b_ia + u_a ⊙ h)
    c  = σ(W_ic x + b_ic + u_c ⊙ h)
    n  = tanh(W_in x + b_in + a ⊙ h)
    h' = c ⊙ h + (1 − c) ⊙ n
    """
    x_a, x_c, x_n = a.split(wx)
    bent = a.tanh(x_a + a.parameter("u_a") * h)
    c = a.sigmoid(x_c + a.parameter("u_c") * h)
    n = a.tanh(x_n + h + bent * h)
    return {"a": bent, "c": c, "n": n, "h": a.lerp(n, h, c)}


def nbr(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    a  = 1 + tanh(W_ia x + b_ia + W_ha h + b_ha)
    c  = σ(W_ic x + b_ic + W_hc h + b_hc)
    n  = tanh(W_in x + b_in + a ⊙ h)
    h' = c ⊙ h + (1 − c) ⊙ n
    """
    x_a, x_c, x_n = a.split(wx)
    h_a, h_c, _ = a.split(a.hidden(h))
    bent, c = a.tanh(x_a + h_a), a.sigmoid(x_c + h_c)
    n = a.tanh(x_n + h + bent * h)
    return {"a": bent, "c": c, "n": n, "h": a.lerp(n, h, c)}


NBR = Cell(
    name="nbr",
    torch_name="",
    gates=("a", "c", "n"),
    states=("h",),
    quantities=("a", "c", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=nbr,
)
VECTORS = (("u_a", ("hidden_size",)), ("u_c", ("hidden_size",)))
CELL = replace(NBR, name="br", step=br, is_recurrent=False, parameters=VECTORS)


def weights(theirs: Weights) -> Weights:
    """Their b_hh is added where b_ih is."""
    (u_a, u_c), b_hh = theirs["weight_hh"].chunk(2), placed(theirs["bias_hh"], 2, (0, 1, None))
    return {"weight_ih": theirs["weight_ih"], "bias_ih": theirs["bias_ih"] + b_hh, "u_a": u_a, "u_c": u_c}


def nbr_weights(theirs: Weights) -> Weights:
    return theirs | {name: placed(theirs[name], 2, (0, 1, None)) for name in ("weight_hh", "bias_hh")}


def _next(x: tuple[Tensor, Tensor, Tensor], h: Tensor, of_a: Tensor, of_c: Tensor, wrong: bool) -> Tensor:
    """The mistake: a without its 1."""
    x_a, x_c, x_n = x
    a = torch.tanh(x_a + of_a) + (0 if wrong else 1)
    c = torch.sigmoid(x_c + of_c)
    return c * h + (1 - c) * torch.tanh(x_n + a * h)


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor, u_a: Tensor, u_c: Tensor) -> Tensor:
        return _next((x_t @ weight_ih.T + bias_ih).chunk(3, -1), h, u_a * h, u_c * h, wrong)  # type: ignore[arg-type]

    return step


def nbr_loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        of_a, of_c, _ = (h @ weight_hh.T + bias_hh).chunk(3, -1)
        return _next((x_t @ weight_ih.T + bias_ih).chunk(3, -1), h, of_a, of_c, wrong)  # type: ignore[arg-type]

    return step
