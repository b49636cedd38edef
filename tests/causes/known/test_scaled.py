"""A factor of x or of the output is read only where there is more to it than chance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnnspect


@pytest.mark.parametrize("seed", [12, 31])
def test_an_output_that_no_factor_makes_right_has_none(seed: int) -> None:
    """Zeros lead a search for a factor to smaller and smaller ones, of either sign."""
    torch.manual_seed(seed)
    module, x = nn.LSTM(3, 1), torch.randn(3, 3)
    with torch.no_grad():
        y = module(x)[0].relu()
    found = rnnspect.check(module, x, recorded=y)
    assert found.verdict == ("differ" if bool((y == 0).any()) else "agree")
    assert not any(cause.name == "input-scaled" for cause in found.causes)


@pytest.mark.parametrize("seed", range(2))
def test_one_number_has_no_factor(seed: int) -> None:
    torch.manual_seed(seed)
    module, x = nn.GRU(3, 1), torch.randn(1, 3)
    with torch.no_grad():
        y = module(x)[0]
    found = rnnspect.check(module, x, recorded=y * 1.7)
    assert found.verdict == "differ"
    assert not any("scaled" in cause.name for cause in found.causes)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [32767, 32768])
def test_whole_numbers_are_a_quantised_output(scale: int) -> None:
    torch.manual_seed(3)
    module, x = nn.GRU(3, 4), torch.randn(60, 2, 3)
    with torch.no_grad():
        y = module(x)[0]
    (cause,) = rnnspect.check(module, x, recorded=(y * scale).round()).causes
    assert (cause.name, cause.parameters) == ("output-scaled", {"factor": scale})
    assert not rnnspect.check(module, x, recorded=(y * 1000).round()).causes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_factor_is_not_measured_on_one_number() -> None:
    """Weights in 12 bits, of a run that shows one number a step, above a layer that was not recorded."""
    for seed in (9, 15, 18):
        torch.manual_seed(seed)
        module, x = nn.LSTM(5, 4, 2, proj_size=1), torch.randn(5, 5)
        quantised = nn.LSTM(5, 4, 2, proj_size=1)
        for name, w in module.state_dict().items():
            step = w.abs().max() / 2047
            quantised.state_dict()[name].copy_((w / step).round() * step)
        with torch.no_grad():
            found = rnnspect.check(module, x, recorded=quantised(x)[0], explain=2)
        assert not any(cause.name in ("output-scaled", "tf32-products") for cause in found.causes)


@pytest.mark.slow
def test_the_input_of_a_stack_in_both_directions() -> None:
    """Of which nobody saw the lowest layer."""
    torch.manual_seed(0)
    module, x = nn.GRU(4, 5, 2, bidirectional=True), torch.randn(7, 3, 4)
    with torch.no_grad():
        y = module(x / 255)[0]
    (cause,) = rnnspect.check(module, x, recorded=y).causes
    assert cause.name == "input-scaled"
    assert cause.parameters["factor"] == pytest.approx(1 / 255, rel=1e-5)  # six digits of it are said


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize(("form", "factor"), [("%.5e", 1 / 255), ("%.3e", 0.8), ("%.3e", 2.5), ("%.4f", 0.8)])
def test_a_factor_of_x_is_told_of_a_run_in_few_digits(kind: str, form: str, factor: float) -> None:
    """The first step alone says too little of it."""
    torch.manual_seed(0)
    module, x = getattr(torch.nn, kind)(5, 5), torch.rand(40, 2, 5)
    y = module(factor * x)[0].detach()
    written = torch.tensor([float(form % v) for v in y.flatten().tolist()]).view_as(y)
    (cause,) = rnnspect.check(module, x, recorded=written).causes
    assert cause.name == "input-scaled"
    assert cause.parameters["factor"] == pytest.approx(factor, rel=1e-5)
