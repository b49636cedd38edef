"""A right recording of a padded batch, of which nobody said how long its items are, is told to be one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnspect

LENGTHS = [20, 7, 12]


def padded(kind: type[nn.RNNBase], **keys: object) -> tuple[nn.RNNBase, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    module, x = kind(5, 6, batch_first=True, **keys), torch.randn(3, 20, 5)
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        return module, x, pad_packed_sequence(module(packed)[0], batch_first=True)[0]


@pytest.mark.parametrize(
    ("kind", "keys"), [(nn.LSTM, {}), (nn.GRU, {"bidirectional": True}), (nn.RNN, {"num_layers": 2})]
)
def test_its_lengths_are_told(kind: type[nn.RNNBase], keys: dict[str, object]) -> None:
    module, x, y = padded(kind, **keys)
    found = rnnspect.check(module, x, recorded=y)
    assert found.verdict == "differ"
    assert "check with --lengths 20,7,12" in str(found.reason)
    assert "Try" not in str(found)
    assert rnnspect.check(module, x, recorded=y, lengths=LENGTHS).agrees


@pytest.mark.parametrize(
    ("kind", "keys"), [(nn.LSTM, {}), (nn.GRU, {"bidirectional": True}), (nn.RNN, {"num_layers": 2})]
)
def test_they_are_told_where_the_last_output_is_repeated(kind: type[nn.RNNBase], keys: dict[str, object]) -> None:
    """As Keras does at masked steps: the reverse direction, which begins there, gives zeros."""
    module, x, y = padded(kind, **keys)
    for item, length in enumerate(LENGTHS):
        y[item, length:, :6] = y[item, length - 1, :6]
    found = rnnspect.check(module, x, recorded=y)
    assert found.verdict == "differ"
    assert "stand still" in str(found.reason)
    assert "check with --lengths 20,7,12" in str(found.reason)
    assert rnnspect.check(module, x, recorded=y, lengths=LENGTHS).agrees


@pytest.mark.parametrize(("kind", "keys"), [(nn.LSTM, {}), (nn.GRU, {"bidirectional": True, "num_layers": 2})])
@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_items_that_were_left_out_are_told(kind: type[nn.RNNBase], keys: dict[str, object], value: float) -> None:
    module, x = kind(5, 6, batch_first=True, **keys), torch.randn(4, 20, 5)
    with torch.no_grad():
        y = module(x)[0]
    y[1:3] = value
    found = rnnspect.check(module, x, recorded=y)
    assert found.verdict == "differ"
    assert f"all values of batch items 1, 2 are {value:g}, and the others are right" in str(found.reason).lower()
    y[0, 3] += 0.01
    assert rnnspect.check(module, x, recorded=y, explain=0).reason is None


def test_a_state_that_is_lost_at_each_step_is_no_padding() -> None:
    """Of an x that is the same at all steps, such a run stands still."""
    module, x = nn.RNN(5, 6, batch_first=True), torch.ones(2, 20, 5)
    with torch.no_grad():
        y = module(x[:, :1])[0].repeat(1, 20, 1)
    found = rnnspect.check(module, x, recorded=y)
    assert {cause.name for cause in found.causes} == {"state-not-carried"}
    assert found.reason is None


def test_a_right_run_that_stands_still_agrees() -> None:
    module, x = nn.RNN(5, 6, batch_first=True), torch.randn(2, 60, 5)
    x[:, 10:] = 1
    with torch.no_grad():
        y = module(x)[0]
        y[1, 50:] = y[1, 49]
        assert rnnspect.check(module, x, recorded=y, explain=0).agrees


def test_one_that_differs_before_its_end_has_none() -> None:
    module, x, y = padded(nn.LSTM)
    y[1, 3, 2] += 0.01
    found = rnnspect.check(module, x, recorded=y, explain=0.1)
    assert found.verdict == "differ"
    assert found.reason is None


def test_zeros_in_the_middle_are_no_padding() -> None:
    module, x = nn.GRU(5, 6, batch_first=True), torch.randn(2, 20, 5)
    with torch.no_grad():
        y = module(x)[0]
    y[1, 5:9] = 0
    found = rnnspect.check(module, x, recorded=y, explain=0.1)
    assert found.verdict == "differ"
    assert found.reason is None


@pytest.mark.parametrize("seed", [0, 4])
def test_zeros_in_both_do_not_hide_the_other_gradients(seed: int) -> None:
    """Three quarters of dL/dx are exactly zero, behind relus that are shut."""
    torch.manual_seed(seed)
    module = nn.RNN(7, 2, 2, nonlinearity="relu", batch_first=True)
    x = torch.randn(2, 2, 7, requires_grad=True)
    y, _ = module(x)
    went_in = torch.zeros_like(y)
    went_in[:, -1] = 1
    y.backward(went_in)
    assert x.grad is not None
    assert float((x.grad == 0).double().mean()) > 0.5
    shown = {"grad.x": x.grad, "grad.output": went_in}
    assert rnnspect.check(module, x.detach(), recorded=shown, backward=True, explain=0).agrees
    shown["grad.x"] = torch.where(x.grad == 0, 0, x.grad * 1.001)
    assert rnnspect.check(module, x.detach(), recorded=shown, backward=True, explain=0).verdict == "differ"


@pytest.mark.parametrize("constant", [False, True], ids=["drawn", "constant"])
def test_one_array_that_is_kept_at_each_step_and_overwritten_is_said(constant: bool) -> None:
    """With x that never changes, a state that is not carried gives the same output at each step, too."""
    torch.manual_seed(0)
    module = torch.nn.GRU(3, 4)
    x = torch.ones(9, 2, 3) if constant else torch.randn(9, 2, 3)
    with torch.no_grad():
        _, h_n = module(x)
        alone, _ = module(x[:1])
    recorded = {"output": (alone if constant else h_n).expand(9, -1, -1).clone()}
    found = rnnspect.check(module, x, recorded=recorded)
    said = any("was one array stored for all" in note for note in found.notes)
    assert (found.verdict, said) == ("differ", not constant)
    assert {cause.name for cause in found.causes} == ({"state-not-carried"} if constant else set())
