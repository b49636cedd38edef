"""Numbers in a cell's own equations, in every arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V


def leaky(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """h' = h + dt (tanh(W_ih x + b_ih + W_hh h + b_hh) − γ h)"""
    (s,) = a.gates(wx, h)
    n = a.tanh(s)
    return {"n": n, "h": h + a.constant("dt") * (n + a.constant("minus_gamma") * h)}


CELL = Cell("leaky", "", ("n",), ("h",), ("n", "h"), ("tanh",), leaky, constants=(("dt", 0.1), ("minus_gamma", -0.3)))


def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
    return h + 0.1 * (torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh) - 0.3 * h)


def wrong(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
    return h + 0.1 * (torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh) - 0.301 * h)


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_leaky_unit_is_proved(dtype: str) -> None:
    spec = rnnspect.Spec(cell=CELL, input_size=3, hidden_size=4, dtype=dtype)
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=step).verdict == "agree"
    assert rnnspect.check(spec, x, engine=wrong).verdict == "differ"
    assert rnnspect.check(spec, x, engine=step, backward=True).verdict == "agree"


def test_its_gradients_and_terms() -> None:
    spec = rnnspect.Spec(cell=CELL, input_size=3, hidden_size=4, dtype="float64")
    x = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert rnnspect.gradients(spec, x, engine=step).max_abs_difference < 1e-12
    derived = rnnspect.derive(spec, x, step=9, unit=1)
    seen = rnnspect.trace(spec, x, h0=None).layers[0].quantities["h"][0, 9, 1]
    assert derived.value == pytest.approx(float(seen), rel=1e-12)
    assert "0.1" in str(derived)


@pytest.mark.parametrize(
    "uses", ["h * a.constant('k')", "h + a.constant('k')", "a.constant('k') + h", "-a.constant('k')"]
)
def test_a_number_is_the_left_factor_of_a_product(uses: str) -> None:
    def one(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        return {"h": eval(uses)}

    with pytest.raises(rnnspect.InputError, match="a number is"):
        rnnspect.Spec(cell=Cell("used", "", ("h",), ("h",), ("h",), (), one, constants=(("k", 2.0),)))


def test_a_term_that_is_left_out_is_named_by_its_number() -> None:
    """Not so a factor of 0 with which no gate is left that could be wrong."""

    def without(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        return h + 0.1 * torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)

    def still(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        return h

    spec, x = rnnspect.Spec(cell=CELL, input_size=3, hidden_size=4), torch.randn(2, 12, 3)
    h0 = torch.randn(1, 2, 4)
    (found,) = rnnspect.check(spec, x, h0, engine=without).causes
    assert (found.name, found.parameters["constant"]) == ("line-constant", "minus_gamma")
    assert "minus_gamma is 0, not -0.3" in found.explanation
    assert "line-constant" not in [cause.name for cause in rnnspect.check(spec, x, h0, engine=still).causes]


def test_tanh_in_place_of_relu_is_named() -> None:
    def one(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        (s,) = a.gates(wx, h)
        return {"h": a.constant("k") * h + a.relu(s)}

    def own(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        return 0.5 * h + torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)

    cell = Cell("rectified", "", ("h",), ("h",), ("h",), ("relu",), one, constants=(("k", 0.5),))
    found = rnnspect.check(rnnspect.Spec(cell=cell, input_size=3, hidden_size=4), torch.randn(2, 20, 3), engine=own)
    assert [cause.name for cause in found.causes] == ["line-function-other"]


def test_a_wrong_gradient_of_a_state_that_fades_by_a_constant() -> None:
    """Its slope is one number for all steps: that of a step is that number, too."""

    def fading(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        (s,) = a.gates(wx, h)
        n = a.tanh(s)
        return {"n": n, "h": a.constant("k") * h + n}

    def own(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        s = x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh
        return 0.5 * h + s + (torch.tanh(s) - s).detach()

    cell = Cell("fading", "", ("n",), ("h",), ("n", "h"), ("tanh",), fading, constants=(("k", 0.5),))
    spec, x = rnnspect.Spec(cell=cell, input_size=3, hidden_size=4), torch.randn(12, 3)
    found = rnnspect.check(spec, x, engine=own, backward=True)
    assert found.verdict == "differ"
    assert [cause.name for cause in found.causes] == ["grad-slope-left-out"]


def test_a_state_that_is_added_to_itself() -> None:
    """What is known exactly, the state before and a number, has no error of a shape of its own."""

    def twice(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        (s,) = a.gates(wx, h)
        return {"h": a.constant("half") * (h + h) + a.tanh(s)}

    def own(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        return 0.25 * (h + h) + torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)

    cell = Cell("twice", "", ("h",), ("h",), ("h",), ("tanh",), twice, constants=(("half", 0.25),))
    spec, x = rnnspect.Spec(cell=cell, input_size=3, hidden_size=4), torch.randn(30, 3)
    assert rnnspect.check(spec, x, engine=own).verdict == "agree"
    assert rnnspect.check(spec, x, engine=own, backward=True).verdict == "agree"


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("scale", [0.5, 1.5, 3.0])
def test_a_diagonal_recurrence_that_grows_is_not_called_wrong(scale: float) -> None:
    """h' = u ⊙ h + W x + b: where |u| is above 1 states and gradients grow until they leave the range."""

    def diagonal(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        (n,) = a.split(wx)
        (u,) = a.peepholes()
        return {"n": n, "h": u * h + n}

    def own(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, weight_ch: Any) -> Any:
        return weight_ch * h + x_t @ weight_ih.T + bias_ih

    cell = Cell("diagonal", "", ("n",), ("h",), ("n", "h"), (), diagonal, peepholes=("u",), is_recurrent=False)
    spec = rnnspect.Spec(cell=cell, input_size=3, hidden_size=4)
    drawn = torch.Generator().manual_seed(0)
    weights = {"weight_ih_l0": torch.randn(4, 3, generator=drawn), "bias_ih_l0": torch.randn(4, generator=drawn)}
    weights["weight_ch_l0"] = scale * torch.rand(4, generator=drawn)
    spec = spec.with_changes(weights={name: w.tolist() for name, w in weights.items()})
    for steps in (40, 400):
        x = torch.randn(steps, 3, generator=drawn)
        assert rnnspect.check(spec, x, engine=own).verdict != "differ"
        assert rnnspect.check(spec, x, engine=own, backward=True).verdict != "differ"
    if scale == 0.5:
        assert rnnspect.check(spec, x, engine=own, backward=True).verdict == "agree"
