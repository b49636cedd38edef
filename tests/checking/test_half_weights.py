"""Weights that were rounded to a half type, checked against a run with those that nobody has any more."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import rnnspect


def notes(kind: type[nn.RNNBase], dtype: torch.dtype, noise: float = 0.0, **keys: Any) -> list[str]:
    """What is said of a run whose weights were rounded to a dtype before they were given; with `noise`, of one whose
    weights differ from the rounded ones by that share."""
    torch.manual_seed(1)
    ran, x = kind(4, 12, **keys), torch.randn(20, 2, 4)
    given = copy.deepcopy(ran)
    given.load_state_dict({name: w.to(dtype).float() for name, w in ran.state_dict().items()})
    with torch.no_grad():
        if noise:
            ran = copy.deepcopy(given)
            for w in ran.parameters():
                w.mul_(1 + noise * torch.randn_like(w))
        y = ran(x)[0]
    said = rnnspect.check(given, x, recorded=y, explain=0.1)
    assert said.verdict == "differ"
    assert not said.causes
    found = [note for note in said.notes if "before rounding" in note]
    assert ("no other known mistake" if found else "no known mistake") in " ".join(said.notes)
    return found


@pytest.mark.parametrize(
    ("kind", "dtype", "keys"),
    [
        (nn.LSTM, torch.float16, {"num_layers": 2}),
        (nn.GRU, torch.bfloat16, {}),
        (nn.RNN, torch.float16, {"bidirectional": True}),
    ],
)
def test_rounded_weights_are_told(kind: type[nn.RNNBase], dtype: torch.dtype, keys: dict[str, Any]) -> None:
    (said,) = notes(kind, dtype, **keys)
    which = "layers 0 and 1" if "num_layers" in keys else "layer 0"
    assert said.startswith(f"every weight of {which} is a {str(dtype).removeprefix('torch.')} number")


@pytest.mark.parametrize(
    ("dtype", "noise"), [(torch.float32, 1e-4), (torch.float16, 1e-2), (torch.float16, 1e-5), (torch.bfloat16, 1e-4)]
)
def test_other_differences_are_not_taken_for_rounding(dtype: torch.dtype, noise: float) -> None:
    assert not notes(nn.GRU, dtype, noise)


def test_one_wrong_unit_is_not_taken_for_rounding() -> None:
    torch.manual_seed(1)
    ran, x = nn.GRU(4, 12).half().float(), torch.randn(20, 2, 4)
    with torch.no_grad():
        given = copy.deepcopy(ran)
        ran.weight_hh_l0[3].mul_(1.002)
        y = ran(x)[0]
    assert not any("before rounding" in note for note in rnnspect.check(given, x, recorded=y, explain=0.1).notes)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_stack_that_ran_in_bfloat16_is_told_to_have_done_so(kind: type[nn.RNNBase]) -> None:
    """Its bounds in bfloat16 are too wide for an answer, so that no other verdict says it."""
    torch.manual_seed(1)
    ran, x = kind(5, 32, 2).bfloat16(), torch.randn(20, 2, 5).bfloat16()
    with torch.no_grad():
        y = ran(x)[0].float()
    said = rnnspect.check(copy.deepcopy(ran).float(), x.float(), recorded=y, explain=0.1)
    assert said.verdict == "differ"
    (told,) = [note for note in said.notes if "every weight" in note]
    assert told.endswith("the engine may have run in bfloat16; check a copy in bfloat16 (--dtype bfloat16)")
    assert not any("before rounding" in note for note in said.notes)
