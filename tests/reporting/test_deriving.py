"""Derivations: added up again, beside independent implementations, and beside what a check says of the same address.

A cell that only this file knows, a minimal gated unit (Zhou et al. 2016):

    f  = σ(W_if x + b_if + W_hf h + b_hf)
    n  = tanh(W_in x + b_in + W_hn (f ⊙ h) + b_hn)
    h' = (1 − f) ⊙ h + f ⊙ n
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnspect
from rnnspect import Spec
from rnnspect.arithmetic.unroll import unroll
from rnnspect.cells import CELLS
from rnnspect.cells.interface import Cell
from rnnspect.checking.check import check_prepared
from rnnspect.errors import InputError, SequenceError
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.reporting.data import Address
from rnnspect.reporting.deriving import derive_prepared, locate
from rnnspect.tracing.prepare import Prepared, prepare
from tests import operator_loops
from tests.cells import test_variants
from tests.comparison import UNIT_ROUNDOFF, specs
from tests.readding import document_of, readd
from tests.reference import reference

if TYPE_CHECKING:
    from rnnspect.reporting.data import Derivation


class Loop:
    """The numpy loop over ONNX's operators as an engine, in the spec's dtype."""

    name = "loop"

    def run(self, spec: Spec, parameters: Any, s: Any) -> Recording:
        found = test_variants.by_loop(spec, parameters, s, getattr(np, spec.dtype))
        ends = {way: 0 if way == "reverse" else -1 for way in spec.directions}
        h = {(0, way): torch.from_numpy(found[way]["h"].copy()) for way in ends}
        final = {
            name: torch.from_numpy(np.stack([found[way][name][end] for way, end in ends.items()]))
            for name in spec.cell_type.states
        }
        info = EngineInfo("loop", "", "cpu", spec.dtype)
        return Recording(info, torch.cat(list(h.values()), -1), final["h"], final.get("c"), h, 0.0)


class Equations:
    """An engine for cells that no framework has: the manual path itself."""

    name = "equations"

    def run(self, spec: Spec, parameters: Any, s: Any) -> Recording:
        runs = list(unroll(spec, parameters, s))
        h = {(run.layer, run.direction): run.quantities["h"] for run in runs}
        h_n = torch.stack([run.final[0] for run in runs])
        return Recording(EngineInfo("equations", "", "cpu", spec.dtype), runs[-1].quantities["h"], h_n, None, h, 0.0)


def somewhere(data: Any, prepared: Prepared) -> dict[str, Any]:
    """Any address of a run."""
    spec, sequence = prepared.spec, prepared.sequence
    item = data.draw(st.integers(0, sequence.batch - 1), "item")
    quantity = data.draw(st.sampled_from(spec.cell_type.quantities), "quantity")
    return {
        "layer": data.draw(st.integers(0, spec.num_layers - 1), "layer"),
        "direction": data.draw(st.sampled_from(spec.directions), "direction"),
        "batch": item,
        "step": data.draw(st.integers(0, (sequence.lengths or [sequence.steps] * (item + 1))[item] - 1), "step"),
        "unit": data.draw(st.integers(0, (spec.output_size if quantity == "h" else spec.hidden_size) - 1), "unit"),
        "quantity": quantity,
    }


def derived(prepared: Prepared, **place: Any) -> Derivation:
    return derive_prepared(prepared, locate(prepared, Address(**place)))


def of_variant(spec: Spec) -> Prepared:
    return Prepared(spec, *test_variants.drawn(spec), Loop())


@settings(max_examples=60)
@given(spec=specs(), data=st.data())
def test_the_printed_terms_give_the_printed_number(spec: Spec, data: Any):
    prepared = prepare(spec)
    readd(document_of(derived(prepared, **somewhere(data, prepared))), prepared.parameters)


@settings(max_examples=60)
@given(spec=test_variants.specs(), data=st.data())
def test_the_same_of_every_variant_and_function(spec: Spec, data: Any):
    prepared = of_variant(spec)
    readd(document_of(derived(prepared, **somewhere(data, prepared))), prepared.parameters)


@settings(max_examples=60)
@given(spec=specs(dtype="float64"), data=st.data())
def test_the_number_is_that_of_an_independent_implementation(spec: Spec, data: Any):
    """float64 on both sides, a dozen steps of a few dozen products of numbers near 1: hundreds of roundings of 1e-16.
    Every quantity that is taken apart is held to it, not the result alone."""
    prepared = prepare(spec)
    arrays = {name: tensor.numpy() for name, tensor in prepared.parameters.items()}
    s = prepared.sequence
    right = reference(
        "relu" if spec.nonlinearity == "relu" else spec.cell,
        arrays,
        s.x.transpose(0, 1).numpy(),
        s.h0.numpy(),
        None if s.c0 is None else s.c0.numpy(),
        s.lengths,
        bidirectional=spec.bidirectional,
    )
    found = derived(prepared, **somewhere(data, prepared))
    at = found.at
    for equation in found.equations:
        there = right.layers[at.layer, at.direction][equation.name][at.batch, at.step, at.unit]
        # relu is not bounded: what it gives grows over steps and layers
        assert found.evaluation.value(equation.expression, equation.unit) == pytest.approx(there, rel=1e-11, abs=1e-12)


@settings(max_examples=60)
@given(spec=test_variants.specs(), data=st.data())
def test_the_number_of_a_variant_is_that_of_a_numpy_loop(spec: Spec, data: Any):
    """The same tolerance as that of all steps at once beside this loop: functions without a bound grow."""
    prepared = of_variant(spec)
    right = test_variants.by_loop(spec, prepared.parameters, prepared.sequence, np.float64)
    found = derived(prepared, **somewhere(data, prepared))
    at = found.at
    for equation in found.equations:
        there = right[at.direction][equation.name][at.step, at.batch, at.unit]
        assert found.evaluation.value(equation.expression, equation.unit) == pytest.approx(there, rel=1e-9, abs=1e-11)


@pytest.mark.slow
@settings(max_examples=60)
@given(spec=specs(dtype="float32"), data=st.data())
def test_the_number_is_that_of_a_trace(spec: Spec, data: Any):
    """A trace runs free and rounds to float32: by what a check allows at each of at most 12 steps and 3 layers, which
    weights of at most 1/√H do not make larger."""
    prepared = prepare(spec)
    found = derived(prepared, **somewhere(data, prepared))
    at = found.at
    layers = {(layer.layer, layer.direction): layer.quantities for layer in rnnspect.trace(spec).layers}
    there = float(layers[at.layer, at.direction][at.quantity][at.batch, at.step, at.unit])
    assert found.value == pytest.approx(there, rel=1e-4, abs=1e-4)


def assert_as_in_a_check(found: Derivation, point: Any) -> None:
    """float64 on both sides, by the same bound: the check looks at all units or at one, so sums differ in order."""
    assert (found.engine_value, found.at.quantity) == (point.engine, point.quantity)
    assert found.value == pytest.approx(point.manual, rel=1e-12, abs=1e-15)
    assert found.bound == pytest.approx(point.bound, rel=1e-6)
    assert found.ratio == pytest.approx(point.ratio, rel=1e-6, abs=1e-15 / point.bound)


def at_point(prepared: Prepared, point: Any) -> Derivation:
    return derived(
        prepared,
        layer=point.layer,
        direction=point.direction,
        step=point.step,
        unit=point.unit,
        batch=point.batch,
        quantity=point.quantity,
    )


@settings(max_examples=60)
@given(spec=specs())
def test_difference_and_bound_are_those_of_a_check(device: str, spec: Spec):
    """Where torch gives other numbers for all layers in one run than for each alone, a check may judge the former, of
    which it sees the output alone; a derivation shows the latter."""
    prepared = prepare(spec.with_changes(device=device))
    verdict = check_prepared(prepared)
    worst = verdict.worst
    if worst is not None and worst.step >= 0 and not verdict.estimated:
        assert_as_in_a_check(at_point(prepared, worst), worst)


@settings(max_examples=40)
@given(spec=specs(cell="lstm", num_layers=1, bidirectional=False))
def test_the_bound_of_c_n_is_that_of_a_check(spec: Spec):
    """The number itself may be another one: a check may tell c better from h, within that bound."""
    prepared = prepare(spec)
    worst = check_prepared(prepared).worst
    if worst is not None and worst.quantity == "c_n":
        found = derived(prepared, step=-1, unit=worst.unit, batch=worst.batch, quantity="c")
        assert found.engine_value == worst.engine
        assert found.bound == pytest.approx(worst.bound, rel=1e-6)


class Bfloat16Products:
    """An Elman network whose products round their operands, as an engine may that says so."""

    name = "bf16"

    def run(self, spec: Spec, parameters: Any, s: Any) -> Recording:
        p, h, steps = parameters, s.h0[0], []
        for x_t in s.x:
            x_t, h_t, w_ih, w_hh = (v.bfloat16().float() for v in (x_t, h, p["weight_ih_l0"], p["weight_hh_l0"]))
            h = torch.tanh(x_t @ w_ih.T + p["bias_ih_l0"] + h_t @ w_hh.T + p["bias_hh_l0"])
            steps.append(h)
        precision = {"mkldnn.matmul.fp32_precision": "bf16"}
        info = EngineInfo("bf16", "", "cpu", "float32", precision)
        output = torch.stack(steps)
        return Recording(info, output, h[None], None, {(0, "forward"): output}, 0.0)


def test_what_an_engine_may_also_use_is_allowed_where_it_is_not_right_without():
    prepared = replace(prepare(Spec(hidden_size=6, input="randn:8")), engine=Bfloat16Products())
    verdict = check_prepared(prepared)
    assert (verdict.verdict, verdict.arithmetic) == ("agree", "float32, bfloat16 products")
    assert verdict.worst is not None
    found = at_point(prepared, verdict.worst)
    assert found.arithmetic == verdict.arithmetic
    assert_as_in_a_check(found, verdict.worst)


LONG = {
    "lstm": {"cell": "lstm", "h0": "randn", "c0": "randn"},
    "lstm reverse, packed": {"cell": "lstm", "bidirectional": True, "batch": 3, "lengths": [900, 700, 30]},
    "projected": {"cell": "lstm", "proj_size": 3},
    "gru": {"cell": "gru", "num_layers": 2},
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("keys", LONG.values(), ids=LONG.keys())
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_same_after_many_chunks_of_steps(keys: dict[str, Any], dtype: str):
    """Chunks are of some hundred steps; what begins one is carried on as a check carries it on."""
    prepared = prepare(Spec(**{"input_size": 3, "hidden_size": 7, "input": "randn:900", "dtype": dtype} | keys))
    worst = check_prepared(prepared).worst
    assert worst is not None
    if worst.step >= 0:
        assert_as_in_a_check(at_point(prepared, worst), worst)


class Faulty(Loop):
    """Takes the new cell state for the old one, or forgets a peephole."""

    def __init__(self, fault: str) -> None:
        self._fault = fault

    def run(self, spec: Spec, parameters: Any, s: Any) -> Recording:
        with pytest.MonkeyPatch.context() as patch:
            right = operator_loops.run
            patch.setattr(operator_loops, "run", lambda *given: right(*given[:6], self._fault))
            return super().run(spec, parameters, s)


@pytest.mark.usefixtures("no_causes")
@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("fault", "keys"),
    [
        ("reset", {"cell": "gru"}),
        ("peepholes", {"cell": "lstm", "peepholes": True}),
        ("coupled", {"cell": "lstm", "input_forget": True}),
    ],
)
def test_where_a_run_differs_the_second_look_has_the_bound(fault: str, keys: dict[str, Any], dtype: str):
    spec = Spec(input_size=4, hidden_size=5, input=None, dtype=dtype, **keys)
    prepared = replace(of_variant(spec), engine=Faulty(fault))
    verdict = check_prepared(prepared)
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    found = at_point(prepared, verdict.first)
    assert_as_in_a_check(found, verdict.first)
    assert found.ratio is not None
    assert found.ratio > 1


@pytest.mark.parametrize("item", [0, 1])
def test_c_of_the_last_step_stands_beside_c_n(item: int):
    spec = Spec(cell="lstm", bidirectional=True, batch=2, lengths=[5, 3], input="randn:5")
    c_n = rnnspect.trace(spec).c_n
    assert c_n is not None
    for row, (direction, step) in enumerate([("forward", -1), ("reverse", 0)]):
        place = {"direction": direction, "unit": 1, "batch_index": item, "quantity": "c"}
        found = rnnspect.derive(spec, step=step, **place)
        assert found.engine_value == float(c_n.engine[row, item, 1])
        assert found.ratio is not None
        assert found.ratio < 1
        assert rnnspect.derive(spec, step=1, **place).engine_value is None


CHAINS = {
    "lstm": {"cell": "lstm"},
    "reverse": {"cell": "lstm", "reverse": True},
    "peepholes": {"cell": "lstm", "peepholes": True},
    "reset before": {"cell": "gru", "reset": "before"},
}


@pytest.mark.parametrize("keys", CHAINS.values(), ids=CHAINS.keys())
def test_what_it_stops_at_can_be_derived_in_turn(keys: dict[str, Any]):
    """h is the engine's, so its derivation shows it. The rest is the same number: of a cell with peepholes each step
    is a chunk of its own, in which a check anchors c to the engine's h or carries it on, in float64 here."""
    prepared = of_variant(Spec(input_size=4, hidden_size=3, input=None, dtype="float64", **keys))
    found = derived(prepared, step=3, unit=1)
    values = {}
    for equation in document_of(found)["equations"]:
        collect(equation, values)
    assert found.in_turn
    for one in found.in_turn:
        unit = 2 if one.unit == "k" else int(one.unit)
        step, quantity = one.step, one.quantity
        again = derived(prepared, step=step, unit=unit, quantity=quantity)
        shown = values.get(f"{quantity}[step {step}, {unit}]")
        there = again.engine_value if quantity == "h" else again.value
        assert shown is None or shown == pytest.approx(there, rel=1e-13)
    assert any(
        f"{one.quantity}[step {one.step}, {2 if one.unit == 'k' else one.unit}]" in values for one in found.in_turn
    )


def collect(node: dict[str, Any], values: dict[str, float]) -> None:
    """Every addressed number of a document."""
    if "address" in node:
        values.setdefault(node["address"], node["value"])
    below = [*node.get("operands", []), *(one[k] for one in node.get("products", []) for k in ("weight", "operand"))]
    for one in below:
        collect(one, values)


def test_the_layer_below_is_what_the_engine_gave_and_is_named_by_direction():
    spec = Spec(cell="gru", num_layers=2, bidirectional=True, hidden_size=4)
    found = rnnspect.derive(spec, step=1, unit=2, layer=1)
    below = {layer.direction: layer.engine["h"] for layer in rnnspect.trace(spec).layers if layer.layer == 0}
    values: dict[str, float] = {}
    for equation in document_of(found)["equations"]:
        collect(equation, values)
    seen = torch.cat([below["forward"][0, 1], below["reverse"][0, 1]])
    assert [values[f"x[step 1, {k}]"] for k in range(8)] == seen.tolist()
    named = [(one.what, one.layer, one.direction, one.unit) for one in found.in_turn if one.layer == 0]
    assert named == [
        ("x[step 1, k], k < 4", 0, "forward", "k"),
        ("x[step 1, k], k ≥ 4", 0, "reverse", "k − 4"),
    ]


class TopOnly:
    """torch, of which only the top layer is seen."""

    name = "top"

    def run(self, spec: Spec, parameters: Any, s: Any) -> Recording:
        seen = prepare(spec).engine.run(spec, parameters, s)
        return replace(seen, layers={at: h for at, h in seen.layers.items() if at[0] == spec.num_layers - 1})


def test_a_layer_that_nobody_shows_is_stepped_and_said_so():
    spec = Spec(cell="lstm", num_layers=2, hidden_size=3, input="randn:6")
    prepared = replace(prepare(spec), engine=TopOnly())
    worst = check_prepared(prepared).worst
    assert worst is not None
    if worst.step >= 0:
        assert_as_in_a_check(at_point(prepared, worst), worst)
    above = derived(prepared, step=4, unit=1, layer=1)
    assert dict(above.taken)["x at step 4"] == "h of layer 0 from the equations (torch does not return it)"
    assert above.bound is not None
    hidden = derived(prepared, step=4, unit=1, layer=0)
    assert (hidden.engine_value, hidden.bound) == (None, None)
    seen = derived(prepare(spec), step=4, unit=1, layer=0)
    assert hidden.value == pytest.approx(seen.value, abs=100 * UNIT_ROUNDOFF["float32"])  # five steps of torch's


def minimal(a: Any, u: Any, h: Any) -> dict[str, Any]:
    u_f, u_n = a.split(u)
    v_f, _ = a.split(a.hidden(h))
    f = a.sigmoid(u_f + v_f)
    _, v_n = a.split(a.hidden(f * h))
    n = a.tanh(u_n + v_n)
    return {"f": f, "n": n, "h": a.rest(f) * h + f * n}


def test_a_cell_that_it_was_not_taught(monkeypatch):
    cell = Cell("mgu", "MGU", ("f", "n"), ("h",), ("f", "n", "h"), ("sigmoid", "tanh"), minimal, mixes=True)
    monkeypatch.setitem(CELLS, "mgu", cell)
    prepared = replace(prepare(Spec(cell="mgu", hidden_size=4, dtype="float64", input="randn:5")), engine=Equations())
    found = derived(prepared, step=3, unit=2)
    assert [one.address for one in found.equations] == ["h[step 3, 2]", "f[step 3, 2]", "n[step 3, 2]"]
    assert found.equations[0].written == "h' = (1 − f) ⊙ h + f ⊙ n"
    readd(document_of(found), prepared.parameters)
    # float64 by matrix products and by exact sums: some dozen roundings of numbers below 1
    assert found.difference == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_flows_through(number: float):
    x = [[0.5] * 5, [0.5, number, 0.5, 0.5, 0.5]]
    document = document_of(rnnspect.derive(Spec(cell="lstm", input=x), step=1, unit=0))
    assert document["point"]["manual"] == ("NaN" if math.isnan(number) else document["point"]["manual"])
    parts = document["equations"][1]["operands"][0]["operands"]
    assert (
        parts[0]["products"][0]["operand"]["value"]
        == {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(number)]
    )
    assert document["difference"] in (0, 0.0) or abs(document["difference"]) < 1e-6


def test_a_sum_that_leaves_the_range_on_its_way_is_what_adding_up_gives():
    """Which math.fsum refuses."""
    big = 1.5e308
    flat = {"weight_hh_l0": [[0.0] * 2] * 2, "bias_ih_l0": [0.0] * 2, "bias_hh_l0": [0.0] * 2}
    spec = Spec(dtype="float64", input=[[big, big, -big, -big, 0.0]], weights={"weight_ih_l0": [[1.0] * 5] * 2} | flat)
    assert rnnspect.derive(spec, step=0, unit=0).value == 1.0  # infinity, as the first two add up to


def test_a_live_module_is_derived_itself():
    module = torch.nn.LSTM(3, 4, bidirectional=True)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = rnnspect.derive(module, x, step=-1, unit=-1, direction="reverse")
    with torch.no_grad():
        assert found.engine_value == float(module(x)[0][4, 7])
    assert found.at.step == 4
    assert found.at.unit == 3
    assert found.ratio is not None
    assert found.ratio < 1


def test_it_stays_when_the_module_moves_on():
    """In float64 nothing has to be copied to be read."""
    module = torch.nn.LSTM(3, 4, proj_size=2).double()
    found = rnnspect.derive(module, torch.ones(2, 3, dtype=torch.float64), step=1, unit=0)
    before = document_of(found)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert document_of(found) == before


def test_a_step_counts_from_the_end_of_its_item():
    spec = Spec(batch=2, lengths=[3, 2])
    assert rnnspect.derive(spec, step=-1, unit=0, batch_index=1).at.step == 1


WRONG = [
    ({"step": 3}, InputError, "step: no step 3; expected 0 to 2, or -1 for the last"),
    ({"step": -4}, InputError, "step: no step -4"),
    ({"step": 2, "batch_index": 1}, SequenceError, "step: step 2 is beyond the length 2 of batch item 1"),
    ({"unit": 2}, InputError, "unit: no unit 2; expected 0 to 1"),
    ({"layer": 1}, InputError, "layer: no layer 1; expected 0"),
    ({"batch_index": -1}, InputError, "batch_index: no batch item -1; expected 0 to 1"),
    ({"direction": "revers"}, InputError, "direction: this network has no direction 'revers'; expected forward"),
    ({"quantity": "hh"}, InputError, "did you mean 'h'?"),
    ({"quantity": "x"}, InputError, "cell rnn has no quantity 'x' to derive; expected h"),
]


@pytest.mark.parametrize(("place", "error", "said"), WRONG)
def test_an_address_that_is_not_there(place: dict[str, Any], error: type[Exception], said: str):
    with pytest.raises(error) as found:
        rnnspect.derive(Spec(batch=2, lengths=[3, 2]), **{"step": 0, "unit": 0} | place)
    assert said in str(found.value)
