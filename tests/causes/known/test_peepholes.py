"""Mistakes with peephole weights, in a loop in torch of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnnspect


def loop(p: dict[str, Tensor], x: Tensor, order: str, coupled: bool, late: bool) -> Tensor:
    """h of an LSTM from zeros, (T, B, H); `order` are the gates that blocks of weight_ch are for."""
    gates = "igo" if coupled else "ifgo"
    see = dict(zip(order, p["weight_ch_l0"].chunk(len(order)), strict=True))
    h = c = torch.zeros(x.shape[1], 4)
    output = []
    for x_t in x:
        packed = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"] + (h @ p["weight_hh_l0"].T + p["bias_hh_l0"])
        s = dict(zip(gates, packed.chunk(len(gates), -1), strict=True))
        i = (s["i"] + see["i"] * c).sigmoid()
        f = 1 - i if coupled else (s["f"] + see["f"] * c).sigmoid()
        before, c = c, f * c + i * s["g"].tanh()
        h = (s["o"] + see["o"] * (c if late else before)).sigmoid() * c.tanh()
        output.append(h)
    return torch.stack(output)


@pytest.mark.slow
@pytest.mark.parametrize("coupled", [False, True])
def test_what_gates_see_of_the_cell_state(coupled: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    gates = 3 if coupled else 4
    p = {name: w.detach()[: gates * 4] for name, w in nn.LSTM(3, 4).named_parameters()}
    p["weight_ch_l0"] = torch.randn((gates - 1) * 4)
    torch.save(p, tmp_path / "p.pt")
    keys = {"input_forget": coupled, "peepholes": True, "weights": str(tmp_path / "p.pt")}
    spec = rnnspect.Spec(cell="lstm", input_size=3, hidden_size=4, batch_first=False, **keys)
    x = 2 * torch.randn(20, 2, 3)
    usual, *others = ("io", "oi") if coupled else ("ifo", "iof", "fio", "ofi")
    assert rnnspect.check(spec, x, recorded=loop(p, x, usual, coupled, late=True)).agrees
    for order in others:
        (cause,) = rnnspect.check(spec, x, recorded=loop(p, x, order, coupled, late=True)).causes
        assert (cause.name, cause.parameters) == ("gate-order", {"order": " ".join(order), "in": "weight_ch"})
    (cause,) = rnnspect.check(spec, x, recorded=loop(p, x, usual, coupled, late=False)).causes
    assert cause.name == "peephole-of-the-state-before"
    none = loop(p | {"weight_ch_l0": torch.zeros_like(p["weight_ch_l0"])}, x, usual, coupled, late=True)
    (cause, *_) = rnnspect.check(spec, x, recorded=none).causes
    assert cause.explanation.startswith("peepholes are ignored: " if not coupled else "")
    for at, gate in enumerate(usual):
        blocks = [w * (number != at) for number, w in enumerate(p["weight_ch_l0"].chunk(len(usual)))]
        wrong = loop(p | {"weight_ch_l0": torch.cat(blocks)}, x, usual, coupled, late=True)
        (cause,) = rnnspect.check(spec, x, recorded=wrong).causes
        assert (cause.name, cause.parameters) == ("peephole-left-out", {"gate": gate})
