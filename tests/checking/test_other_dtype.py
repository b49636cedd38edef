"""A run in a narrower dtype than the network's differs, and is told to be one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import rnnspect

RUNS = [
    ("float32", "bfloat16", {}),
    ("float32", "float16", {"num_layers": 2}),
    ("float64", "float32", {"bidirectional": True}),
    ("float64", "bfloat16", {}),
]


def made(kind: type[nn.RNNBase], dtype: str, **keys: object) -> tuple[nn.RNNBase, torch.Tensor]:
    torch.manual_seed(1)
    return kind(5, 8, **keys).to(getattr(torch, dtype)), torch.randn(30, 2, 5, dtype=getattr(torch, dtype))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(("dtype", "narrower", "keys"), RUNS)
def test_its_dtype_is_told(kind: type[nn.RNNBase], dtype: str, narrower: str, keys: dict[str, object]) -> None:
    module, x = made(kind, dtype, **keys)
    ran = copy.deepcopy(module).to(getattr(torch, narrower))
    y, state = ran(x.to(getattr(torch, narrower)))
    h_n = state[0] if kind is nn.LSTM else state
    said = rnnspect.check(module, x, recorded={"output": y.to(x.dtype), "h_n": h_n.to(x.dtype)}, explain=0.1)
    assert said.verdict == "differ"
    assert said.reason is not None
    assert said.reason.startswith(f"{narrower} would explain it")
    assert not any("truncated" in note for note in said.notes)
    assert rnnspect.check(ran, x.to(getattr(torch, narrower)), recorded=y).verdict != "differ"


def test_a_mistake_in_float32_that_was_kept_in_bfloat16_is_none() -> None:
    module, x = made(nn.LSTM, "float32")
    wrong = copy.deepcopy(module)
    with torch.no_grad():
        wrong.weight_hh_l0.mul_(torch.rand_like(wrong.weight_hh_l0) + 1)
    said = rnnspect.check(module, x, recorded=wrong(x)[0].bfloat16(), explain=0.1)
    assert said.verdict == "differ"
    assert said.reason is None


def test_one_number_of_more_digits_is_of_another_dtype() -> None:
    module, x = made(nn.LSTM, "float32")
    y = copy.deepcopy(module).bfloat16()(x.bfloat16())[0].float()
    y[3, 0, 0] *= 1 + 2**-12
    said = rnnspect.check(module, x, recorded=y, explain=0.1)
    assert said.verdict == "differ"
    assert said.reason is None
