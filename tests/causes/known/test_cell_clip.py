"""A cell state that is cut off only where it is handed on: h of each step is made of the whole one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import rnnspect

STEPS = 30


def run(limit: float, seed: int, whole: bool = False) -> tuple[nn.LSTM, torch.Tensor, dict[str, Any]]:
    """An LSTM, x, and what a loop around its cell gives that cuts c off; c_n as it hands it on, or the `whole` one."""
    torch.manual_seed(seed)
    module, cell = nn.LSTM(4, 6), nn.LSTMCell(4, 6)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    x, output = 2 * torch.randn(STEPS, 2, 4), []
    h = c = kept = torch.zeros(2, 6)
    with torch.no_grad():
        for x_t in x:
            h, c = cell(x_t, (h, kept))
            kept = c.clamp(-limit, limit)
            output.append(h)
    return module, x, {"output": torch.stack(output), "h_n": h[None], "c_n": (c if whole else kept)[None]}


@pytest.mark.slow
@pytest.mark.parametrize("recorded", ["output", "output h_n c_n", "output h_n c_n whole"])
@pytest.mark.parametrize("limit", [0.5, 0.125])
def test_it_is_named_with_its_limit(limit: float, recorded: str) -> None:
    module, x, given = run(limit, 0, "whole" in recorded)
    verdict = rnnspect.check(module, x, recorded={name: given[name] for name in given if name in recorded.split()})
    assert [one.name for one in verdict.causes] == ["cell-state-clipped"]
    assert verdict.causes[0].parameters == {"limit": limit, "where": "between steps"}


def test_a_limit_that_nothing_reaches_is_none() -> None:
    module, x, given = run(50, 0)
    assert rnnspect.check(module, x, recorded=given).verdict == "agree"
