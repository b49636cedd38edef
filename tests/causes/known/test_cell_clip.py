"""A cell state that is cut off only where it is handed on: h of each step is made of the whole one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import rnnspect

STEPS = 30
C = "l0.forward.c"


def run(limit: float, seed: int, whole: bool = False) -> tuple[nn.LSTM, torch.Tensor, dict[str, Any]]:
    """An LSTM, x, and what a loop around its cell gives that cuts c off; c_n as it hands it on, or the `whole` one."""
    torch.manual_seed(seed)
    module, cell = nn.LSTM(4, 6), nn.LSTMCell(4, 6)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    x, output, states = 2 * torch.randn(STEPS, 2, 4), [], []
    h = c = kept = torch.zeros(2, 6)
    with torch.no_grad():
        for x_t in x:
            h, c = cell(x_t, (h, kept))
            kept = c.clamp(-limit, limit)
            output.append(h)
            states.append(c if whole else kept)
    return module, x, {"output": torch.stack(output), "h_n": h[None], "c_n": states[-1][None], C: torch.stack(states)}


@pytest.mark.slow
@pytest.mark.parametrize("recorded", ["output", "output h_n c_n", f"output {C}", f"output {C} whole"])
@pytest.mark.parametrize("limit", [0.5, 0.125])
def test_it_is_named_with_its_limit(limit: float, recorded: str) -> None:
    module, x, given = run(limit, 0, "whole" in recorded)
    verdict = rnnspect.check(module, x, recorded={name: given[name] for name in given if name in recorded.split()})
    assert [one.name for one in verdict.causes] == ["cell-state-clipped"]
    assert verdict.causes[0].parameters == {"limit": limit, "where": "between steps"}


def test_a_limit_that_nothing_reaches_is_none() -> None:
    module, x, given = run(50, 0)
    assert rnnspect.check(module, x, recorded=given).verdict == "agree"


@pytest.mark.parametrize("steps", [1, 9])
def test_a_final_state_that_is_cut_off_is_named(steps: int) -> None:
    torch.manual_seed(0)
    module, x = nn.LSTM(4, 6), 2 * torch.randn(steps, 2, 4)
    output, (h_n, c_n) = module(x)
    for given, named in ((c_n.clamp(-0.05, 0.05), ["cell-state-clipped"]), (c_n.clamp(max=0.05), [])):
        verdict = rnnspect.check(module, x, recorded={"output": output, "h_n": h_n, "c_n": given}, explain=2)
        assert verdict.verdict == "differ"
        assert [one.name for one in verdict.causes] == named


@pytest.mark.parametrize("beyond", [torch.nan, 0.0])
def test_items_that_have_ended_do_not_hide_it(beyond: float) -> None:
    torch.manual_seed(3)  # c exceeds the limit
    module, cell = nn.LSTM(4, 6), nn.LSTMCell(4, 6)
    with torch.no_grad():
        for values in module.parameters():
            values.mul_(3)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
        x, output = 2 * torch.randn(24, 2, 4), []
        h = c = torch.zeros(2, 6)
        for x_t in x:
            h, c = cell(x_t, (h, c))
            o, c = h / c.tanh(), c.clamp(-3, 3)
            h = o * c.tanh()
            output.append(h)
    given = torch.stack(output)
    given[2:, 1] = beyond
    verdict = rnnspect.check(module, x, lengths=[24, 2], recorded={"output": given})
    assert [one.name for one in verdict.causes] == ["cell-state-clipped"]
    assert verdict.causes[0].parameters == {"limit": 3.0}
