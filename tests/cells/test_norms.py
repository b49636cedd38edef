"""Layer norm, RMS norm and the larger of two values in a cell's lines: right implementations in any form are never
called wrong, planted mistakes are found, and what is written wrongly is told with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V
from tests.arithmetic.test_norms import one_pass, two_passes, welford
from tests.cells.loops import layer_norm_lstm
from tests.cells.test_examples import cell as example
from tests.cells.test_examples import drawn
from tests.marks import sampled

EPS = 1e-5


def mixed(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """z  = σ(norm(W_iz x + b_iz + W_hz h + b_hz))
    n  = max(rms_norm(s_n), k s_n), s_n = W_in x + b_in + W_hn h + b_hn
    h' = (1 − z) ⊙ h + z ⊙ tanh(n)
    """
    s_z, s_n = a.gates(wx, h)
    z = a.sigmoid(a.norm(s_z, "eps"))
    n = a.maximum(a.rms_norm(s_n, "eps"), a.constant("k") * s_n)
    return {"z": z, "n": n, "h": a.lerp(h, a.tanh(n), z)}


MIXED = Cell(
    name="mixed",
    torch_name="",
    gates=("z", "n"),
    states=("h",),
    quantities=("z", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=mixed,
    constants=(("eps", EPS), ("k", 0.5)),
    mixes=True,
)


def mixed_loop(norm: Callable[..., Tensor] = functional.layer_norm, larger: Any = torch.maximum) -> Any:
    def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        z, n = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        z = torch.sigmoid(norm(z, z.shape[-1:], eps=EPS))
        n = torch.tanh(larger(functional.rms_norm(n, n.shape[-1:], eps=EPS), 0.5 * n))
        return (1 - z) * h + z * n

    return step


def over(v: Tensor, shape: Any, made: Callable[[Tensor], Tensor], gain: Any, shift: Any) -> Tensor:
    """A norm of the last axes as torch's is called, where `made` is of a last axis."""
    y = made(v.flatten(-len(shape))).view_as(v)
    y = y if gain is None else y * gain
    return y if shift is None else y + shift


def norm_by(made: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def norm(v: Tensor, shape: Any, gain: Any = None, shift: Any = None, eps: float = EPS) -> Tensor:
        del eps
        return over(v, shape, made, gain, shift)

    return norm


def with_variance(share: Callable[[Tensor], Tensor], correction: int = 0) -> Callable[..., Tensor]:
    """(v − mean) · share(variance)"""

    def made(v: Tensor) -> Tensor:
        variance = v.var(-1, keepdim=True, correction=correction)
        return (v - v.mean(-1, keepdim=True)) * share(variance)

    return norm_by(made)


RIGHT = {"torch": functional.layer_norm, **{one.__name__: norm_by(one) for one in (two_passes, one_pass, welford)}}
WRONG = {
    "unbiased variance": with_variance(lambda variance: (variance + EPS).rsqrt(), 1),
    "no epsilon": with_variance(torch.rsqrt),
    "epsilon outside of the root": with_variance(lambda variance: 1 / (variance.sqrt() + EPS)),
    "epsilon ten times as large": with_variance(lambda variance: (variance + 10 * EPS).rsqrt()),
    "no mean taken off": norm_by(lambda v: functional.rms_norm(v, v.shape[-1:], eps=EPS)),
    "no gain": lambda v, shape, gain=None, shift=None, eps=EPS: functional.layer_norm(v, shape, None, shift, eps),
}


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", sampled(WRONG, 8))
def test_planted_mistakes_are_found(name: str) -> None:
    """Of ε one in ten thousand of a variance of 0.1 or so is seen: in most networks, not in all."""
    told = []
    for seed in range(8):
        spec = rnnspect.Spec(cell=example("layer_norm_lstm"), input_size=4, hidden_size=6, seed=seed)
        x = torch.randn(60, 4, generator=torch.Generator().manual_seed(seed))
        told.append(rnnspect.check(spec, x, engine=layer_norm_lstm(False, WRONG[name])).verdict)
    assert told.count("differ") >= 7


def far_from_zero(seed: int) -> tuple[rnnspect.Spec, Tensor]:
    """A network of which the means of what is normalised are up to a thousand deviations, and its input."""
    spec, x = drawn("layer_norm_lstm", seed)
    weights: Any = dict(spec.weights)
    by = 10.0 ** (seed % 4)
    for name in ("bias_ih_l0", "bias_hh_l0"):
        weights[name] = [one + by for one in weights[name]]
    return spec.with_changes(weights=weights), x[:25]


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("start", sampled(range(0, 300, 20), 15))
def test_right_forms_are_never_called_wrong(start: int) -> None:
    """300 networks, with means of up to a thousand deviations, by one form after the other. One that gives NaN, because
    a variance from one pass came out negative, would be wrong."""
    for seed in range(start, start + 20):
        spec, x = far_from_zero(seed)
        norm = list(RIGHT.values())[seed // 4 % len(RIGHT)]
        assert rnnspect.check(spec, x, engine=layer_norm_lstm(False, norm)).verdict != "differ"


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_norms_of_a_whole_sum_are_proved_step_by_step(dtype: str) -> None:
    spec = rnnspect.Spec(cell=MIXED, input_size=3, hidden_size=5, dtype=dtype)
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) * 3
    assert rnnspect.check(spec, x, engine=mixed_loop()).verdict == "agree"
    back = rnnspect.check(spec, x, engine=mixed_loop(), backward=True)
    assert back.verdict == "agree" or (dtype, back.verdict) == ("bfloat16", "cannot tell")
    assert any("pre-activations" in one for one in back.observed)
    if dtype != "bfloat16":
        assert rnnspect.check(spec, x, engine=mixed_loop(WRONG["unbiased variance"])).verdict == "differ"
        assert rnnspect.check(spec, x, engine=mixed_loop(larger=torch.minimum)).verdict == "differ"


HEADS = 3


def headed(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """z  = σ(norm of each head(W_iz x + b_iz + W_hz h + b_hz))
    h' = (1 − z) ⊙ h + z ⊙ tanh(rms_norm of each head(W_in x + b_in + W_hn h + b_hn))
    """
    s_z, s_n = a.gates(wx, h)
    z, n = a.sigmoid(a.norm(s_z, "eps", HEADS)), a.tanh(a.rms_norm(s_n, "eps", heads=HEADS))
    return {"z": z, "n": n, "h": a.lerp(h, n, z)}


HEADED = replace(MIXED, name="headed", step=headed, constants=(("eps", EPS), ("heads", HEADS)))


def headed_loop(heads: int = HEADS) -> Any:
    def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        z, n = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        z = torch.sigmoid(functional.group_norm(z, heads, eps=EPS))
        n = n.unflatten(-1, (heads, -1))
        n = torch.tanh(n * (n.square().mean(-1, keepdim=True) + EPS).rsqrt()).flatten(-2)
        return (1 - z) * h + z * n

    return step


def test_norms_of_each_head_are_proved() -> None:
    spec = rnnspect.Spec(cell=HEADED, input_size=3, hidden_size=9)
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=headed_loop()).verdict == "agree"
    assert rnnspect.check(spec, x, engine=headed_loop(), backward=True).verdict == "agree"
    assert rnnspect.gradients(spec, x, engine=headed_loop()).max_abs_difference < 1e-4
    told = rnnspect.check(spec, x, engine=headed_loop(1))
    assert told.verdict == "differ"
    assert told.causes[0].name == "norm-heads"
    exact, seen = spec.with_changes(dtype="float64"), rnnspect.trace(spec.with_changes(dtype="float64"), x.double())
    for unit in range(9):
        h = float(seen.layers[0].quantities["h"][0, 3, unit])
        assert rnnspect.derive(exact, x.double(), step=3, unit=unit).value == pytest.approx(h, rel=1e-12)
    with pytest.raises(rnnspect.InputError, match="hidden_size units in 3 equal parts, where hidden_size is 8"):
        rnnspect.trace(spec.with_changes(hidden_size=8), x)


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
def test_where_steps_need_each_other_results_are_proved() -> None:
    """W_hh h is normalised before it is added: no pre-activation shows what comes to a step from the one after it."""
    spec = rnnspect.Spec(cell=example("layer_norm_lstm"), input_size=3, hidden_size=5)
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    right = rnnspect.check(spec, x, engine=layer_norm_lstm(False), backward=True)
    assert right.verdict == "agree"
    why = "single steps were not checked: the gradients of this cell's gates do not show what a step gets from the next"
    assert any(why in note for note in right.notes)

    class Wrong(torch.autograd.Function):
        """The mean of the gradient is not taken off."""

        @staticmethod
        def forward(ctx: Any, v: Tensor) -> Tensor:
            y = functional.layer_norm(v, v.shape[-1:], eps=EPS)
            ctx.save_for_backward(v, y)
            return y

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            (v, y), (g,) = ctx.saved_tensors, grads
            return (g - y * (g * y).mean(-1, keepdim=True)) / (v.var(-1, keepdim=True, correction=0) + EPS).sqrt()

    engine = layer_norm_lstm(False, norm_by(lambda v: Wrong.apply(v)))  # type: ignore[no-untyped-call, no-any-return]
    assert rnnspect.check(spec, x, engine=engine).verdict == "agree"
    assert rnnspect.check(spec, x, engine=engine, backward=True).verdict == "differ"


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_are_judged_under_a_mistake_that_leaves_none_for_x(batch: int) -> None:
    """Each gain is on the left of its product, so that without what goes to the right no gradient comes to W_ih x."""
    spec = rnnspect.Spec(cell=example("layer_norm_lstm"), input_size=3, hidden_size=4, batch=batch)
    engine = layer_norm_lstm(
        False, norm_by(lambda v: functional.layer_norm(v, v.shape[-1:], eps=EPS) + 0.1 * (v - v.detach()))
    )
    assert rnnspect.check(spec, "randn:6", engine=engine).verdict == "agree"
    assert rnnspect.check(spec, "randn:6", engine=engine, backward=True).verdict == "differ"


def test_gradients_are_those_of_autograd_and_terms_add_up() -> None:
    spec = rnnspect.Spec(cell=MIXED, input_size=3, hidden_size=4, dtype="float64")
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = rnnspect.gradients(spec, x, engine=mixed_loop())
    assert found.max_abs_difference < 1e-11
    for quantity in ("z", "n", "h"):
        seen = rnnspect.trace(spec, x).layers[0].quantities[quantity][0, 7, 1]
        derived = rnnspect.derive(spec, x, step=7, unit=1, quantity=quantity)
        assert derived.value == pytest.approx(float(seen), rel=1e-12)
    for name in ("z", "n"):
        asked = rnnspect.derive(spec, x, gradient=f"s_{name}[1]", step=7)
        assert asked.value == pytest.approx(float(found.layers[0].pre_activations[name][0, 7, 1]), rel=1e-9)
    said = str(rnnspect.derive(spec, x, step=7, unit=1, quantity="z"))
    assert "mean(Σ w·x + b + Σ w·h + b) over 4 units = " in said
    assert "deviation(Σ w·x + b + Σ w·h + b) over 4 units = " in said
    assert "rms(" in str(rnnspect.derive(spec, x, step=7, unit=1, quantity="n"))


def test_equal_values_share_a_gradient() -> None:
    """As torch has it: half for each."""

    def own(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        (s,) = a.gates(wx, h)
        n = a.tanh(s)
        return {"n": n, "h": a.maximum(n, n * n)}

    cell = Cell("tied", "", ("n",), ("h",), ("n", "h"), ("tanh",), own)
    spec = rnnspect.Spec(cell=cell, input_size=2, hidden_size=3, dtype="float64")

    def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        n = torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)
        return torch.maximum(n, n * n)

    zeros = {name: torch.zeros(shape).tolist() for name, shape in (("weight_hh_l0", (3, 3)), ("bias_hh_l0", (3,)))}
    zeros |= {name: torch.zeros(shape).tolist() for name, shape in (("weight_ih_l0", (3, 2)), ("bias_ih_l0", (3,)))}
    for weights in (None, zeros):
        one = spec if weights is None else spec.with_changes(weights=weights)
        assert rnnspect.gradients(one, torch.randn(9, 2).double(), engine=step).max_abs_difference < 1e-12
        assert rnnspect.check(one, torch.randn(30, 2).double(), engine=step, backward=True).verdict != "differ"


NOT_DECLARED = 'hidden_size units in 2 equal parts; expected a size that is a multiple; constants=(("heads", 2),) in'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('a.norm(wx, "eps")', "this value holds the blocks of all gates"),
        ("a.norm(h)", "a.norm without the name of an ε"),
        ("a.norm(h, 1e-5)", "a.norm without the name of an ε"),
        ('a.norm(h, "epsilon")', "the cell has no number 'epsilon'"),
        ('a.rms_norm(h, "minus")', "a.rms_norm with -1.0 for ε"),
        ('a.norm((), "eps")', "a.norm of a tuple"),
        ('a.norm(h, "eps", 0)', "a.norm of 0 heads"),
        (
            'a.norm(h, "eps", 2)',
            NOT_DECLARED,
        ),
        (
            "a.outer(h, h, 2)",
            NOT_DECLARED,
        ),
        ('a.norm((h, h), "eps", 2)', "a.norm of each head of several values together"),
        ('a.rms_norm((h, h), "eps", 1)', "a.rms_norm of each head of several values together"),
        ('a.norm(a.constant("eps"), "eps")', "a number is only multiplied"),
        ("a.maximum(h, 1.0)", "a.maximum of the number 1.0"),
        ('a.layer_norm(h, "eps")', "there is no operation a.layer_norm"),
    ],
)
def test_what_a_line_must_not_do_is_told(line: str, said: str) -> None:
    def one(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        made = eval(line)
        return {"h": made}

    cell = Cell("one", "", ("h",), ("h",), ("h",), (), one, constants=(("eps", EPS), ("minus", -1.0)), mixes=True)
    with pytest.raises(rnnspect.InputError, match=re.escape(said)) as error:
        rnnspect.Spec(cell=cell)
    assert "test_norms.py" in str(error.value)


def test_a_norm_makes_units_depend_on_each_other() -> None:
    cell = Cell("one", "", ("z", "n"), ("h",), ("z", "n", "h"), ("sigmoid", "tanh"), mixed, constants=MIXED.constants)
    with pytest.raises(rnnspect.InputError, match="normalises a value") as error:
        rnnspect.Spec(cell=cell)
    assert "mixes=True" in str(error.value)


def test_an_operation_may_be_given_its_numbers_by_name() -> None:
    def by_name(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
        s_z, s_n = a.gates(wx, h)
        z, n = a.sigmoid(a.norm(s_z, eps="eps", heads=HEADS)), a.tanh(a.rms_norm(s_n, heads=HEADS, eps="eps"))
        return {"z": z, "n": n, "h": a.lerp(h, n, z)}

    spec = rnnspect.Spec(cell=replace(HEADED, name="by_name", step=by_name), input_size=3, hidden_size=9)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=headed_loop()).verdict == "agree"
    told = rnnspect.check(spec, x, engine=headed_loop(1))
    assert [one.name for one in told.causes] == ["norm-heads"]


def test_sizes_that_leave_a_rest_are_told_before_anything_runs() -> None:
    """Also where no parameter and no gate has the size of a head."""

    def spread(a: Any, wx: Any, _h: Any) -> dict[str, Any]:
        (n,) = a.split(wx)
        return {"n": n, "h": a.spread(a.parameter("u"), n) * n}

    cell = Cell(
        "spread", "", ("n",), ("h",), ("n", "h"), (), spread, parameters=(("u", (2,)),), constants=(("heads", 2),),
        is_recurrent=False,
    )  # fmt: skip
    assert rnnspect.shapes(rnnspect.Spec(cell=cell, hidden_size=4)).parameters[-1].shape == (2,)
    with pytest.raises(rnnspect.SpecError, match=r"cell spread has no such network: .*, where hidden_size is 5"):
        rnnspect.Spec(cell=cell, hidden_size=5)
