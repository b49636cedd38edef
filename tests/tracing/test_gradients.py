"""What `Gradients` hold, against PyTorch's autograd in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect import EngineError, Gradients, Spec
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.recording import ArrayName, EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.backward import gradients_prepared
from rnnspect.tracing.prepare import Prepared, prepare
from tests.arithmetic.test_going_back import autograd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

CLOSE = 1e-12
"""Relative to the largest entry. Each of some 10 steps rounds some tens of times, by 1e-16 each."""


class Autograd:
    """PyTorch's modules under autograd, written here; computed in float64."""

    name = "autograd"

    def run(self, *_given: Any) -> Any:
        raise AssertionError("going back takes one pass")

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        if spec.beyond_torch:
            raise EngineError(f"{self.name} cannot run this: {spec.beyond_torch}")
        run = Sequence(
            *(None if one is None else one.double() for one in (sequence.x, sequence.h0, sequence.c0)),
            sequence.lengths,
            sequence.batched,
        )
        doubles = {name: values.double() for name, values in parameters.items() if not name.startswith("head.")}
        found = autograd(Prepared(spec, doubles, run, self), Upstream(upstream.output.double()))
        found = {name: values.to(sequence.x.dtype) for name, values in found.items()}
        starts = [found.pop(name, None) for name in ("x", "h0", "c0")]
        info = EngineInfo(self.name, "1", "cpu", spec.dtype)
        return EngineGradients(info, None, None, None, *starts, found, notes=("as it is",))


def gone_back(loss: Any = "sum", steps: str = "randn:6", **keys: Any) -> Gradients:
    spec = Spec(**({"input_size": 3, "hidden_size": 4, "dtype": "float64", "h0": "randn"} | keys))
    return gradients_prepared(replace(prepare(spec, steps), engine=Autograd()), loss)


NETWORKS: list[dict[str, Any]] = [
    {"cell": "rnn", "nonlinearity": "relu"},
    {"cell": "lstm", "proj_size": 2, "num_layers": 2, "batch": 2},
    {"cell": "lstm", "bias": False, "bidirectional": True, "batch": 3, "lengths": [2, 6, 5]},
    {"cell": "gru", "bidirectional": True, "num_layers": 2, "batch": 2, "batch_first": False},
]


@pytest.mark.parametrize("keys", NETWORKS, ids=str)
@pytest.mark.parametrize("loss", ["sum", "mean", "last"])
def test_every_gradient_is_that_of_autograd(keys: dict[str, Any], loss: str) -> None:
    found = gone_back(loss, **keys)
    assert found.is_compared
    assert set(found.parameters) == {one.name for one in rnnspect.shapes(found.spec).parameters}
    for name, pair in found.pairs.items():
        assert pair.engine is not None
        assert pair.manual.shape == pair.engine.shape
        most = float(pair.engine.abs().max())
        assert float((pair.manual - pair.engine).abs().max()) <= CLOSE * max(1.0, most), name
    assert found.max_abs_difference <= CLOSE * 1e3
    assert found.notes == ("as it is",)


def test_the_state_and_the_pre_activations_are_those_of_autograd() -> None:
    """Of one LSTM step written with torch's own operations."""
    spec = Spec(cell="lstm", input_size=3, hidden_size=4, dtype="float64")
    run = prepare(spec, "randn:1", "randn", "randn")
    found = gradients_prepared(run).layers[0]
    p = run.parameters
    x, h, c = run.sequence.x[0], run.sequence.h0[0], run.sequence.c0[0]
    wx = torch.nn.functional.linear(x, p["weight_ih_l0"], p["bias_ih_l0"])
    s = (wx + torch.nn.functional.linear(h, p["weight_hh_l0"], p["bias_hh_l0"])).requires_grad_()
    s_i, s_f, s_g, s_o = s.chunk(4, -1)
    gates = {"i": s_i.sigmoid(), "f": s_f.sigmoid(), "g": s_g.tanh(), "o": s_o.sigmoid()}
    gates["c"] = gates["f"] * c + gates["i"] * gates["g"]
    gates["h"] = gates["o"] * gates["c"].tanh()
    wanted = torch.autograd.grad(gates["h"].sum(), [s, *gates.values()])
    for gate, block in zip("ifgo", wanted[0].chunk(4, -1), strict=True):
        assert torch.allclose(found.pre_activations[gate][:, 0], block, rtol=CLOSE, atol=CLOSE), gate
    for name, one in zip(gates, wanted[1:], strict=True):
        assert torch.allclose(found.quantities[name][:, 0], one, rtol=CLOSE, atol=CLOSE), name


def test_what_each_step_adds_is_in_norm_what_it_adds() -> None:
    """A reset-before GRU has two products with W_hh: what a step adds is the sum of both."""
    for keys in ({"cell": "gru", "reset": "before"}, {"cell": "rnn"}):
        spec = Spec(input_size=3, hidden_size=4, dtype="float64", **keys)
        run = prepare(spec, "randn:5", "randn")
        last = gradients_prepared(run, "last", required=False)
        for name, one in last.parameters.items():
            assert one.steps.shape == (5,)
            assert float(one.steps.sum()) >= float(one.gradient.manual.norm()) * (1 - CLOSE), name
        alone = gradients_prepared(prepare(spec, run.sequence.x[:1, 0], run.sequence.h0[:, 0]), "sum", required=False)
        for name, one in alone.parameters.items():
            assert float(one.steps[0]) == pytest.approx(float(one.gradient.manual.norm()), rel=1e-12), name


def test_the_largest_steps_have_shares_of_one() -> None:
    one = gone_back("last", "randn:9").parameters["weight_hh_l0"]
    shares = [share for _, share in one.largest(99)]
    assert sum(shares) == pytest.approx(1, rel=1e-12)
    assert shares == sorted(shares, reverse=True)
    assert one.largest(1)[0][0] == int(one.steps.argmax())


def test_an_engine_without_gradients_is_said_in_a_note() -> None:
    class Forwards:
        name = "forwards"

        def run(self, *_given: Any) -> Any:
            raise AssertionError

    found = gradients_prepared(replace(prepare(Spec(), "randn:3"), engine=Forwards()))
    assert found.notes == ("forwards gives no gradients: only the equations' are shown",)
    assert not found.is_compared
    assert all(pair.engine is None for pair in found.pairs.values())
    assert "the equations alone" in repr(found)
    assert "equations only, nothing to compare with" in str(found)


def test_padding_gets_no_gradient() -> None:
    found = gone_back("sum", cell="lstm", bidirectional=True, batch=2, lengths=[2, 6])
    for layer in found.layers:
        for name, values in (layer.quantities | layer.pre_activations).items():
            assert not values[0, 2:].any(), name
    assert not found.x.manual[0, 2:].any()
    assert not found.upstream[0, 2:].any()


def test_arrays_have_the_names_of_a_recording() -> None:
    arrays = gone_back(cell="lstm").to_numpy()
    place = (0, "forward")
    assert {"x", "h0", "c0", "spec", "output", "grad.output", "grad.x", "manual.grad.x"} <= set(arrays)
    assert {"grad.weight_hh_l0", "l0.forward.grad.i", "l0.forward.grad.i_pre", "l0.forward.grad.h_next"} <= set(arrays)
    assert ArrayName.parse("l0.forward.grad.i_pre") == ArrayName("i_pre", place, is_gradient=True)
    for name in arrays:
        assert str(ArrayName.parse(name)) == name
    assert arrays["grad.x"].shape == (1, 6, 3)
    assert np.abs(arrays["grad.x"] - arrays["manual.grad.x"]).max() <= CLOSE


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("grad.x", ArrayName("x", is_gradient=True)),
        ("engine.grad.x", ArrayName("x", None, "engine", None, True)),
        ("engine.keras.grad.weight_ih_l0", ArrayName("weight_ih_l0", None, "engine", "keras", True)),
        ("engine.mine.py:f.h", ArrayName("h", None, "engine", "mine.py:f")),
        ("l1.reverse.engine.a.b.grad.c", ArrayName("c", (1, "reverse"), "engine", "a.b", True)),
        ("gradual.x", ArrayName("gradual.x")),
        (f"l{'9' * 5000}.forward.h", ArrayName(f"l{'9' * 5000}.forward.h")),
    ],
)
def test_a_name_is_taken_apart(text: str, name: ArrayName) -> None:
    assert ArrayName.parse(text) == name
    assert str(name) == text
