"""The functions that a cell's lines may call beside σ, tanh and φ: in every arithmetic, with a bound that holds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import rnnspect
from rnnspect.arithmetic.activations import allowed, plain
from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.arithmetic.slopes import slope, spread
from rnnspect.cells import Cell
from rnnspect.cells.functions import FIXED, Functions
from tests.marks import sampled

TORCH = {
    "relu": torch.relu,
    "softplus": lambda s: torch.logaddexp(s, torch.zeros_like(s)),
    "exp": torch.exp,
    "log": torch.log,
    "silu": functional.silu,
    "reciprocal": torch.reciprocal,
    "cos": torch.cos,
    "sin": torch.sin,
    "elu": functional.elu,
    "hard_sigmoid": lambda s: (s + 3).clamp(0, 6) / 6,  # torch goes back over its own by 1/6 of float32, in float64 too
}
named = Functions().named
POSITIVE = ("log", "reciprocal")
"""What the functions are applied to here is σ of something for those that need it above 0."""


def arguments(name: str, count: int = 4000) -> Tensor:
    """float32 numbers of many sizes."""
    drawn = torch.Generator().manual_seed(len(name))
    s = torch.randn(count, generator=drawn) * torch.empty(count).uniform_(-4, 3, generator=drawn).exp()
    return s.abs() + 1e-3 if name in POSITIVE else s


def test_all_of_them_are_tried() -> None:
    assert set(TORCH) == set(FIXED)


@pytest.mark.parametrize("name", FIXED)
def test_the_bound_holds_what_float32_gives(name: str) -> None:
    """torch's float32 against float64, the argument off by what the bound says, to either side."""
    s = arguments(name)
    for share, sign in itertools.product((2.0**-12, 0.25), (-1, 0, 1)):
        off = s.abs() * share
        moved = (s.double() + sign * off.double()).float()
        v, e = allowed(named(name), None, s.double(), (off * abs(sign)).double(), KERNEL * SINGLE.sums, SINGLE.sums)
        apart = (TORCH[name](moved).double() - v).abs()
        # To round what was moved may move it by half a unit more, which is 2^-12 of what it was moved by.
        assert bool((apart <= e * (1 + 2.0**-11) + SINGLE.tiny).all()), float((apart / e).max())
        assert bool(e.isfinite().all())


@pytest.mark.parametrize("sign", [-1, 1])
def test_softplus_as_kernels_have_it_stays_within_its_bound(sign: int) -> None:
    """log(1 + eˣ) in float32, of which CUDA's fast log errs by up to 2^−21.41 between ½ and 2, says its manual."""
    s = torch.linspace(-20, 0, 4001)
    made = (1 + s.exp()).log().double() + sign * 2.0**-21.41
    v, e = allowed(named("softplus"), None, s.double(), torch.zeros_like(s).double(), KERNEL * SINGLE.sums, SINGLE.sums)
    assert bool(((made - v).abs() <= e).all())
    assert float(e[0]) < KERNEL * SINGLE.sums  # by as little as σ, of which kernels have worse ones


@pytest.mark.parametrize("name", FIXED)
def test_the_slope_is_autograd_s_and_its_spread_holds(name: str) -> None:
    s = arguments(name).double().requires_grad_()
    (wanted,) = torch.autograd.grad(TORCH[name](s).sum(), s)
    f, s = named(name), s.detach()
    at = slope(f, None, s, plain(f, None)(s))
    torch.testing.assert_close(at, wanted, rtol=1e-9, atol=1e-12)
    for reach, share in itertools.product((1 / 3, 3 / 4), torch.linspace(-1, 1, 41).tolist()):
        e = s.abs() * reach
        most = spread(f, None, s, e)
        near = s + share * e
        assert bool(((slope(f, None, near, plain(f, None)(near)) - at).abs() <= most * (1 + 1e-9) + 1e-9).all())


def cell_of(name: str) -> Cell:
    """h' = (1 − z) ⊙ h + z ⊙ f(s), with s above 0 where f asks for that."""

    def step(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        s_z, s = a.gates(wx, h)
        z = a.sigmoid(s_z)
        n = getattr(a, name)(a.sigmoid(s) if name in POSITIVE else s)
        return {"z": z, "n": n, "h": a.lerp(h, a.tanh(n), z)}

    return Cell(f"with_{name}", "", ("z", "n"), ("h",), ("z", "n", "h"), ("sigmoid", "tanh", name), step)


def loop_of(name: str, wrong: bool = False) -> Any:
    def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        z, s = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        z, n = torch.sigmoid(z), TORCH[name](torch.sigmoid(s) if name in POSITIVE else s)
        n = torch.tanh(n * (1.001 if wrong else 1.0))
        return (1 - z) * h + z * n

    return step


@pytest.mark.each_value_once
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", sampled(FIXED, 2))
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_cell_with_it_is_proved(name: str, dtype: str) -> None:
    """Forwards and backwards, for weights of some sizes; a thousandth more is seen but in bfloat16, in which a large
    1 / v leaves nothing to tell."""
    for seed in range(3):
        spec = rnnspect.Spec(cell=cell_of(name), input_size=3, hidden_size=5, dtype=dtype, seed=seed)
        x = torch.randn(60, 3, generator=torch.Generator().manual_seed(seed)) * 2**seed
        forwards = rnnspect.check(spec, x, engine=loop_of(name)).verdict
        assert forwards == "agree" or (dtype, forwards) == ("bfloat16", "cannot tell")
        assert rnnspect.check(spec, x, engine=loop_of(name), backward=True).verdict != "differ"
        if dtype != "bfloat16":
            assert rnnspect.check(spec, x, engine=loop_of(name, wrong=True)).verdict == "differ"


@pytest.mark.parametrize("name", FIXED)
def test_its_gradients_are_those_of_autograd_and_its_terms_add_up(name: str) -> None:
    spec = rnnspect.Spec(cell=cell_of(name), input_size=2, hidden_size=3, dtype="float64")
    x = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = rnnspect.gradients(spec, x, engine=loop_of(name))
    assert found.max_abs_difference < 1e-12
    seen = rnnspect.trace(spec, x).layers[0].quantities["n"][0, 7, 1]
    assert rnnspect.derive(spec, x, step=7, unit=1, quantity="n").value == pytest.approx(float(seen), rel=1e-12)
    asked = rnnspect.derive(spec, x, gradient="s_n[1]", step=7)
    assert asked.value == pytest.approx(float(found.layers[0].pre_activations["n"][0, 7, 1]), rel=1e-9)
