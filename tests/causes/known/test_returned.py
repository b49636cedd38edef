"""c in place of h, and tanh(c) in place of c, in every form of the LSTM: planted in a loop in torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import rnnspect


def loop(p: dict[str, Tensor], x: Tensor, keys: dict[str, bool], mistake: str) -> dict[str, Tensor]:
    """The output (T, B, H), and c (B, T, H), of an LSTM of 4 units from zeros."""
    gates = "igo" if keys["input_forget"] else "ifgo"
    see = dict.fromkeys(gates, torch.zeros(4))
    if keys["peepholes"]:
        see |= zip(gates.replace("g", ""), p["weight_ch_l0"].split(4), strict=True)
    h = c = torch.zeros(x.shape[1], 4)
    output, states = [], []
    for x_t in x:
        packed = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"] + (h @ p["weight_hh_l0"].T + p["bias_hh_l0"])
        s = dict(zip(gates, packed.chunk(len(gates), -1), strict=True))
        i = (s["i"] + see["i"] * c).sigmoid()
        f = (s["f"] + see["f"] * c).sigmoid() if "f" in gates else 1 - i
        c = f * c + i * s["g"].tanh()
        h = (s["o"] + see["o"] * c).sigmoid() * c.tanh()
        output.append(c if mistake == "cell-state-returned" else h)
        states.append(c)
        c = c.tanh() if mistake == "cell-state-squashed" else c
    return {"output": torch.stack(output), "l0.forward.c": torch.stack(states, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["cell-state-returned", "cell-state-squashed"])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("peepholes", [False, True])
def test_which_state_goes_where(peepholes: bool, coupled: bool, mistake: str) -> None:
    torch.manual_seed(0)
    keys = {"input_forget": coupled, "peepholes": peepholes}
    p = {name: w.detach()[: 12 if coupled else 16] for name, w in nn.LSTM(3, 4).named_parameters()}
    if peepholes:
        p["weight_ch_l0"] = torch.randn(8 if coupled else 12)
    spec = rnnspect.Spec(cell="lstm", input_size=3, hidden_size=4, weights=p, batch_first=False, **keys)
    x = 2 * torch.randn(20, 2, 3)
    assert rnnspect.check(spec, x, recorded=loop(p, x, keys, "")).agrees
    recorded = loop(p, x, keys, mistake)
    for names in ({"output"}, set(recorded) if mistake == "cell-state-squashed" else {"output"}):
        (cause,) = rnnspect.check(spec, x, recorded={name: recorded[name] for name in names}).causes
        assert cause.name == mistake
