"""Recordings in few digits: a right run never differs because of them, and a wrong one always does.

The engine's numbers are torch's own, and what is written of them is rounded by Python's format or by a cast: no
tolerance of a test is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.errors import InputError
from rnnspect.judging import if_rounded

pytestmark = pytest.mark.usefixtures("no_causes")


def relu(scale: float = 1.0, steps: int = 6) -> tuple[torch.nn.RNN, torch.Tensor, torch.Tensor]:
    """A network with large h, what it was given, and its output."""
    torch.manual_seed(1)
    module = torch.nn.RNN(3, 5, nonlinearity="relu")
    x = scale * torch.randn(steps, 2, 3)
    with torch.no_grad():
        return module, x, module(x)[0]


def saturated() -> tuple[torch.nn.RNN, torch.Tensor, torch.Tensor]:
    """A network whose h is within 1e-4 of ±1, and not ±1."""
    torch.manual_seed(1)
    module = torch.nn.RNN(1, 1)
    with torch.no_grad():
        module.weight_ih_l0.fill_(6.0)
        x = torch.sign(torch.randn(6, 1, 1))
        return module, x, module(x)[0]


def written(form: str, values: torch.Tensor) -> torch.Tensor:
    if form.startswith("%"):
        return torch.tensor([float(form % v) for v in values.flatten().tolist()]).reshape(values.shape)
    return values.to(getattr(torch, form)).float()


LARGE = ["%.3e", "%.2e", "%.4g", "%.0f", "bfloat16"]
"""From 1e4 on each of these gives integers alone, which an exact recording of a network of integers may have too."""
ONES = ["%.1f", "%.2f", "%.3f", "%.2e", "%.3g", "bfloat16", "float16"]
"""In each of these h is ±1."""


@pytest.mark.parametrize("form", LARGE)
def test_integers_in_few_digits(form: str) -> None:
    module, x, y = relu(3e4)
    taken_apart(module, x, y, written(form, y[-1]), form)


@pytest.mark.parametrize("form", ONES)
def test_ones_in_few_digits(form: str) -> None:
    module, x, y = saturated()
    assert not bool((y.abs() == 1).any())
    taken_apart(module, x, y, written(form, y[-1]), form)


def taken_apart(module: torch.nn.RNN, x: torch.Tensor, y: torch.Tensor, h_n: torch.Tensor, form: str) -> None:
    """A final state of which nobody can tell how it was rounded: not wrong for that; and wrong once it is said that
    it was not rounded, or where it is another one."""

    def check(recorded: Any, recorded_as: str | None = None) -> rnnspect.Verdict:
        return rnnspect.check(module, x, recorded={"h_n": recorded}, recorded_as=recorded_as)

    assert check(y[-1][None]).verdict != "differ", "all digits"
    verdict = check(h_n[None])
    assert verdict.verdict == "cannot tell"
    assert verdict.reason is not None
    assert "pass --recorded-as" in verdict.reason
    named = verdict.reason.split("pass --recorded-as ")[1].split()[0]
    for said in (named, form):
        assert check(h_n[None], said).verdict != "differ"
    assert check(h_n[None], "exact").verdict == "differ"
    assert check(-h_n[None]).verdict == "differ" if h_n.min() < 0 else check(1.2 * h_n[None]).verdict == "differ"


@pytest.mark.parametrize("seed", [266, 552, 1253, 1811])
def test_text_of_large_numbers_of_bfloat16(seed: int) -> None:
    """Integers of up to 1.6e7, of which nothing tells that they had four digits and were numbers of bfloat16 before.
    Sums that cancel show how far the text is off."""
    torch.manual_seed(seed)
    module = torch.nn.RNN(3, 12, nonlinearity="relu").to(torch.bfloat16)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(4 * torch.randn_like(parameter))
        x = (1e4 * torch.randn(3, 1, 3)).to(torch.bfloat16)
        text = written("%.3e", module(x)[0].double()).double()
    assert bool((text == text.round()).all())
    verdict = rnnspect.check(module, x, recorded=text, explain=0)
    assert verdict.verdict == "cannot tell", verdict.first


def test_what_an_advised_rounding_hides_is_said_with_the_advice() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(3, 4), torch.randn(40, 2, 3)
    y = (module(x)[0].detach() * 16).round() / 16
    (first, then) = (rnnspect.check(module, x, recorded=y, recorded_as=how) for how in (None, "bits:4"))
    assert first.verdict == then.verdict == "cannot tell"
    assert "pass --recorded-as bits:4 if they were, " in str(first.reason)
    assert "record every digit" in str(then.reason)
    assert str(first.reason).endswith(f"; if they were, it is still too little to be sure ({then.reason})")


def test_numbers_that_no_single_rounding_explains_are_of_one_array_too() -> None:
    """Of several arrays each may be rounded in another way, and of one its large numbers and its small ones."""
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(3, 4), torch.randn(40, 2, 3)
    reason = if_rounded._cannot_tell(None, rnnspect.check(module, x, recorded=module(x)[0].detach())).reason
    assert reason == "its numbers appear rounded, but not all in the same way; record every digit"


def test_an_answer_says_that_it_allows_for_the_rounding_of_a_recording() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(3, 4), torch.randn(40, 2, 3)
    y = module(x)[0].detach()
    for recorded, rounded in ((y, False), (y.double().round(decimals=5), True)):
        found = rnnspect.check(module, x, recorded=recorded)
        assert found.agrees
        assert found.rounded == rounded
        assert ("and that of the recording" in " ".join(str(found).split())) == rounded


def test_what_was_said_is_what_the_notes_say() -> None:
    module, x, y = saturated()
    verdict = rnnspect.check(module, x, recorded=written("%.4f", y), recorded_as="%.4f")
    assert verdict.notes == ("output appears rounded to 4 decimals",)
    assert rnnspect.check(module, x, recorded=y, recorded_as="exact").notes == ()


def test_numbers_with_more_digits_than_somebody_says() -> None:
    """A wrong number would pass with the error of a rounding that never was."""
    module, x, y = relu()
    with pytest.raises(InputError, match="is not rounded to 2 decimals; choose a rounding"):
        rnnspect.check(module, x, recorded=y, recorded_as="decimals:2")
    with pytest.raises(
        InputError, match="recorded_as: no way of rounding is called 'decimal'; did you mean 'decimals:4'"
    ):
        rnnspect.check(module, x, recorded=y, recorded_as="decimal")


def test_an_array_that_was_not_rounded_is_exact_beside_one_that_was() -> None:
    module, x, y = relu()
    wrong = y[-1:] * (1 + 1e-4)
    found = {"output": written("%.2f", y), "h_n": wrong}
    verdict = rnnspect.check(module, x, recorded=found, recorded_as="decimals:2")
    assert verdict.notes[0] == "output appears rounded to 2 decimals"


@pytest.mark.each_value_once
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("form", ["%.1f", "%.2f", "%.3e", "%.2g", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU])
def test_a_mistake_in_a_rounded_recording_still_differs(form: str, kind: Any) -> None:
    """The bias is left out: all of h moves by more than a rounding does, which follows from the numbers themselves."""
    torch.manual_seed(0)
    module, x = kind(4, 8), torch.randn(12, 2, 4)
    with torch.no_grad():
        module.bias_ih_l0.add_(1.5)
        right = module(x)[0]
        mistaken = kind(4, 8)
        mistaken.load_state_dict(module.state_dict())
        mistaken.bias_ih_l0.zero_()
        wrong = mistaken(x)[0]
    assert rnnspect.check(module, x, recorded=written(form, right)).verdict != "differ"
    assert rnnspect.check(module, x, recorded=written(form, wrong)).verdict == "differ"


def test_a_mistake_in_an_exact_recording_is_not_taken_for_rounding() -> None:
    """One number that is 2e-6 off, among those that nobody rounded: a rounding to six digits would explain it."""
    module, x, y = relu()
    y[3, 1, int(y[3, 1].argmax())] += 2e-6 * 4
    verdict = rnnspect.check(module, x, recorded=y)
    assert verdict.verdict == "differ"
    assert verdict.notes == ()


def test_differences_of_a_few_units_are_told_beside_the_verdict() -> None:
    """Two units of the last digit are no rounding, which is half of one; numbers that were rounded again and again may
    be so far off."""
    module, x, y = relu()
    rounded = written("%.3f", y)
    rounded[3, 1, int(y[3, 1].argmax())] += 2e-3
    verdict = rnnspect.check(module, x, recorded=rounded)
    assert verdict.verdict == "differ"
    assert verdict.notes[0].startswith(
        "every difference is below 4 units of 3 decimals: perhaps the recorded values were"
    )
    rounded[3, 1, int(y[3, 1].argmax())] += 2e-2
    verdict = rnnspect.check(module, x, recorded=rounded)
    assert verdict.verdict == "differ"
    assert verdict.notes == ("output appears rounded to 3 decimals",)


CUT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "truncated:decimals:4": lambda v: (v.double() * 1e4).trunc() / 1e4,
    "floored:decimals:3": lambda v: (v.double() * 1e3).floor() / 1e3,
    "floored:bits:15": lambda v: ((v.double() * 2**15).floor() / 2**15).float(),
    "truncated:bits:11": lambda v: ((v.double() * 2**11).trunc() / 2**11).float(),
    "truncated:bfloat16": lambda v: (v.view(torch.int32) & -0x10000).view(torch.float32),
}
"""As a cast to an integer does it, fixed point, and a shift of the bits of a float."""


@pytest.mark.each_value_once
@pytest.mark.parametrize("way", CUT)
@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU])
def test_numbers_that_were_cut_off(way: str, kind: Any) -> None:
    torch.manual_seed(1)
    module, x, nearest = kind(3, 4), torch.randn(50, 1, 3), way.partition(":")[2]
    with torch.no_grad():
        y = module(x)[0]
    cut = CUT[way](y)
    verdict = rnnspect.check(module, x, recorded=cut)
    assert verdict.verdict == "cannot tell"
    assert f"pass --recorded-as {way} if they were, --recorded-as {nearest} if not" in str(verdict.reason)
    assert rnnspect.check(module, x, recorded=cut, recorded_as=way).verdict != "differ"
    assert rnnspect.check(module, x, recorded=cut, recorded_as=nearest).verdict == "differ"
    step = 2 * (cut - y).abs().max()
    cut[30, 0, int(y[30, 0].abs().argmax())] += step * 1.5  # no longer cut off there
    assert rnnspect.check(module, x, recorded=CUT[way](cut.float())).verdict == "differ"


@pytest.mark.parametrize("digits", [None, 6])
def test_final_states_that_were_cut_off_beside_an_output_that_was_not(digits: int | None) -> None:
    """That their differences lean to one side, no h tells; and an output in another form was kept as it shows."""
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(3, 4), torch.randn(30, 2, 3)
    with torch.no_grad():
        y, (_, c_n) = module(x)
    cut = CUT["truncated:decimals:4"](c_n)
    shown = y if digits is None else np.vectorize(lambda one: float(f"{one:.{digits}g}"))(y.double().numpy())
    recorded = {"output": shown, "c_n": cut}
    verdict = rnnspect.check(module, x, recorded=recorded)
    assert verdict.verdict == "cannot tell"
    assert "pass --recorded-as truncated:decimals:4 if they were" in str(verdict.reason)
    cut[0, 1, 2] += 3e-4
    assert rnnspect.check(module, x, recorded=recorded, explain=0).verdict == "differ"


def test_the_coarsest_grid_that_all_numbers_lie_on_is_the_one_they_were_cut_off_to() -> None:
    """Below 1 multiples of 1/1024 are numbers of float16, and of 1/2048 as well."""
    torch.manual_seed(0)
    module = torch.nn.GRU(5, 8, batch_first=True)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 50, 5))).float()
    cut = (module(x)[0].detach() * 2**10).floor() / 2**10
    verdict = rnnspect.check(module, x, recorded=cut)
    assert "pass --recorded-as floored:bits:10 if they were" in str(verdict.reason)


def test_zero_may_be_what_was_cut_off_of_either_sign() -> None:
    torch.manual_seed(1)
    module, x = torch.nn.RNN(3, 40), torch.randn(50, 1, 3)
    with torch.no_grad():
        y = module(x)[0]
    cut = ((y * 2**8).trunc() / 2**8).float()
    zero = cut == 0
    assert bool((y[zero] > 2**-9).any())
    assert bool((y[zero] < -(2**-9)).any())
    assert rnnspect.check(module, x, recorded=cut, recorded_as="truncated:bits:8").verdict != "differ"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("how", ["decimals:3", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_what_is_not_a_number_differs_however_the_others_were_rounded(kind: str, how: str, value: float) -> None:
    """It was recorded as it is: what the others lost says nothing of it, nor of c."""
    torch.manual_seed(7)
    module, x = getattr(torch.nn, kind)(6, 10), torch.randn(60, 2, 6)
    y = module(x)[0].detach()
    y = (y * 1e3).round() / 1e3 if how == "decimals:3" else y.to(getattr(torch, how)).float()
    assert rnnspect.check(module, x, recorded=y.clone()).verdict != "differ"
    y[50, 1, 2] = value
    found = rnnspect.check(module, x, recorded=y, explain=0)
    assert found.first is not None
    assert (found.first.step, found.first.batch, found.first.unit) == (50, 1, 2)


def test_half_numbers_that_overflowed_cannot_be_judged() -> None:
    """Beyond 65504 a float16 is infinite."""
    module, x, y = relu(1e6)
    assert bool((y > 7e4).any())
    for recorded in ({"output": y.half().float()}, {"h_n": y[-1:].half().float()}):
        assert rnnspect.check(module, x, recorded=recorded).verdict == "cannot tell"


def test_a_cell_state_that_overflowed_float16_is_not_called_wrong() -> None:
    torch.manual_seed(0)
    module, x, c0 = torch.nn.LSTM(3, 4, batch_first=True), torch.randn(1, 6, 3), torch.full((1, 1, 4), 3e5)
    steps = rnnspect.trace(module, x, c0=c0).to_numpy()
    c = torch.from_numpy(steps["l0.forward.c"])
    assert bool((c > 7e4).any())
    recorded = {"output": torch.from_numpy(steps["engine.output"]), "l0.forward.c": c.half().float()}
    assert rnnspect.check(module, x, c0=c0, recorded=recorded, explain=0).verdict != "differ"


@pytest.mark.parametrize(("bits", "gain"), [(8, 22), (11, 1), (12, 1)])
def test_fixed_point_of_a_layer_of_small_numbers_is_that_of_the_others(bits: int, gain: float) -> None:
    """One layer's numbers are 0 and ±1 step: by themselves they may be anything, beside the other's they are not."""
    torch.manual_seed(21)
    module = torch.nn.RNN(3, 3, 2, bias=False)
    layers = [torch.nn.RNN(3, 3, bias=False) for _ in range(2)]
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.mul_(0.02)
            getattr(layers[int(name[-1])], f"{name[:-1]}0").copy_(p)
        x = gain * torch.randn(8, 1, 3)
        low = layers[0](x)[0]
        high = layers[1](low)[0]
    recorded = {name: (h * 2**bits).round() / 2**bits for name, h in (("l0.forward.h", low), ("output", high))}
    found = rnnspect.check(module, x, recorded=recorded)
    assert found.verdict != "differ", found.first
    recorded["l0.forward.h"][5, 0, 1] += 3 / 2**bits
    assert rnnspect.check(module, x, recorded=recorded).verdict == "differ"
