"""The bound of every activation beside the values that a correct engine may have."""

from __future__ import annotations

import pytest
import torch

from rnnspect.arithmetic.activations import allowed, plain
from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.cells.functions import KINDS, Activation, parse

WRITTEN = [*KINDS, "affine(-0.7, 0.2)", "leaky_relu(0.3)", "leaky_relu(1.7)", "thresholded_relu(0.4)", "elu(2.5)"]
WRITTEN += ["scaled_tanh(1.7, 0.6)", "hard_sigmoid(0.4, 0.3)", "hard_sigmoid(-0.3, 0.5)", "thresholded_relu(-0.4)"]
U = 2.0**-24


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("size", [1e-7, 1e-3, 0.3, 4.0])
def test_every_value_within_reach_is_inside_the_bound(written: str, clip: float | None, size: float):
    f = parse(written)
    assert f is not None
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(4000, generator=generator, dtype=torch.float64) * 2
    s[:40] = torch.linspace(-0.7, 0.7, 40, dtype=torch.float64)  # kinks, jumps and the clip
    s[40:47] = torch.tensor([0.0, 0.4, -0.4, 0.7, -0.7, 1.0, 2.5], dtype=torch.float64)
    e = torch.rand(4000, generator=generator, dtype=torch.float64) * size
    v, bound = allowed(f, clip, s, e, KERNEL * U, U)
    assert torch.equal(v, plain(f, clip)(s))
    reached = torch.zeros_like(s)
    for at in torch.linspace(-1, 1, 41, dtype=torch.float64):
        exact = plain(f, clip)(s + at * e)
        narrow = plain(f, clip)((s + at * e).float()).double()
        off = torch.maximum((exact - v).abs(), (narrow - v).abs() - 4 * U * (1 + s.abs() + e))
        assert bool((off <= bound).all()), (s[(off - bound).argmax()], at)
        reached = torch.maximum(reached, (exact - v).abs())
    tight = reached + KERNEL * U * (1 + s.abs()) * 3
    # next to a kink or a jump an interval may barely reach over it
    assert size > 1 or float((bound <= 3 * tight).double().mean()) > 0.9, "a bound that is far too wide proves nothing"


@pytest.mark.parametrize("written", ["tanh", "leaky_relu(0.1)", "hard_sigmoid(0.2, 0.5)", "affine(1, 0)"])
def test_what_is_written_is_what_is_read(written: str):
    assert str(parse(written)) == written


@pytest.mark.parametrize(
    "written", ["tanh(1)", "affine(1, 2, 3)", "affine(x)", "affine(nan)", "Tanh", "", "relu)", "elu("]
)
def test_what_is_no_function_is_none(written: str):
    assert parse(written) is None


def test_numbers_that_are_left_out_are_onnx_s():
    assert parse("hard_sigmoid") == Activation("hard_sigmoid", 0.2, 0.5)
    assert parse("hard_sigmoid(0.3)") == Activation("hard_sigmoid", 0.3, 0.5)
