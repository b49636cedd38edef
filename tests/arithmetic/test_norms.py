"""Layer norm, RMS norm and the larger of two values: what engines give, in the forms that they use, is in the bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rnnspect.arithmetic.backward_bounded import BackwardBounded
from rnnspect.arithmetic.bounded_norms import BoundedNorms
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.going_back import BackwardNumbers
from rnnspect.arithmetic.norms import Norm
from rnnspect.arithmetic.roundoff import ROUNDOFF, SINGLE, Roundoff
from rnnspect.arithmetic.sum_orders import Ordered
from rnnspect.cells.functions import Functions
from rnnspect.network.parameters import LayerParameters

EPS = 1e-5
Form = Callable[[Tensor], Tensor]


def summed(v: Tensor) -> Tensor:
    """One number after the other, in float32, which torch's own sums are not."""
    return torch.from_numpy(np.add.accumulate(v.numpy(), -1, dtype=np.float32)[..., -1:])


def welford(v: Tensor) -> Tensor:
    mean, squares = torch.zeros_like(v[..., :1]), torch.zeros_like(v[..., :1])
    for count in range(1, v.shape[-1] + 1):
        x = v[..., count - 1 : count]
        before = x - mean
        mean = mean + before / count
        squares = squares + before * (x - mean)
    return (v - mean) / (squares / v.shape[-1] + EPS).sqrt()


def two_passes(v: Tensor) -> Tensor:
    d = v - summed(v) / v.shape[-1]
    return d * (summed(d * d) / v.shape[-1] + EPS).rsqrt()


def one_pass(v: Tensor) -> Tensor:
    """mean v² − m², not below 0, and v / s − m / s, as some libraries fuse it."""
    mean = v.mean(-1, keepdim=True)
    share = (((v * v).mean(-1, keepdim=True) - mean * mean).clamp(min=0) + EPS).rsqrt()
    return v * share - mean * share


def rms(v: Tensor) -> Tensor:
    return v * (summed(v * v) / v.shape[-1] + EPS).rsqrt()


FORMS: dict[str, Form] = {
    "torch": lambda v: functional.layer_norm(v, v.shape[-1:], eps=EPS),
    "two passes": two_passes,
    "one pass": one_pass,
    "welford": welford,
}
RMS: dict[str, Form] = {"torch": lambda v: functional.rms_norm(v, v.shape[-1:], eps=EPS), "one by one": rms}


def drawn(units: int, shift: float, seed: int = 0) -> Tensor:
    """Rows of many sizes, their means so many deviations from 0, in float32."""
    generator = torch.Generator().manual_seed(seed + units)
    rows = torch.randn(60, units, generator=generator) + shift * torch.randn(60, 1, generator=generator)
    return rows * torch.empty(60, 1).uniform_(-5, 3, generator=generator).exp()


def bounded(u: Roundoff, kind: type[BoundedNorms] = BackwardBounded) -> Any:
    none = torch.zeros(1, 1, dtype=torch.float64)
    return kind(LayerParameters(none, none, None, None, None), 1, u, Functions(constants=(("eps", EPS),)))  # type: ignore[call-arg]


def number(v: Tensor, e: Tensor | None, u: Roundoff) -> Number:
    return Number(v.double()[None], torch.zeros((), dtype=torch.float64) if e is None else e.double()[None], u)


@pytest.mark.parametrize("shift", [0.0, 3.0, 300.0])
@pytest.mark.parametrize("units", [1, 2, 7, 64, 400])
@pytest.mark.parametrize("centred", [True, False])
def test_every_form_is_within_the_bound(units: int, shift: float, centred: bool) -> None:
    """In float32, of numbers that are exactly known, and of some that are off by up to 2^-12, or a quarter, of their
    size. Where the mean is 300 deviations a variance from one pass has lost most of its digits: that is allowed."""
    a, v = bounded(SINGLE), drawn(units, shift)
    for share in (0.0, 2.0**-12, 0.25):
        off = torch.randn(v.shape, generator=torch.Generator().manual_seed(1)).clamp(-1, 1) * share * v.abs()
        given = (v.double() + off.double()).float()
        moved = (given.double() - v.double()).abs()  # with what rounding to float32 moved it
        e = None if share == 0 else torch.maximum(moved, share * v.double().abs())
        (made,) = a.normalised((number(v, e, SINGLE),), Norm("eps", centred))
        exact = FORMS["torch"](v.double()) if centred else RMS["torch"](v.double())
        torch.testing.assert_close(made.v[0], exact, rtol=1e-9, atol=1e-9)
        for name, form in (FORMS if centred else RMS).items():
            apart = (form(given).double() - made.v[0]).abs()
            assert not bool((apart > made.e[0]).any()), (name, share, float((apart / made.e[0]).nan_to_num().max()))


@pytest.mark.parametrize("units", [2, 64, 400])
def test_the_bound_is_not_far_above_what_roundings_do(units: int) -> None:
    """Its median is at most 60 times the largest error of the four forms, where the mean is about a deviation."""
    v = drawn(units, 1.0)
    (made,) = bounded(SINGLE).normalised((number(v, None, SINGLE),), Norm("eps", True))
    worst = torch.stack([(form(v).double() - made.v[0]).abs() for form in FORMS.values()]).amax(0)
    assert float((made.e[0] / worst.clamp(min=2.0**-26)).median()) < 60
    assert bounded(SINGLE, Ordered).roundings(units) > bounded(SINGLE).roundings(units) or units < 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_half_types_are_within_the_bound_with_each_step_stored(dtype: torch.dtype, shift: float) -> None:
    u, v = ROUNDOFF[dtype], drawn(48, shift).clamp(-200, 200).to(dtype)
    a = bounded(u)
    (made,) = a.normalised((number(v, None, u),), Norm("eps", True))
    d = v - v.mean(-1, keepdim=True)
    stepwise = d * torch.rsqrt((d * d).mean(-1, keepdim=True) + EPS)
    for given in (functional.layer_norm(v, v.shape[-1:], eps=EPS), stepwise):
        assert bool(((given.double() - made.v[0]).abs() <= made.e[0]).all())


def pulled(form: Form, v: Tensor, g: Tensor) -> Tensor:
    v = v.clone().requires_grad_()
    (found,) = torch.autograd.grad(form(v), v, g)
    return found


def composed(v: Tensor) -> Tensor:
    d = v - v.mean(-1, keepdim=True)
    return d / ((d * d).mean(-1, keepdim=True) + EPS).sqrt()


BACK: dict[str, Form] = {"torch": FORMS["torch"], "composed": composed, "one pass": one_pass}
RMS_BACK: dict[str, Form] = {
    "torch": RMS["torch"],
    "composed": lambda v: v * ((v * v).mean(-1, keepdim=True) + EPS).rsqrt(),
}


@pytest.mark.parametrize("shift", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("units", [1, 2, 7, 64, 400])
@pytest.mark.parametrize("centred", [True, False])
def test_gradients_of_every_form_are_within_the_bound(units: int, shift: float, centred: bool) -> None:
    """By autograd in float32, with g that is known and with g that may be off."""
    a, v = bounded(SINGLE), drawn(units, shift)
    g = torch.randn(v.shape, generator=torch.Generator().manual_seed(2))
    value = number(v, None, SINGLE)
    made = a.normalised((value,), Norm("eps", centred))
    wanted = pulled(composed if centred else RMS_BACK["composed"], v.double(), g.double())
    for off in (0.0, 2.0**-10):
        given = g * (1 + off)
        e = None if not off else (given.double() - g.double()).abs()
        (found,) = a.through_norm((number(g, e, SINGLE),), (value,), made, Norm("eps", centred))
        torch.testing.assert_close(found.v[0], wanted, rtol=1e-7, atol=1e-7)
        for name, form in (BACK if centred else RMS_BACK).items():
            apart = (pulled(form, v, given).double() - found.v[0]).abs()
            assert not bool((apart > found.e[0]).any()), (name, float((apart / found.e[0]).nan_to_num().max()))


def test_several_blocks_are_one_vector() -> None:
    v, none = drawn(12, 1.0).double(), torch.zeros(1, 1, dtype=torch.float64)
    p = LayerParameters(none, none, None, None, None)
    made = BackwardNumbers(p, 1, Functions(constants=(("eps", EPS),))).norm(v.chunk(3, -1), "eps")
    torch.testing.assert_close(torch.cat(made, -1), functional.layer_norm(v, (12,), eps=EPS))


def test_each_head_is_normalised_by_itself() -> None:
    """As a group norm is, in every arithmetic that has numbers."""
    v = drawn(12, 1.0).double()
    wanted = functional.group_norm(v, 4, eps=EPS)
    made = bounded(SINGLE).norm(number(v, None, SINGLE), "eps", 4)
    torch.testing.assert_close(made.v[0], wanted)
    assert bool(((functional.group_norm(v.float(), 4, eps=EPS).double() - wanted).abs() <= made.e[0]).all())
    none = torch.zeros(1, 1, dtype=torch.float64)
    p = LayerParameters(none, none, None, None, None)
    torch.testing.assert_close(BackwardNumbers(p, 1, Functions(constants=(("eps", EPS),))).norm(v, "eps", 4), wanted)


def test_the_larger_of_two_and_what_of_a_gradient_is_whose() -> None:
    a = bounded(SINGLE)
    v, w, e = torch.tensor([1.0, 1.0, 1.0, -2.0]), torch.tensor([0.5, 0.99, 1.0, 3.0]), torch.full((4,), 0.1)
    one, other = number(v, e, SINGLE), number(w, 2 * e, SINGLE)
    made = a.maximum(one, other)
    assert made.v[0].tolist() == torch.maximum(v, w).tolist()
    torch.testing.assert_close(made.e[0], torch.tensor([0.1, 0.2, 0.2, 0.2], dtype=torch.float64))
    share = a.larger(one, other)
    assert share.v[0].tolist() == [1, 1, 0.5, 0]
    assert share.e[0].tolist() == [0, 1, 0.5, 0]


def by_flax(v: Tensor) -> Any:
    """Its variance is mean v² − m², not below 0."""
    linen = pytest.importorskip("flax.linen")
    return linen.LayerNorm(epsilon=EPS, use_bias=False, use_scale=False).apply({}, v.numpy())


def by_equinox(v: Tensor) -> Any:
    equinox, jax = pytest.importorskip("equinox"), pytest.importorskip("jax")
    norm = equinox.nn.LayerNorm(v.shape[-1], eps=EPS, use_weight=False, use_bias=False)
    return jax.vmap(norm)(v.numpy())


def by_keras(v: Tensor) -> Any:
    keras = pytest.importorskip("rnnspect.engines.keras").keras  # which chooses its backend
    norm = keras.layers.LayerNormalization(epsilon=EPS, center=False, scale=False)
    return keras.ops.convert_to_numpy(norm(v.numpy()))


def by_onnxruntime(v: Tensor) -> Any:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("LayerNormalization", ["v", "gain"], ["y"], epsilon=EPS)
    gain = helper.make_tensor("gain", kind, [v.shape[-1]], [1.0] * v.shape[-1])
    ends = [[helper.make_tensor_value_info(name, kind, list(v.shape))] for name in "vy"]
    model = helper.make_model(
        helper.make_graph([node], "norm", *ends, [gain]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"v": v.numpy()})[0]


@pytest.mark.parametrize("given_by", [by_flax, by_equinox, by_keras, by_onnxruntime])
def test_other_frameworks_are_within_the_bound(given_by: Callable[[Tensor], Any]) -> None:
    for units, shift in ((7, 0.0), (64, 1.0), (64, 30.0), (400, 300.0)):
        v = drawn(units, shift)
        (made,) = bounded(SINGLE).normalised((number(v, None, SINGLE),), Norm("eps", True))
        given = torch.from_numpy(np.array(given_by(v)))
        assert bool(((given.double() - made.v[0]).abs() <= made.e[0]).all())
