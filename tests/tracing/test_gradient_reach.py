"""How far a gradient reaches, against autograd and against networks whose answer is known by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rnnspect import Gradients, Spec
from rnnspect.tracing.backward import gradients_prepared
from rnnspect.tracing.prepare import prepare
from rnnspect.views import reach as words

CLOSE = 1e-10
"""Relative. Some hundred roundings of 1e-16 in float64, and sums that cancel to a thousandth at most."""


def gone_back(x: Any = "randn:20", loss: Any = "last", **keys: Any) -> Gradients:
    spec = Spec(**({"input_size": 3, "hidden_size": 4, "dtype": "float64"} | keys))
    return gradients_prepared(prepare(spec, x, *["randn"] * len(spec.cell_type.states)), loss, required=False)


def zeros(spec: Spec) -> dict[str, torch.Tensor]:
    from rnnspect.network.parameters import parameters_of

    return {one.name: torch.zeros(one.shape, dtype=torch.float64) for one in parameters_of(spec)}


def linear_rnn(factor: float, steps: int, loss: Any = "last") -> Gradients:
    """h' = factor · h, as relu leaves what is positive: dL/dh goes back by the same factor."""
    spec = Spec(cell="rnn", nonlinearity="relu", input_size=1, hidden_size=1, dtype="float64")
    weights = zeros(spec) | {"weight_hh_l0": torch.tensor([[factor]], dtype=torch.float64)}
    return gradients_prepared(prepare(spec.with_changes(weights=weights), [[0.0]] * steps, [[1.0]]), loss)


def test_a_network_that_shrinks_by_a_factor_a_step_says_so() -> None:
    found = linear_rnn(0.82, 100)
    [path] = found.layers[0].reach.paths
    assert path.name == "h"
    assert path.rate(0) == pytest.approx(0.82, rel=CLOSE)
    assert path.blocked(0) == 0
    wanted = f"dL/dh reaches step 0 with {0.82**99:.2g} of that at step 99: ×0.82 a step through h"
    assert words.sentence(found.layers[0], 0, 100) == wanted
    assert found.layers[0].reach.spectral_radius == {"h": pytest.approx(0.82, rel=CLOSE)}


def test_with_a_loss_at_every_step_the_sentence_does_not_claim_that_it_reaches() -> None:
    """dL/dh_t = 1 + 0.5 + 0.25 + …, which is 2 at step 0, half of it from later steps."""
    found = linear_rnn(0.5, 40, "sum")
    said = words.sentence(found.layers[0], 0, 40)
    assert said.startswith("dL/dh at step 0 is 2 times that at step 39 (the part from later steps is 50 % as large)")
    alike = linear_rnn(0.02, 40, "sum")  # 1 / 0.98
    said = words.sentence(alike.layers[0], 0, 40)
    assert said.startswith("dL/dh at step 0 is about as large as at step 39 (the part from later steps is 2 %")


def test_a_unit_that_relu_closes_stops_the_gradient() -> None:
    found = linear_rnn(-1.0, 4)
    layer = found.layers[0]
    assert layer.reach.paths[0].rate(0) is None
    assert layer.reach.dead == (0,)
    assert layer.reach.saturated == {"h": 1.0}
    assert words.sentence(layer, 0, 4) == "dL/dh is zero before step 3: zero through h"


def test_an_lstm_with_open_forget_gates_keeps_c() -> None:
    """All weights 0 and b_f = 4: c goes on by f = σ(4) alone, and nothing goes through h."""
    spec = Spec(cell="lstm", input_size=1, hidden_size=2, dtype="float64")
    weights = zeros(spec)
    weights["bias_ih_l0"][2:4] = 4.0
    run = prepare(spec.with_changes(weights=weights), [[1.0]] * 10, None, [[1.0, 2.0]])
    layer = gradients_prepared(run, "last").layers[0]
    paths = {path.name: path for path in layer.reach.paths}
    f = 1 / (1 + math.exp(-4))
    assert paths["c"].rate(0) == pytest.approx(f, rel=CLOSE)
    assert (paths["h"].rate(0), paths["h"].blocked(0)) == (None, 1)  # only at the last step a gradient comes to h
    assert layer.reach.time_constants is not None
    assert layer.reach.time_constants.tolist() == pytest.approx([-1 / math.log(f)] * 2, rel=CLOSE)
    assert layer.reach.saturated["f"] == 1.0  # σ'(4) is 0.071 of 0.25 / 4
    assert layer.reach.saturated["i"] == 0.0


def test_a_gru_keeps_h_by_z() -> None:
    spec = Spec(cell="gru", input_size=1, hidden_size=2, dtype="float64")
    weights = zeros(spec)
    weights["bias_ih_l0"][2:4] = 2.0
    layer = gradients_prepared(prepare(spec.with_changes(weights=weights), [[1.0]] * 10, [[1.0, 2.0]]), "last").layers[
        0
    ]
    paths = {path.name: path for path in layer.reach.paths}
    z = 1 / (1 + math.exp(-2))
    assert paths["z ⊙ h"].rate(0) == pytest.approx(z, rel=CLOSE)
    assert paths["W_hh"].rate(0) is None
    assert "×0.88 a step in all, zero through W_hh, ×0.88 through z ⊙ h" in words.sentence(layer, 0, 10)


CELLS: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "lstm", "proj_size": 2},
    {"cell": "lstm", "bidirectional": True, "batch": 2, "lengths": [20, 7]},
    {"cell": "gru"},
    {"cell": "gru", "reset": "before", "reverse": True},
    {"cell": "lstm", "peepholes": True},
    {"cell": "lstm", "input_forget": True},
    {"cell": "rnn", "activations": ["elu(0.5)"]},
]


@pytest.mark.parametrize("keys", CELLS, ids=str)
def test_both_paths_are_what_goes_on(keys: dict[str, Any]) -> None:
    """Of a cell without c, the parts of both paths add up to what comes to the step before; of an LSTM without
    peepholes f ⊙ dL/dc is what comes to c."""
    found = gone_back(loss="sum", **keys)
    for layer in found.layers:
        q, norms = layer.quantities, layer.reach.norms
        paths = {path.name: path.ratios for path in layer.reach.paths}
        for item in range(found.batch):
            length = found.length(item)
            later = range(1, length) if layer.direction == "forward" else range(length - 1)
            step = -1 if layer.direction == "forward" else 1
            for t in later:
                if "c" in q and "peepholes" not in keys:
                    wanted = q["c_next"][item, t + step].norm() / q["c"][item, t].norm()
                    assert float(paths["c"][item, t]) == pytest.approx(float(wanted), rel=CLOSE)
                if "c" not in q:
                    whole = float(norms["h_next"][item, t + step] / norms["h"][item, t])
                    parts = [float(ratios[item, t]) for ratios in paths.values()]
                    assert whole <= sum(parts) * (1 + CLOSE)
                    assert whole >= abs(parts[0] - sum(parts[1:])) * (1 - CLOSE)
            assert bool(norms["h"][item, length:].isnan().all())


def test_the_path_through_h_of_an_lstm_leaves_out_what_came_along_c() -> None:
    """Against autograd: from h at a step to h at the step before, with nothing given to c."""
    spec = Spec(cell="lstm", input_size=3, hidden_size=4, dtype="float64")
    run = prepare(spec, "randn:6", "randn", "randn")
    found = gradients_prepared(run, "sum")
    cell = torch.nn.LSTMCell(3, 4).double()
    cell.load_state_dict({name.removesuffix("_l0"): values for name, values in run.parameters.items()})
    h, c = run.sequence.h0[0], run.sequence.c0[0]
    paths = {path.name: path.ratios for path in found.layers[0].reach.paths}
    for t in range(6):
        before = h.detach().requires_grad_()
        h, c = cell(run.sequence.x[t], (before, c.detach()))
        g = found.layers[0].quantities["h"][:, t]
        [came] = torch.autograd.grad((h * g).sum(), before)
        assert float(paths["h"][0, t]) == pytest.approx(float(came.norm() / g.norm()), rel=CLOSE)


@pytest.mark.parametrize("keys", CELLS[:4], ids=str)
def test_saturated_values_are_those_with_a_flat_function(keys: dict[str, Any]) -> None:
    """The slope is what dL/ds is of dL/d of the gate; a gate between 0 and 1 has at most ¼, a tanh at most 1."""
    from rnnspect import trace

    spec = Spec(**({"input_size": 3, "hidden_size": 4, "dtype": "float64"} | keys))
    found = gradients_prepared(prepare(spec, "randn:20"), "sum", required=False)
    seen = trace(spec, "randn:20")
    for layer, values in zip(found.layers, seen.layers, strict=True):
        for gate, share in layer.reach.saturated.items():
            v = values.quantities[gate]
            v = v[~v.isnan()]
            relative = 1 - v**2 if gate in ("g", "n", "h") else 4 * v * (1 - v)
            assert share == pytest.approx(float((relative < 0.1).double().mean()), abs=1e-12), gate


def test_time_constants_are_those_of_the_mean_forget_gate() -> None:
    from rnnspect import trace

    spec = Spec(cell="lstm", input_size=3, hidden_size=4, dtype="float64", bidirectional=True, batch=2, lengths=[9, 4])
    found, seen = gradients_prepared(prepare(spec, "randn:9"), "sum"), trace(spec, "randn:9")
    for layer, values in zip(found.layers, seen.layers, strict=True):
        f = values.quantities["f"]
        mean = f[~f.isnan().any(-1)].mean(0)
        assert torch.allclose(layer.reach.time_constants, -1 / mean.log(), rtol=CLOSE, atol=0)


def test_a_direction_that_begins_where_the_loss_is_goes_nowhere() -> None:
    found = gone_back(cell="gru", bidirectional=True)
    said = words.sentence(found.layers[1], 0, 20)
    assert said.startswith("only step 19 has a gradient: this direction begins there")


def test_nan_and_underflow_are_said() -> None:
    spec = Spec(cell="rnn", input_size=1, hidden_size=2)
    broken = gradients_prepared(prepare(spec, [[1.0], [math.nan], [1.0]]), "last", required=False)
    assert words.sentence(broken.layers[0], 0, 3) == "dL/dh is not finite, from step 1 on"
    long = gradients_prepared(prepare(spec, "randn:400"), "last", required=False)
    assert "float32 ends at 1e-38" in words.sentence(long.layers[0], 0, 400)


def test_a_forget_gate_that_is_always_open_has_no_time_constant() -> None:
    spec = Spec(cell="lstm", input_size=1, hidden_size=2, dtype="float64", activations=["hard_sigmoid", "tanh", "tanh"])
    weights = zeros(spec)
    weights["bias_ih_l0"][2:4] = 9.0
    found = gradients_prepared(prepare(spec.with_changes(weights=weights), "ones:5"), "last", required=False)
    reach = found.layers[0].reach
    assert reach.time_constants is not None
    assert reach.time_constants.tolist() == [math.inf] * 2
    assert "time constants (steps until 1/e is left): median ∞ (∞ to ∞)" in words.reasons(reach)
