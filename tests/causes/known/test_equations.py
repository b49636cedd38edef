"""Gates that are left out of the equations of a cell with peepholes, in a loop in torch of its own; those of the LSTM
and the GRU are among the planted mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnnspect


def loop(p: dict[str, Tensor], x: Tensor, left_out: str) -> Tensor:
    """h of an LSTM with peepholes, from zeros, (T, B, H), in which a gate is 1."""
    see = dict(zip("ifo", p["weight_ch_l0"].chunk(3), strict=True))
    h = c = torch.zeros(x.shape[1], 4)
    output = []

    def gate(name: str, s: Tensor) -> Tensor:
        return torch.ones_like(s) if name == left_out else (s + see[name] * c).sigmoid()

    for x_t in x:
        packed = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"] + (h @ p["weight_hh_l0"].T + p["bias_hh_l0"])
        s_i, s_f, s_g, s_o = packed.chunk(4, -1)
        c = gate("f", s_f) * c + gate("i", s_i) * s_g.tanh()
        h = gate("o", s_o) * c.tanh()
        output.append(h)
    return torch.stack(output)


@pytest.mark.parametrize("gate", ["i", "f", "o"])
def test_a_gate_of_an_lstm_with_peepholes_is_left_out(gate: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    p = {name: w.detach() for name, w in nn.LSTM(3, 4).named_parameters()}
    p["weight_ch_l0"] = torch.randn(12)
    torch.save(p, tmp_path / "p.pt")
    spec = rnnspect.Spec(
        cell="lstm", input_size=3, hidden_size=4, batch_first=False, peepholes=True, weights=str(tmp_path / "p.pt")
    )
    x = 2 * torch.randn(20, 2, 3)
    assert rnnspect.check(spec, x, recorded=loop(p, x, "")).agrees
    (cause,) = rnnspect.check(spec, x, recorded=loop(p, x, gate)).causes
    assert cause.name == "line-factor-left-out"
    assert cause.explanation.startswith(f"the gate {gate} is left out")
