"""A layer that nobody observed, on input that an engine rounds the same way at every step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.judging.assumption import Assumption, Stack
from rnnspect.judging.estimate import estimate
from rnnspect.tracing.prepare import prepare
from tests.marks import sampled

pytestmark = pytest.mark.usefixtures("no_causes")

STEPS = 5000


def constant() -> Tensor:
    return torch.randn(1, 1, 8).expand(STEPS, 1, 8).contiguous()


def periodic() -> Tensor:
    return torch.sin(torch.arange(STEPS).view(-1, 1, 1) / 7) * torch.randn(1, 1, 8)


@pytest.mark.parametrize("x_of", [constant, periodic])
@pytest.mark.parametrize("seed", sampled(range(4), 4))
def test_roundings_that_repeat_below_a_long_memory(x_of: Callable[[], Tensor], seed: int) -> None:
    """torch's GRU with an update gate that keeps h for up to T steps: its roundings add up as T, not as √T."""
    torch.manual_seed(seed)
    module, x = torch.nn.GRU(8, 32, num_layers=2), x_of()
    with torch.no_grad():
        for layer in range(2):
            getattr(module, f"bias_ih_l{layer}")[32:64] = torch.empty(32).uniform_(1, STEPS - 1).log()
            getattr(module, f"bias_hh_l{layer}")[32:64] = 0
        output, h_n = module(x)
    right = rnnspect.check(module, x, recorded={"output": output, "h_n": h_n}, explain=0)
    assert right.verdict != "differ"
    with torch.no_grad():
        module.bias_ih_l0[:32] += 0.1  # of r, in the layer that nobody saw
    assert rnnspect.check(module, x, recorded={"output": output, "h_n": h_n}, explain=0).verdict == "differ"


@pytest.mark.parametrize("seed", sampled(range(6), 6))
@pytest.mark.parametrize("steps", [1000, STEPS])
def test_a_counter_of_which_only_the_final_states_are_known(seed: int, steps: int) -> None:
    """f is near 1 and g constant, so that c gains the same at every step, rounded the same way."""
    torch.manual_seed(seed)
    module = torch.nn.LSTM(4, 16)
    with torch.no_grad():
        module.bias_ih_l0[16:32], module.bias_hh_l0[16:32] = 12.0, 0.0
        x = torch.randn(1, 1, 4).expand(steps, 1, 4).contiguous()
        _, (h_n, c_n) = module(x)
    assert rnnspect.check(module, x, recorded={"h_n": h_n, "c_n": c_n}, explain=0).verdict != "differ"
    c_n[0, 0, 3] *= 1.05
    assert rnnspect.check(module, x, recorded={"h_n": h_n, "c_n": c_n}, explain=0).verdict == "differ"


@pytest.mark.parametrize("bias", [4.5, 5.5, 6.5])
def test_a_long_memory_of_which_the_mean_of_old_and_new_is_rounded(bias: float) -> None:
    """(1 − z) n + z h in float32: near a fixed point of 1 its sum is rounded the same way at every step, up to 6e-8,
    which z keeps: 6e-8 / (1 − z)."""
    module, x, h0 = torch.nn.GRU(1, 8), torch.ones(1000, 1, 1), torch.full((1, 1, 8), 1.2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.bias_ih_l0[8:16], module.bias_ih_l0[16:] = torch.linspace(bias, bias + 1, 8), 3.0
        z, n, h = module.bias_ih_l0[8:16].sigmoid(), module.bias_ih_l0[16:].tanh(), h0
        for _ in x:
            h = (1 - z) * n + z * h
    assert rnnspect.check(module, x, h0, recorded={"h_n": h}, explain=0).verdict != "differ"
    assert rnnspect.check(module, x, h0, recorded={"h_n": h * 1.001}, explain=0).verdict == "differ"


def unstable(seed: int, steps: int = 30) -> tuple[torch.nn.RNN, Tensor]:
    """bfloat16 relu layers whose h grows until it is 1e7 and more: a rounding error grows as fast, and faster where
    large terms cancel."""
    torch.manual_seed(seed)
    module = torch.nn.RNN(4, 8, 2, nonlinearity="relu", bidirectional=True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(4)
    return module.bfloat16(), torch.randn(steps, 2, 4).bfloat16()


@pytest.mark.parametrize("seed", range(8))
def test_runs_that_have_parted_are_not_held_to_each_other(seed: int) -> None:
    module, x = unstable(seed)
    with torch.no_grad():
        output, h_n = module(x)
    for recorded in ({"output": output}, {"h_n": h_n}, {"output": output, "h_n": h_n}):
        verdict = rnnspect.check(module, x, recorded=recorded, explain=0)
        assert verdict.verdict == "cannot tell"


def test_nothing_is_known_once_replicas_have_parted() -> None:
    """Of the layer below, in the order in which it was computed; a stable one keeps its bound to the end."""
    for scale, parted in ((4.0, True), (0.2, False)):
        torch.manual_seed(0)
        module = torch.nn.RNN(4, 8, nonlinearity="relu")
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(scale)
        module = module.bfloat16()
        prepared = prepare(module, torch.randn(60, 1, 4).bfloat16())
        stack = Stack.of(prepared.spec, prepared.parameters, prepared.sequence)
        found = estimate(Assumption.of(stack, (0, "forward"), prepared.sequence.x, None, ROUNDOFF[torch.bfloat16]))
        lost = found.error.isinf().all(2)[:, 0]
        assert bool(lost.any()) == parted
        assert bool((lost.int().diff() >= 0).all()), "from there on"
        assert not bool(lost[0])
        assert bool(found.final[0][1].isinf().all()) == parted


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
def test_a_layer_of_zeros_below_hides_no_mistake(nonlinearity: str) -> None:
    """Its h is 0 at every step, whatever is rounded: a dead relu, or no input and no bias."""
    torch.manual_seed(5)
    module, x = torch.nn.RNN(3, 4, num_layers=2, nonlinearity=nonlinearity), torch.randn(12, 2, 3)
    with torch.no_grad():
        for parameter in (module.weight_ih_l0, module.bias_ih_l0, module.bias_hh_l0):
            parameter.zero_()
        module.bias_ih_l0 -= 9 * (nonlinearity == "relu")
        output, _ = module(x)
    assert rnnspect.check(module, x, recorded={"output": output}).agrees
    assert rnnspect.check(module, x, recorded={"output": torch.full_like(output, 50)}).verdict == "differ"
    output[3, 1, 2] += 1e-4
    assert rnnspect.check(module, x, recorded={"output": output}).verdict == "differ"
