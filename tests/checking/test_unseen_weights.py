"""A run that agrees on an input that leaves weights unseen says so; without an input one is drawn that reaches all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import rnnspect
from rnnspect import Spec
from tests.conftest import Result

REVERSED = """
import numpy as np

def step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    return np.tanh(x_t[..., ::-1] @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)
"""


def notes_of(source: str, **keys: object) -> tuple[str, ...]:
    found = rnnspect.check(Spec(cell="gru", input_size=4, hidden_size=3, input=source, **keys))
    assert found.agrees
    return found.notes


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("zeros:5", "x is zero at every step, so that weight_ih had no effect"),
        ("ramp:5", "all features of x are alike at each step, so that weight_ih's columns could be in any order"),
        ("impulse:5", "all features of x are alike"),
        ("randn:1", "the only step begins with h0 = 0, so that weight_hh had no effect"),
    ],
)
def test_what_was_not_seen_is_said(source: str, said: str) -> None:
    (note,) = notes_of(source)
    assert note.startswith(said)
    assert note.endswith("; check with another input, such as randn:20, too")


def test_an_input_that_reaches_all_weights_leaves_nothing_to_say() -> None:
    assert notes_of("randn:5") == ()
    assert notes_of("randn:1", h0="randn") == ()
    assert rnnspect.check(Spec(input_size=1, input="ramp:5")).notes == ()  # one feature has no order


def test_features_that_are_always_zero_are_counted_inside_of_the_lengths() -> None:
    module, x = nn.GRU(3, 2), torch.randn(80, 2, 3)
    x[..., 1] = 0
    (note,) = rnnspect.check(module, x).notes
    assert note.startswith("1 of 3 features of x are zero at every step")
    x[79, 1, 1] = 5.0
    assert rnnspect.check(module, x).notes == ()
    (note,) = rnnspect.check(module, x, lengths=[80, 79]).notes
    assert note.startswith("1 of 3 features")


def test_without_an_input_features_in_another_order_are_seen(rnnspect: Callable[..., Result], tmp_path: Path) -> None:
    """Of a ramp, as `trace` shows it, all features are alike."""
    mine = tmp_path / "mine.py"
    mine.write_text(REVERSED)
    checked = "check", "--cell", "rnn", "--engine", f"{mine}:step"
    found = rnnspect(*checked)
    assert found.status == 1
    assert "DIFFER" in found.out
    assert "could be in any order" in rnnspect(*checked, "--input", "ramp:3").out.replace("\n           ", " ")


@pytest.mark.parametrize("seen", ["live", "recorded"])
def test_so_does_a_pass_backwards(seen: str) -> None:
    """The gradient of weight_ih is then zero, whatever it is multiplied by."""
    torch.manual_seed(0)
    module, x = nn.GRU(3, 2), torch.zeros(9, 2, 3)
    module(x)[0].sum().backward()
    found = {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    recorded = {"recorded": found, "loss": "sum"} if seen == "recorded" else {}
    verdict = rnnspect.check(module, x, backward=True, **recorded)
    assert verdict.agrees
    assert sum(note.startswith("x is zero at every step") for note in verdict.notes) == 1
    x[0] = torch.randn(2, 3)
    assert not any("had no effect" in note for note in rnnspect.check(module, x, backward=True).notes)
