"""Wrong gradients of a cell of one's own, whose gates may have any names."""

from __future__ import annotations

import torch
from torch import Tensor

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V


def leaking(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    s_w, s_z = a.gates(wx, h)
    w, z = a.sigmoid(s_w), a.tanh(s_z)
    return {"w": w, "z": z, "h": a.lerp(h, z, w)}


LEAKING = Cell(
    name="leaking",
    torch_name="",
    gates=("w", "z"),
    states=("h",),
    quantities=("w", "z", "h"),
    functions=("sigmoid", "tanh"),
    step=leaking,
)


def test_a_slope_is_named_whatever_the_gate_is_called() -> None:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        s_w, s_z = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        w, z = torch.sigmoid(s_w), s_z + (torch.tanh(s_z) - s_z).detach()  # goes back as if tanh were not there
        return h + w * (z - h)

    spec = rnnspect.Spec(cell=LEAKING, input_size=3, hidden_size=4)
    found = rnnspect.check(spec, "randn:20", engine=step, backward=True)
    assert found.verdict == "differ"
    assert found.causes[0].name == "grad-slope-left-out"
    assert "tanh′ of what tanh gives" in found.causes[0].explanation
