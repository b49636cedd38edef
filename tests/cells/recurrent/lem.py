"""Long expressive memory (Rusch, Mishra, Erichson & Mahoney 2022, arXiv 2110.04744), as torchrecurrent has it: y sees
the c of the step before, where the paper's y sees the new one, c'. The block of y in weight_hh multiplies c."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights

DT = 0.75


def lem(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    b  = σ(W_ib x + b_ib + W_hb h + b_hb)
    t  = σ(W_it x + b_it + W_ht h + b_ht)
    z  = tanh(W_iz x + b_iz + W_hz h + b_hz)
    y  = tanh(W_iy x + b_iy + W_hy c + b_hy)
    c' = (1 − Δt t) ⊙ c + Δt t ⊙ z
    h' = (1 − Δt b) ⊙ h + Δt b ⊙ y
    """
    x_b, x_t, x_z, x_y = a.split(wx)
    h_b, h_t, h_z, _ = a.split(a.hidden(h))
    *_, c_y = a.split(a.hidden(c))
    b, t = a.sigmoid(x_b + h_b), a.sigmoid(x_t + h_t)
    z, y = a.tanh(x_z + h_z), a.tanh(x_y + c_y)
    c = a.lerp(c, z, a.constant("dt") * t)
    return {"b": b, "t": t, "z": z, "y": y, "c": c, "h": a.lerp(h, y, a.constant("dt") * b)}


CELL = Cell(
    name="lem",
    torch_name="",
    gates=("b", "t", "z", "y"),
    states=("h", "c"),
    quantities=("b", "t", "z", "y", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=lem,
    constants=(("dt", DT),),
    mixes=True,
)


def weights(theirs: Weights) -> Weights:
    own = {name: theirs[name] for name in ("weight_ih", "bias_ih")}
    return own | {f"{kind}_hh": torch.cat([theirs[f"{kind}_hh"], theirs[f"{kind}_ch"]]) for kind in ("weight", "bias")}


def loop(wrong: bool) -> Step:
    """The mistake is the paper's equation: y sees the new c."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, c), (*of_h, of_c), (*b_h, b_c) = state, weight_hh.chunk(4), bias_hh.chunk(4)
        x = (x_t @ weight_ih.T + bias_ih).chunk(4, -1)
        bar, step_size, z = (s + h @ w.T + b for s, w, b in zip(x, of_h, b_h, strict=False))
        bar, step_size = DT * torch.sigmoid(bar), DT * torch.sigmoid(step_size)
        new = (1 - step_size) * c + step_size * torch.tanh(z)
        y = torch.tanh(x[3] + (new if wrong else c) @ of_c.T + b_c)
        return (1 - bar) * h + bar * y, new

    return step
