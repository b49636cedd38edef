"""Right gradients that were cut off as they were recorded, not rounded to nearest: the option that says so decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnspect

_Cut = Callable[[Any], Any]


def _shifted(values: Any) -> Any:
    """To bfloat16, by leaving out the lower half of each number's bits."""
    return (values.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


CUT: dict[str, tuple[str, _Cut]] = {
    "decimals": ("truncated:decimals:4", lambda v: np.trunc(v * 1e4) / 1e4),
    "fixed point": ("floored:bits:12", lambda v: np.floor(v * 4096) / 4096),
    "bits left out": ("truncated:bfloat16", _shifted),
}


def _recorded(kind: type[nn.RNNBase], cut: _Cut, with_output: bool) -> tuple[nn.RNNBase, Tensor, dict[str, Any]]:
    torch.manual_seed(0)
    module, x, g = kind(3, 4, batch_first=True), torch.randn(1, 20, 3), torch.randn(1, 20, 4)
    module(x)[0].backward(g)
    shown = {f"grad.{name}": cut(p.grad.double().numpy()) for name, p in module.named_parameters()}
    return module, x, shown | {"grad.output": cut(g.double().numpy()) if with_output else g}


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("how", CUT)
def test_gradients_that_were_cut_off_are_asked_for(kind: type[nn.RNNBase], how: str) -> None:
    option, cut = CUT[how]
    module, x, shown = _recorded(kind, cut, with_output=False)
    found = rnnspect.check(module, x, recorded=shown, backward=True, explain=0)
    assert found.verdict == "cannot tell"
    assert f"--recorded-as {option} if they were" in str(found.reason)
    assert rnnspect.check(module, x, recorded=shown, recorded_as=option, backward=True, explain=0).agrees


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("how", CUT)
def test_beside_a_grad_output_that_was_cut_off_they_do_not_differ(kind: type[nn.RNNBase], how: str) -> None:
    """Rounding it allows for more than cutting the gradients off does."""
    option, cut = CUT[how]
    module, x, shown = _recorded(kind, cut, with_output=True)
    assert rnnspect.check(module, x, recorded=shown, backward=True, explain=0).verdict != "differ"
    assert rnnspect.check(module, x, recorded=shown, recorded_as=option, backward=True, explain=0).verdict != "differ"


@pytest.mark.parametrize("how", CUT)
def test_wrong_numbers_that_were_cut_off_differ(how: str) -> None:
    module, x, shown = _recorded(nn.LSTM, CUT[how][1], False)
    shown["grad.weight_hh_l0"][0, 0] += 0.25
    assert rnnspect.check(module, x, recorded=shown, backward=True, explain=0).verdict == "differ"


@pytest.mark.parametrize("units", [1, -1])
def test_numbers_off_to_either_side_were_not_cut_off(units: int) -> None:
    """A unit of the last decimal too large and too small in turn: no truncation makes that."""
    module, x, shown = _recorded(nn.GRU, lambda v: np.round(v, 4), False)
    for name, p in module.named_parameters():
        shown[f"grad.{name}"].flat[::2] += units * 1e-4
        shown[f"grad.{name}"].flat[1::2] -= units * 1e-4
        assert shown[f"grad.{name}"].shape == p.shape
    assert rnnspect.check(module, x, recorded=shown, backward=True, explain=0).verdict == "differ"
