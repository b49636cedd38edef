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


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize(
    ("order", "late", "named"),
    [
        ("ifo", True, None),
        ("iof", True, ("gate-order", "i o f")),
        ("fio", True, ("gate-order", "f i o")),
        ("ofi", True, ("gate-order", "o f i")),
        ("ifo", False, ("peephole-of-the-state-before",)),
    ],
)
def test_what_gates_see_of_the_cell_state(
    order: str, late: bool, named: tuple[str, ...] | None, coupled: bool, tmp_path: Path
) -> None:
    if coupled:
        order = order.replace("f", "")
        named = ("gate-order", "o i") if order == "oi" else named if not late else None
    torch.manual_seed(0)
    gates = 3 if coupled else 4
    p = {name: w.detach()[: gates * 4] for name, w in nn.LSTM(3, 4).named_parameters()}
    p["weight_ch_l0"] = torch.randn((gates - 1) * 4)
    torch.save(p, tmp_path / "p.pt")
    keys = {"input_forget": coupled, "peepholes": True, "weights": str(tmp_path / "p.pt")}
    spec = rnnspect.Spec(cell="lstm", input_size=3, hidden_size=4, batch_first=False, **keys)
    x = 2 * torch.randn(20, 2, 3)
    found = rnnspect.check(spec, x, recorded=loop(p, x, order, coupled, late))
    assert found.verdict == ("differ" if named else "agree")
    causes = [(one.name, *list(one.parameters.values())[:1]) for one in found.causes]
    assert causes == ([named] if named else [])
