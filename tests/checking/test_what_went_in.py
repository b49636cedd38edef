"""Recorded gradients beside what went in, whose few numbers are short by chance, as 1/40 is, or were rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect
from rnnspect.cli import main
from tests.marks import sampled

Arrays = dict[str, torch.Tensor]
NUMBERS = ((10, 4), (16, 5), (20, 10))
"""Steps and units whose mean divides by 40, 80 and 200."""


def run_of(steps: int, units: int, scale: float = 1.0) -> tuple[nn.LSTM, torch.Tensor, Arrays]:
    torch.manual_seed(0)
    module = nn.LSTM(3, units, batch_first=True)
    x = torch.randn(1, steps, 3, requires_grad=True)
    y, _ = module(x)
    went_in = torch.full_like(y, scale / y.numel())
    y.backward(went_in)
    found = {f"grad.{name}": p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    assert x.grad is not None
    return module, x.detach(), {**found, "grad.x": x.grad, "grad.output": went_in}


def checked(steps: int, units: int, change: Callable[[Arrays], None], **keys: Any) -> rnnspect.Verdict:
    module, x, arrays = run_of(steps, units)
    change(arrays)
    return rnnspect.check(module, x, recorded=arrays, backward=True, explain=0, **keys)


def nothing(_arrays: Arrays) -> None:
    """As they are."""


def one_row(arrays: Arrays) -> None:
    arrays["grad.weight_hh_l0"][0] *= 0.99


def all_of_them(arrays: Arrays) -> None:
    for name in set(arrays) - {"grad.output"}:
        arrays[name] *= 0.995


@pytest.mark.parametrize(("steps", "units"), sampled(NUMBERS, 3))
def test_a_short_number_is_no_proof_of_rounding(steps: int, units: int) -> None:
    assert checked(steps, units, nothing).agrees
    assert checked(steps, units, one_row).verdict == "differ"


def test_what_was_rounded_is_part_of_what_an_agreement_allows() -> None:
    def to_digits(arrays: Arrays) -> None:
        for name, values in arrays.items():
            arrays[name] = torch.from_numpy(np.round(values.numpy(), 5))

    found = checked(10, 4, to_digits)
    assert found.agrees
    assert "rounding error and that of the recording" in " ".join(str(found).split())


def test_gradients_that_are_all_alike_smaller_may_be_those_of_another_number() -> None:
    found = checked(10, 4, all_of_them)
    assert found.verdict == "cannot tell"
    assert "nothing but 0.025, which may have been rounded to 3 decimals" in str(found.reason)
    assert "those of 0.024875" in str(found.reason)
    assert "--recorded-as exact" in str(found.reason)


@pytest.mark.parametrize("keys", [{"recorded_as": "exact"}, {"loss": "mean"}], ids=str)
def test_what_somebody_says_decides(keys: dict[str, str]) -> None:
    assert checked(10, 4, all_of_them, **keys).verdict == "differ"
    assert checked(10, 4, nothing, **keys).agrees


def test_a_number_that_was_rounded_is_not_called_wrong() -> None:
    """1/28 in three decimals is 0.036."""
    module, x, arrays = run_of(7, 4)
    rounded = arrays | {"grad.output": torch.round(arrays["grad.output"], decimals=3)}
    found = rnnspect.check(module, x, recorded=rounded, backward=True, explain=0)
    assert found.verdict == "cannot tell"
    assert "those of 0.0357143" in str(found.reason)
    rounded["grad.weight_hh_l0"] = 1.5 * rounded["grad.weight_hh_l0"]
    wrong = rnnspect.check(module, x, recorded=rounded, backward=True, explain=0)
    assert wrong.verdict == "differ"
    assert str(wrong.pattern).endswith("dL/dweight_hh_l0")


def test_a_few_numbers_prove_nothing_either() -> None:
    """Two numbers, each in three decimals: the gradients are those of others."""
    module, x, _ = run_of(10, 4)
    module.zero_grad()
    y, _ = module(x)
    went_in = torch.full_like(y, 0.025)
    went_in[:, 5:] = 0.0122
    y.backward(went_in)
    arrays = {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    rounded = torch.full_like(y, 0.025).index_fill(1, torch.arange(5, 10), 0.012).detach()
    found = rnnspect.check(module, x, recorded={**arrays, "grad.output": rounded}, backward=True, explain=0)
    assert found.verdict == "cannot tell"


def test_the_command_says_one_thing(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    module, x, arrays = run_of(10, 4)
    all_of_them(arrays)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    np.save(tmp_path / "x.npy", x.numpy())
    np.savez(tmp_path / "run.npz", **{name: values.numpy() for name, values in arrays.items()})
    asked = ["check", str(tmp_path / "model.pt"), "--input", str(tmp_path / "x.npy"), "--backward"]
    recorded = [*asked, "--recorded", str(tmp_path / "run.npz"), "--explain", "0"]
    assert main(recorded) == 3
    assert "DIFFER" not in capsys.readouterr().out
    assert main([*recorded, "--recorded-as", "exact"]) == 1
    assert "DIFFER" in capsys.readouterr().out


@pytest.mark.each_value_once
@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("decimals", [3, 4, 6])
def test_one_number_that_was_rounded_with_all_others_is_not_called_wrong(decimals: int, said: bool) -> None:
    """1/12 beside gradients of as few decimals, none of which shows by itself what it was."""
    for seed in range(3):
        torch.manual_seed(seed)
        module = nn.LSTM(3, 2, batch_first=True).double()
        x = torch.randn(2, 3, 3, dtype=torch.double, requires_grad=True)
        y = module(x)[0]
        y.retain_grad()
        y.mean().backward()
        grads = {"output": y.grad, "x": x.grad} | {name: p.grad for name, p in module.named_parameters()}
        recorded = {f"grad.{name}": torch.round(g, decimals=decimals) for name, g in grads.items() if g is not None}
        keys = {"recorded_as": f"decimals:{decimals}"} if said else {}
        found = rnnspect.check(module, x.detach(), recorded=recorded, backward=True, explain=0, **keys)
        assert found.verdict != "differ", seed
        recorded["grad.weight_hh_l0"][0, 0] += 0.05
        wrong = rnnspect.check(module, x.detach(), recorded=recorded, backward=True, explain=0, **keys)
        assert wrong.verdict == "differ", seed


@pytest.mark.parametrize("every", [True, False])
def test_a_short_number_hides_no_mistake_beside_numbers_with_all_their_digits(every: bool) -> None:
    """0.01 may be any number from 0.005 to 0.015 where eight numbers alone stand beside it: fewer steps do not help.
    Of many that show that they were not rounded a mistake is seen."""
    module, x, arrays = run_of(50, 2)
    torch.manual_seed(1)
    for name in set(arrays) - {"grad.output"}:
        arrays[name] *= 1 + 0.1 * torch.randn_like(arrays[name])
    shown = {name: g for name, g in arrays.items() if every or name in ("grad.output", "grad.bias_ih_l0")}
    found = rnnspect.check(module, x, recorded=shown, backward=True, explain=0)
    assert found.verdict == ("differ" if every else "cannot tell")
    assert every or "nothing but 0.01, which may have been rounded to 2 decimals" in str(found.reason)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_an_item_that_the_loss_does_not_look_at_says_nothing_of_the_others(kind: str) -> None:
    torch.manual_seed(0)
    module = getattr(nn, kind)(3, 4, batch_first=True)
    x, went_in = torch.randn(2, 3, 3), torch.randn(2, 3, 4)
    went_in[1] = 0
    module(x)[0].backward(went_in)
    arrays = {"grad.output": went_in} | {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    assert rnnspect.check(module, x, recorded=arrays, backward=True, explain=0).agrees
    doubled = {name: g if name == "grad.output" else 2 * g for name, g in arrays.items()}
    assert rnnspect.check(module, x, recorded=doubled, backward=True, explain=0).verdict == "differ"


@pytest.mark.slow
def test_zeros_were_not_rounded_as_a_short_number_that_went_in_was() -> None:
    """0.01 has two decimals, and gradients with all their digits stand beside it: a detached h0 is seen."""
    for seed in range(2):
        torch.manual_seed(seed)
        module, x, h0 = nn.GRU(3, 4), torch.randn(25, 1, 3), torch.randn(1, 1, 4)
        y, _ = module(x, h0)
        y.mean().backward()
        arrays = {"grad.output": torch.full_like(y, 0.01).detach(), "grad.h0": torch.zeros_like(h0)}
        arrays |= {f"grad.{name}": p.grad for name, p in module.named_parameters()}
        found = rnnspect.check(module, x, h0=h0, recorded=arrays, backward=True)
        assert [cause.name for cause in found.causes] == ["grad-initial-state-detached"], seed


def test_a_loss_that_is_another_one_than_that_of_the_recording_is_told() -> None:
    note = "grad.output of the recording is not that of the loss"
    for loss, told in (("mean", False), ("sum", True)):
        found = checked(10, 4, nothing, loss=loss)
        assert any(one.startswith(note) for one in found.notes) is told
        assert (found.verdict == "differ") is told


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_digits_of_what_went_in_are_the_reason_that_nothing_can_be_told(dtype: torch.dtype) -> None:
    """Numbers of 0.001 in four decimals: neither fewer steps nor a wider dtype would help."""
    torch.manual_seed(0)
    module, x = nn.GRU(3, 16, batch_first=True).to(dtype), torch.randn(2, 20, 3, dtype=dtype)
    y, _ = module(x)
    y.retain_grad()
    ((y - torch.randn_like(y)) ** 2).mean().backward()
    shown = {"grad.output": y.grad} | {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    rounded = {name: torch.round(g, decimals=4) for name, g in shown.items() if g is not None}
    found = rnnspect.check(module, x, recorded=rounded, backward=True, explain=0)
    assert found.verdict == "cannot tell"
    assert "grad.output was recorded in 4 decimals" in str(found.reason)
    assert "more digits" in str(found.reason)
    assert "fewer steps" not in str(found.reason)
