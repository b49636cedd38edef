"""Recorded gradients of which some are larger by far than others, in another unit: what roundings do to the large ones
says nothing of the small ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnnspect.api import check
from rnnspect.judging.verdict import Verdict

KINDS = pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])


def _recorded(model: torch.nn.RNNBase, x: Tensor, loss: Tensor) -> dict[str, Tensor]:
    (model(x)[0] * loss).sum().backward()
    return {"grad.output": loss} | {f"grad.{name}": p.grad.clone() for name, p in model.named_parameters()}


def _judged(model: torch.nn.RNNBase, x: Tensor, recorded: dict[str, Tensor]) -> Verdict:
    return check(model, x, recorded=recorded, backward=True, explain=0)


@KINDS
def test_a_column_of_a_feature_in_a_small_unit_is_judged_by_its_own_size(kind: str) -> None:
    torch.manual_seed(0)
    model = getattr(torch.nn, kind)(3, 4, batch_first=True)
    with torch.no_grad():
        model.weight_ih_l0[:, 2] /= 1e4  # so that nothing saturates
    x = torch.randn(2, 20, 3) * torch.tensor([1, 1, 1e4])
    recorded = _recorded(model, x, torch.randn(2, 20, 4))
    assert _judged(model, x, recorded).agrees
    recorded["grad.weight_ih_l0"][:, :2] *= -1
    assert _judged(model, x, recorded).verdict == "differ"


def test_dl_dx_of_a_feature_with_small_weights_is_judged_by_its_own_size() -> None:
    torch.manual_seed(0)
    model = torch.nn.GRU(3, 4, batch_first=True)
    with torch.no_grad():
        model.weight_ih_l0[:, 2] /= 1e8
    x = torch.randn(2, 20, 3).requires_grad_()
    recorded = _recorded(model, x, torch.randn(2, 20, 4))
    assert x.grad is not None
    recorded["grad.x"] = x.grad.clone()
    assert _judged(model, x.detach(), recorded).agrees
    recorded["grad.x"][..., 2] *= -1
    assert _judged(model, x.detach(), recorded).verdict == "differ"


def test_bias_gradients_of_units_that_have_little_part_in_the_loss_are_judged_by_their_own_size() -> None:
    torch.manual_seed(0)
    model = torch.nn.LSTM(3, 4, batch_first=True)
    with torch.no_grad():
        model.weight_hh_l0.zero_()  # units have nothing to do with each other
    x = torch.randn(2, 20, 3)
    recorded = _recorded(model, x, torch.randn(2, 20, 4) * torch.tensor([1e7, 1, 1, 1]))
    assert _judged(model, x, recorded).agrees
    for name in ("grad.bias_ih_l0", "grad.bias_hh_l0"):
        recorded[name].view(4, 4)[:, 1:] *= -1
    assert _judged(model, x, recorded).verdict == "differ"


def test_an_agreement_names_the_gradients_that_it_hardly_tells_of() -> None:
    """Two steps with x and nearly -x, and a loss that is their difference: dL/db is what is left of two numbers that
    cancel, dL/dW_ih is twice either."""
    torch.manual_seed(0)
    model = torch.nn.RNN(3, 4, batch_first=True)
    with torch.no_grad():
        for parameter in (model.weight_hh_l0, model.bias_ih_l0, model.bias_hh_l0):
            parameter.zero_()
    x, loss = torch.randn(1, 1, 3), torch.randn(1, 1, 4)
    x, loss = torch.cat([x, -x * (1 + 2**-20)], 1), torch.cat([loss, -loss], 1)
    found = _judged(model, x, _recorded(model, x, loss))
    assert found.agrees
    most = "a correct engine could be off by more than 10 % in most of dL/dbias_ih_l0, dL/dbias_hh_l0"
    assert f"{most}; a mistake there could stay unseen" in found.notes


def test_a_loss_that_was_recorded_in_too_narrow_a_dtype_is_told_so() -> None:
    torch.manual_seed(0)
    model, x = torch.nn.GRU(3, 4, batch_first=True), torch.randn(2, 20, 3)
    recorded = _recorded(model, x, torch.randn(2, 20, 4) * 3e4)
    recorded["grad.output"] = recorded["grad.output"].half()
    assert _judged(model, x, recorded).reason == (
        "dL/d output has numbers beyond the range that it was recorded in (float16); use float32"
    )


@pytest.mark.parametrize(("kind", "size"), [("RNN", 1e-38), ("GRU", 1e-36), ("LSTM", 1e-36), ("LSTM", 1e-38)])
def test_a_loss_near_the_smallest_numbers_is_to_be_scaled_up(kind: str, size: float) -> None:
    torch.manual_seed(0)
    model = getattr(torch.nn, kind)(3, 4, batch_first=True)
    x = torch.randn(4, 12, 3)
    found = _judged(model, x, _recorded(model, x, torch.randn(4, 12, 4) * size))
    assert found.reason == (
        "dL/d output is near the smallest numbers of float32, where gradients have few digits; scale the loss up"
    )


@pytest.mark.parametrize("factor", [-1, 0])
@KINDS
def test_a_column_of_a_token_that_only_early_steps_have_is_judged_by_its_own_size(kind: str, factor: int) -> None:
    """Little of the loss of the last step reaches the early ones."""
    torch.manual_seed(0)
    model, steps = getattr(torch.nn, kind)(12, 8, batch_first=True), 33
    tokens = torch.cat([torch.arange(3), torch.randint(3, 12, (steps - 3,))])
    x, loss = torch.nn.functional.one_hot(tokens, 12).float()[None], torch.zeros(1, steps, 8)
    loss[:, -1] = torch.randn(1, 8)
    recorded = _recorded(model, x, loss)
    assert _judged(model, x, recorded).agrees
    recorded["grad.weight_ih_l0"][:, :3] *= factor
    assert _judged(model, x, recorded).verdict == "differ"


@KINDS
def test_initial_states_of_units_that_have_little_part_in_the_loss_are_judged_by_their_own_size(kind: str) -> None:
    torch.manual_seed(0)
    model, x = getattr(torch.nn, kind)(3, 4, batch_first=True), torch.randn(2, 6, 3)
    with torch.no_grad():  # units have nothing to do with each other
        model.weight_hh_l0.copy_(torch.eye(4).repeat(len(model.weight_hh_l0) // 4, 1) / 2)
    names = ["h0", "c0"] if kind == "LSTM" else ["h0"]
    begun: dict[str, Any] = {name: torch.randn(1, 2, 4).requires_grad_() for name in names}
    loss = torch.randn(2, 6, 4) * torch.tensor([1e7, 1, 1, 1])
    state = tuple(begun.values())
    (model(x, state if kind == "LSTM" else state[0])[0] * loss).sum().backward()
    recorded = {"grad.output": loss} | {f"grad.{name}": one.grad.clone() for name, one in begun.items()}
    begun = {name: one.detach() for name, one in begun.items()}

    def judged() -> Verdict:
        return check(model, x, recorded=recorded, backward=True, explain=0, **begun)

    assert judged().agrees
    for name in names:
        recorded[f"grad.{name}"][..., 1:] *= -1
        assert judged().verdict == "differ"
        recorded[f"grad.{name}"][..., 1:] *= -1


def test_a_small_loss_in_float16_is_not_blamed_for_the_growth_of_rounding_errors() -> None:
    torch.manual_seed(0)
    model = torch.nn.GRU(3, 4, batch_first=True).half()
    with torch.no_grad():
        model.weight_hh_l0.mul_(12)
    x = torch.randn(4, 60, 3).half() / 20
    reasons = []
    for size in (0.01, 1e-5):
        model.zero_grad()
        recorded = _recorded(model, x, (torch.randn(4, 60, 4) * size).half())
        reasons.append(str(_judged(model, x, recorded).reason))
    assert reasons[0].endswith("use fewer steps, or a wider dtype than float16")
    assert reasons[1].endswith("scale the loss up")


def test_an_agreement_says_which_digits_hide_a_mistake() -> None:
    torch.manual_seed(0)
    model, x = torch.nn.RNN(3, 4, batch_first=True), torch.randn(2, 6, 3).requires_grad_()
    with torch.no_grad():
        model.weight_hh_l0.zero_()
    recorded = _recorded(model, x, torch.randn(2, 6, 4) * torch.tensor([1, 0.002, 0.002, 0.002]))
    assert x.grad is not None
    recorded |= {"grad.x": x.grad.clone()}
    few_of_loss = recorded | {"grad.output": recorded["grad.output"].round(decimals=3)}
    few_of_bias = recorded | {"grad.bias_ih_l0": recorded["grad.bias_ih_l0"].round(decimals=2)}
    loss = (
        "grad.output was recorded in 3 decimals, with which a correct engine could be off by more than 10 % in most of"
    )
    bias = "most numbers of grad.bias_ih_l0 were recorded in so few digits that they could be off by more than 10 %;"
    for shown, why in ((few_of_loss, loss), (few_of_bias, bias)):
        found = _judged(model, x.detach(), shown)
        assert found.agrees
        assert any(note.startswith(why) and note.endswith("a mistake there could stay unseen") for note in found.notes)
