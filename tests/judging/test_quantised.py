"""Recorded numbers that were quantised: multiples of a step that is neither a power of two nor of ten."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import rnnspect
from rnnspect.judging.quantised import multiple_of
from rnnspect.judging.rounding import Rounding, named

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def sizes(values: Tensor) -> Tensor:
    """|v|, each once and in order."""
    return values.double().abs().unique()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("size", [5e-324, 1e-320, 1e-300, 1e200, 1e304])
def test_numbers_at_the_ends_of_float64_have_no_step(size: float) -> None:
    """Of a run that explodes, or that dies away: their squares, or the inverse of a step, would be infinite."""
    counts = torch.tensor([1, 2, 3, 5, 8, 11, 14, 20, 31, 47, 101], dtype=torch.float64)
    assert multiple_of(counts * size, torch.float64) is None
    assert multiple_of(torch.linspace(1, 997, 50, dtype=torch.float64).sqrt() * size, torch.float64) is None


@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.floats(1e-4, 0.02),
    count=st.integers(40, 400),
    dtype=st.sampled_from(list(DTYPES)),
)
def test_the_step_is_found_of_multiples_and_of_no_others(seed: int, step: float, count: int, dtype: str) -> None:
    draw = np.random.default_rng(seed)
    values = np.tanh(draw.standard_normal(count))
    counts = np.round(values / step)
    found = multiple_of(sizes(torch.tensor(counts * step, dtype=DTYPES[dtype]))[1:], DTYPES[dtype])
    assert found is not None
    times = found / step  # all may be even, by chance
    assert times == pytest.approx(round(times), rel=1e-5)
    assert multiple_of(sizes(torch.tensor(values, dtype=DTYPES[dtype])), DTYPES[dtype]) is None


def test_a_step_that_is_known_too_roughly_for_most_numbers_is_given_up() -> None:
    """It fits those that lie next to each other, and none further away."""
    values = torch.cat([torch.arange(1, 20) * 1e-3, 0.5 + torch.arange(5) * 1.37e-3])
    assert multiple_of(sizes(values.float()), torch.float32) is None


def test_few_numbers_and_those_of_few_bits_say_nothing() -> None:
    assert multiple_of(sizes(torch.tensor([1.0, 2, 3, 5, 6, 7, 9]) / 127), torch.float32) is None
    assert multiple_of(sizes(torch.rand(4000)), torch.float32) is None  # some are a last place apart


def output(kind: str, seed: int) -> tuple[nn.RNNBase, Tensor, Tensor]:
    torch.manual_seed(seed)
    module: nn.RNNBase = getattr(nn, kind)(5, 8, batch_first=True)
    x = torch.randn(3, 50, 5)
    with torch.no_grad():
        return module, x, module(x)[0]


def per_tensor(y: Tensor) -> Tensor:
    """As torch.quantize_per_tensor in quint8."""
    step = float(y.max() - y.min()) / 255
    zero = round(float(-y.min()) / step)
    return ((y / step + zero).round().clamp(0, 255) - zero) * step


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_right_run_that_was_quantised_is_not_called_wrong(kind: str) -> None:
    for seed in range(4):
        module, x, y = output(kind, seed)
        for steps in (127, 32767):
            found = rnnspect.check(module, x, recorded=(y * steps).round() / steps, explain=0)
            assert found.verdict != "differ", (seed, steps)
            assert f"output appears rounded to multiples of 1/{steps}" in found.notes
        assert rnnspect.check(module, x, recorded=per_tensor(y), explain=0).verdict != "differ", seed


def test_a_wrong_number_among_them_is_seen() -> None:
    module, x, y = output("GRU", 0)
    recorded = (y * 127).round() / 127
    recorded[1, 20, 3] += 2 / 127
    found = rnnspect.check(module, x, recorded=recorded, explain=0)
    assert found.first is not None
    assert (found.verdict, found.first.step, found.first.unit) == ("differ", 20, 3)


def test_an_input_of_pixels_was_not_rounded() -> None:
    """It is compared with that of the recording, number by number."""
    module, _, _ = output("GRU", 0)
    pixels = (torch.rand(3, 20, 5) * 255).round() / 255
    with torch.no_grad():
        recorded = {"x": pixels.clone(), "output": module(pixels)[0]}
    assert rnnspect.check(module, pixels, recorded=recorded).agrees
    recorded["x"][0, 3, 2] += 1e-3
    with pytest.raises(rnnspect.SequenceError, match="x"):
        rnnspect.check(module, pixels, recorded=recorded)


@pytest.mark.parametrize(
    ("said", "step", "name"),
    [("multiples:1/127", 1 / 127, "multiples:1/127"), ("multiples:0.0123", 0.0123, "multiples:0.0123")],
)
def test_it_can_be_said(said: str, step: float, name: str) -> None:
    assert (rounding := named(said)) == Rounding(multiples=step)
    assert rounding is not None
    assert rounding.name == name
    module, x, y = output("RNN", 1)
    assert (
        rnnspect.check(module, x, recorded=(y / step).round() * step, recorded_as=said, explain=0).verdict != "differ"
    )
    with pytest.raises(rnnspect.InputError, match="is not rounded to multiples of"):
        rnnspect.check(module, x, recorded=y, recorded_as=said)


@pytest.mark.parametrize("said", ["multiples:1/1" + "0" * 400, "multiples:1" + "0" * 400, "multiples:0"])
def test_a_step_that_is_no_finite_number_is_refused(said: str) -> None:
    with pytest.raises(rnnspect.InputError, match="no way of rounding"):
        named(said)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [0.9999997 / 127, float(np.float32(1 / 127)), float(np.float32(1 / 255))])
def test_a_step_that_is_nearly_one_over_a_whole_number_is_not_taken_for_it(step: float, dtype: str) -> None:
    """As max/127 of a saturated output is, or a scale in float32 that was multiplied in float64."""
    counts = torch.arange(1, 128, dtype=torch.float64)
    found = multiple_of((counts * step).to(DTYPES[dtype]).double(), DTYPES[dtype])
    assert found == pytest.approx(step, rel=torch.finfo(DTYPES[dtype]).eps)
    module, x, y = output("RNN", 1)
    recorded = ((y / step).round().double() * step).to(DTYPES[dtype])
    assert rnnspect.check(module, x, recorded=recorded, explain=0).verdict != "differ"


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_right_gradients_that_were_quantised_each_by_its_own_step(kind: str) -> None:
    module, x, _ = output(kind, 0)
    y, _ = module(x)
    went_in = torch.randn(y.shape)
    y.backward(went_in)
    recorded = {"grad.output": went_in}
    for name, p in module.named_parameters():
        assert p.grad is not None
        step = p.grad.abs().max() / 127
        recorded[f"grad.{name}"] = (p.grad / step).round() * step
    found = rnnspect.check(module, x, recorded=recorded, backward=True, explain=0)
    assert found.verdict != "differ", found.first
    assert sum("multiples of" in note for note in found.notes) >= 3
    recorded["grad.weight_hh_l0"] = -recorded["grad.weight_hh_l0"]
    assert rnnspect.check(module, x, recorded=recorded, backward=True, explain=0).verdict == "differ"


@pytest.mark.parametrize("steps", [127, 255, 32767])
@pytest.mark.parametrize("wide", [False, True])
def test_final_states_alone_tell_a_step_that_is_usual(steps: int, wide: bool) -> None:
    """Some are zero, and few are different."""
    for seed in range(4):
        torch.manual_seed(seed)
        module = nn.LSTM(3, 4, 2, bias=False)
        x = 0.3 * torch.randn(8, 2, 3)
        with torch.no_grad():
            states = dict(zip(("h_n", "c_n"), module(x)[1], strict=True))
        recorded = {name: (of * steps).round() / steps for name, of in states.items()}
        found = rnnspect.check(
            module, x, recorded={name: of.double() if wide else of for name, of in recorded.items()}, explain=0
        )
        assert found.verdict != "differ", seed
        recorded["h_n"][1, 0] += 3 / steps
        assert rnnspect.check(module, x, recorded=recorded, explain=0).verdict == "differ", seed
