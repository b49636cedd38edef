"""The page's own arithmetic, in a browser, against Python's on the same run: every number of every quantity."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect import engines
from rnnspect.arithmetic.chain_rule import names_of_pre_activations
from rnnspect.arithmetic.evaluation import Evaluation
from rnnspect.cells.functions import KINDS
from rnnspect.engines.interface import NoEngine
from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared, with_loss
from rnnspect.tracing.prepare import prepare
from rnnspect.views.report import as_data
from tests.cells.test_examples import EXAMPLES
from tests.cells.test_examples import cell as example
from tests.cells.test_norms import MIXED
from tests.reporting.runs import SPECS, prepared_of

PARTS = ("base", "work", "kept", "expression", "values")
"""The scripts that compute, which draw nothing."""
EVERY_MAP = """() => runs.flatMap((run) => run.layers).map((layer) => mapsOf(layer).map(({ quantity, shown }) => {
  const view = valuesOf(layer, quantity, shown);
  finished(view.ready());
  const numbers = [];
  for (let step = 0; step < view.steps; step += 1) {
    for (let unit = 0; unit < view.units; unit += 1) numbers.push(view.at(step, unit));
  }
  return { quantity, shown, steps: view.steps, units: view.units, exact: view.exact, numbers };
}))"""
EVERY_STEP = """() => data.layers.map((layer) => Object.entries(layer.derivable.equations).map(([name, { units }]) => {
  const numbers = [];
  for (let step = 0; step < data.length; step += 1) {
    for (let unit = 0; unit < units; unit += 1) numbers.push(numbersAt(layer, step).quantity(name, unit));
  }
  return { name, numbers };
}))"""
ONNX = {
    "before": {"cell": "gru", "reset": "before"},
    "peepholes": {"cell": "lstm", "peepholes": True},
    "coupled": {"cell": "lstm", "input_forget": True},
    "coupled peephole": {"cell": "lstm", "input_forget": True, "peepholes": True},
    "rnn clipped": {"cell": "rnn", "clip": 0.3, "activations": ["elu"]},
    "backwards": {"cell": "lstm", "reverse": True, "batch": 2, "lengths": [7, 5]},
    "both ways": {"cell": "lstm", "peepholes": True, "bidirectional": True, "clip": 0.5},
}
TORCH = {
    "deep": {"cell": "lstm", "num_layers": 3, "proj_size": 2, "bidirectional": True},
    "half": {"cell": "lstm", "dtype": "bfloat16"},
}


@pytest.fixture
def computed(chromium):
    """The answer of the page's script to a question, with the data of a report."""
    context = chromium.new_context(offline=True)

    def ask(report, question):
        page = context.new_page()
        page.set_content(f'<script type="application/json" id="data">{as_data(report)}</script>')
        scripts = files("rnnspect.views.report")
        page.add_script_tag(content="\n".join(scripts.joinpath(f"{part}.js").read_text("utf-8") for part in PARTS))
        found = page.evaluate(question)
        page.close()
        return found

    yield ask
    context.close()


def by_onnx(**keys):
    pytest.importorskip("onnxruntime")
    spec = rnnspect.Spec(**{"input_size": 3, "hidden_size": 4, "input": "randn:7", "h0": "randn"} | keys)
    return replace(prepare(spec), engine=engines.find("onnxruntime"))


def assert_same(report, ask):
    """Python's numbers are those of the equations on what was kept, before any of it was written. A sum is right to
    its last bit or so in both, and σ and tanh are those of two libraries, each right to a few roundings: 1e-14."""
    assert report.whole
    layers = [layer for run in report.runs for layer in run.layers]
    for layer, maps in zip(layers, ask(report, EVERY_MAP), strict=True):
        shown = {(one["quantity"], one["shown"]): one for one in maps}
        assert all(one["exact"] for one in maps)
        kept = layer.kept
        steps = [Evaluation(layer.derivable.equations, layer.derivable.parameters, kept.at(n)) for n in kept.steps]

        def values(quantity, which="equations", shown=shown):
            one = shown[quantity, which]
            return np.array(one["numbers"], dtype=float).reshape(one["steps"], one["units"])

        np.testing.assert_array_equal(values("x"), kept.given["x"])
        every = [*layer.derivable.equations.items(), ("input_projection", layer.derivable.projection)]
        for name, expression in every:
            found = values(name)
            assert len(found) == report.length
            python = [[one.value(expression, unit) for unit in range(found.shape[1])] for one in steps]
            np.testing.assert_allclose(found, python, rtol=1e-14, atol=1e-15)
        for name in kept.gave if kept.bound is not None else ():
            np.testing.assert_array_equal(values(name, "engine"), kept.gave[name])
            apart = kept.gave[name] - values(name)
            np.testing.assert_array_equal(values(name, "difference"), apart)
        if kept.bound is not None:
            # The bound is kept in float32.
            expected = abs(values("h", "difference")) / kept.bound
            np.testing.assert_allclose(values("h", "ratio"), expected, rtol=2.0**-23)


@pytest.mark.parametrize("name", [*SPECS, *TORCH])
def test_the_page_computes_what_python_does(computed, name):
    prepared = prepared_of(name) if name in SPECS else prepared_of("lstm", **TORCH[name])
    for item in {0, prepared.sequence.batch - 1}:
        assert_same(report_prepared(prepared, ReportOptions(item=item)), computed)


@pytest.mark.parametrize("name", ONNX)
def test_of_every_variant(computed, name):
    prepared = by_onnx(**ONNX[name])
    assert_same(report_prepared(prepared, ReportOptions(item=prepared.sequence.batch - 1)), computed)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_with_every_function(computed, clip):
    names = [*KINDS, "tanh"]
    for at in range(0, len(names), 3):
        assert_same(report_prepared(by_onnx(cell="lstm", activations=names[at : at + 3], clip=clip)), computed)


def assert_gradients(prepared, ask):
    """dL/d of each pre-activation, from dL/d of its gate and the gate's slope: as Python went back over the cell's
    lines. Python has them in the network's dtype. A gate is some 20 roundings from exact after 7 steps, and so is its
    slope, which is at most 1: 2⁻²⁴ · 100 of dL/d of the gate in float32, and as many in float64."""
    item = min(1, prepared.sequence.batch - 1)
    report = report_prepared(prepared, with_loss(ReportOptions(item=item), "mean", prepared, "loss"))
    names = names_of_pre_activations(prepared.spec.cell_type)
    for layer, maps in zip(report.layers, ask(report, EVERY_MAP), strict=True):
        assert all(layer.maps[name, "gradient"] is None for name in names)
        shown = {one["quantity"]: one["numbers"] for one in maps if one["shown"] == "gradient"}
        gradient = layer.reach.gradient
        for name, (gate, values) in zip(names, gradient.pre_activations.items(), strict=True):
            near = 100 * torch.finfo(values.dtype).eps / 2 * float(gradient.quantities[gate].abs().max())
            python = values[item, : report.length].double().flatten().numpy()
            np.testing.assert_allclose(shown[name], python, rtol=0, atol=near)
            assert max(map(abs, shown[name])) > 100 * near  # not all of them nothing


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*SPECS, "deep"])
def test_the_page_derives_the_gradients_of_pre_activations(computed, name, dtype):
    prepared = prepared_of(name if name in SPECS else "lstm", **TORCH.get(name, {}) | {"dtype": dtype})
    assert_gradients(prepared, computed)


@pytest.mark.parametrize("name", ONNX)
def test_the_page_derives_them_of_every_variant(computed, name):
    assert_gradients(by_onnx(**ONNX[name]), computed)


OWN = [MIXED, *map(example, EXAMPLES)]


@pytest.mark.parametrize("cell", OWN, ids=lambda cell: cell.name)
def test_of_cells_of_ones_own(computed, cell):
    """The equations alone, in float64: norms, matrices and a cell state of several blocks, forwards and back."""
    keys = {"input_size": 3, "hidden_size": 4, "input": "randn:7", "h0": "randn", "dtype": "float64"}
    prepared = replace(prepare(rnnspect.Spec(cell=cell, **keys)), engine=NoEngine("no engine"))
    assert_same(report_prepared(prepared), computed)
    assert_gradients(prepared, computed)


NUMBERS = {
    "affine": "(0.5, 0.1)",
    "leaky_relu": "(0.1)",
    "thresholded_relu": "(0.1)",
    "scaled_tanh": "(1.5, 0.7)",
    "hard_sigmoid": "(0.3, 0.4)",
    "elu": "(0.5)",
}


@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_page_derives_them_with_every_function(computed, clip):
    """The equations alone: no engine is right with all of them."""
    keys = {"input_size": 3, "hidden_size": 4, "input": "randn:7", "h0": "randn", "clip": clip}
    for name in [*KINDS, "tanh"]:
        prepared = prepare(rnnspect.Spec(cell="rnn", activations=[name + NUMBERS.get(name, "")], **keys))
        assert_gradients(replace(prepared, engine=NoEngine("no engine")), computed)


def test_one_step_is_computed_as_all_are(computed):
    """What a click shows is, to the bit, what the heat map shows. 37 steps end in the middle of a block."""
    report = report_prepared(prepared_of("packed", batch=1, lengths=[37], steps=37))
    for layer, steps in zip(computed(report, EVERY_MAP), computed(report, EVERY_STEP), strict=True):
        maps = {one["quantity"]: one["numbers"] for one in layer if one["shown"] == "equations"}
        for one in steps:
            assert one["numbers"] == maps[one["name"]]


def test_a_layer_that_was_not_recorded(computed):
    output = rnnspect.trace(prepared_of("layers").spec).output.engine[0].clone()
    report = report_prepared(prepared_of("layers"), recorded=Recordings(output))
    assert [layer.kept.bound is None for layer in report.layers] == [True, True, False, False]
    assert_same(report, computed)


def test_two_runs_beside_each_other(computed):
    """Each starts every step from its own h; what is between them is what their engines gave."""
    prepared = prepared_of("packed")
    other = prepared.with_engine("torch-cell", "engine")
    report = report_prepared(prepared, ReportOptions(item=1, beside=((other, None),)))
    assert [run.name for run in report.runs] == ["torch", "torch-cell"]
    assert_same(report, computed)
    between = "() => data.layers.map((layer) => betweenRuns(layer, counterpart(layer, runs[1]), 'h'))"
    first, second = ([layer.kept.gave["h"] for layer in run.layers] for run in report.runs)
    for at, (mine, theirs) in enumerate(zip(first, second, strict=True)):
        shown = computed(report, f"() => ({between})()[{at}].at(2, 1)")
        assert shown == theirs[2, 1] - mine[2, 1]


def test_arrays_are_unpacked_in_an_older_browser_too(computed):
    """One without `Uint8Array.fromBase64`."""
    report = report_prepared(prepared_of("lstm"))
    weights = "[...unpacked(data.weights.weight_hh_l0.values)]"
    found = computed(report, f"() => {{ delete Uint8Array.fromBase64; return {weights}; }}")
    assert found == computed(report, f"() => {weights}") == report.weights["weight_hh_l0"].low.ravel().tolist()


def test_two_runs_of_other_numbers_are_refused():
    other = prepared_of("lstm", seed=5)
    with pytest.raises(rnnspect.InputError, match="other parameters or another input"):
        report_prepared(prepared_of("lstm"), ReportOptions(beside=((other, None),)))


def test_what_is_not_a_number(computed):
    """An infinity and a NaN in x: the same places are infinite or no numbers as in Python."""
    x = torch.randn(6, 3)
    x[2, 0], x[4, 1] = math.inf, math.nan
    for cell in ("lstm", "gru"):
        report = report_prepared(prepare(rnnspect.Spec(cell=cell, input_size=3, hidden_size=4), x))
        (maps,) = computed(report, EVERY_MAP)
        (layer,) = report.layers
        steps = [Evaluation(layer.derivable.equations, layer.derivable.parameters, layer.kept.at(n)) for n in range(6)]
        for one in maps:
            if one["shown"] == "equations" and one["quantity"] in layer.derivable.equations:
                expression = layer.derivable.equations[one["quantity"]]
                python = [[step.value(expression, unit) for unit in range(4)] for step in steps]
                found = np.array(one["numbers"], dtype=float).reshape(6, 4)
                np.testing.assert_allclose(found, python, rtol=1e-14, atol=1e-15)
            elif one["shown"] == "difference":
                assert not np.isnan(one["numbers"]).any()


def test_sums_do_not_depend_on_the_order_of_adding(computed):
    """2⁴⁰ + 2⁻³⁰ − 2⁴⁰: added up in double alone, nothing of the second number would be left.
    The biases do the same to the sum of the products."""
    weights = {"weight_ih_l0": [[1.0, 1.0, 1.0]] * 2, "weight_hh_l0": [[0.0, 0.0]] * 2}
    weights |= {"bias_ih_l0": [2.0**40] * 2, "bias_hh_l0": [-(2.0**40)] * 2}
    keys = {"cell": "rnn", "nonlinearity": "relu", "dtype": "float64", "weights": weights}
    x = torch.tensor([[2.0**40, 2.0**-30, -(2.0**40)]] * 3).double()
    ((*_, h, _, _, _),) = computed(
        report_prepared(prepare(rnnspect.Spec(input_size=3, hidden_size=2, **keys), x)), EVERY_MAP
    )
    assert (h["quantity"], h["shown"]) == ("h", "equations")
    assert h["numbers"] == [2.0**-30] * 6


def test_what_a_check_cannot_judge_is_not_above_its_bound(computed):
    """The engine's float32 overflows, the equations in double do not."""
    keys = {"cell": "rnn", "nonlinearity": "relu", "bias": False, "input": "ones:3"}
    weights = {"weight_ih_l0": [[1e30]] * 2, "weight_hh_l0": [[1e30, 0.0]] * 2}
    report = report_prepared(prepare(rnnspect.Spec(input_size=1, hidden_size=2, weights=weights, **keys)))
    ((*_, engine, difference, ratio),) = computed(report, EVERY_MAP)
    assert engine["numbers"][2:4] == difference["numbers"][2:4] == [math.inf] * 2
    assert max(ratio["numbers"][:4]) < 1
