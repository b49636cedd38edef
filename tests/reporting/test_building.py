"""What a report holds: the numbers of a check and of a derivation, by every cell, and nothing but data of any name."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.cells import VARIANTS
from rnnspect.cells.functions import FIXED, KINDS
from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
from rnnspect.reporting.heat_maps import _KINDS
from rnnspect.reporting.keeping import kept_steps
from rnnspect.tracing.gradient_reach import FLAT
from rnnspect.tracing.prepare import prepare
from rnnspect.views.report import as_data, as_html
from tests.reporting.reading import Elements, Exported, array_of, cells_of, data_of, map_of, values_of
from tests.reporting.runs import EVIL, SPECS, prepared_of

KEYS = {"before": {"reset": "before"}, "coupled": {"input_forget": True}, "peepholes": {"peepholes": True}}


def report_of(name, steps=7, **asked):
    return report_prepared(prepared_of(name, steps), ReportOptions(**asked))


@pytest.mark.parametrize("name", SPECS)
def test_maps_are_what_a_trace_shows(name):
    """Of a right run the free-running equations are near: each differs from the engine by roundings alone, which at
    a few steps of numbers near 1 are below 1e-5."""
    prepared = prepared_of(name)
    data = json.loads(as_data(report_prepared(prepared, ReportOptions(item=0))))
    trace = rnnspect.trace(prepared.spec)
    length = trace.length(0)
    for layer in data["layers"]:  # each number stands in the file once
        assert [layer["kept"]["given"][name] for name in ("x", "h")] == [None, None]
    assert [(one["layer"], one["direction"]) for one in data["layers"]] == [
        (o.layer, o.direction) for o in trace.layers
    ]
    for at, layer in enumerate(trace.layers):
        for quantity, values in layer.quantities.items():
            if quantity == "hidden_projection":  # the page does not show it
                continue
            shown = values_of(data, at, quantity)
            np.testing.assert_allclose(shown, values[0, :length].numpy(), rtol=0, atol=1e-5)
        engine = values_of(data, at, "h", "engine")
        np.testing.assert_array_equal(engine, layer.engine["h"][0, :length].double().numpy())


@pytest.mark.each_value_once
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("item", [0, -1])
def test_numbers_are_those_of_derive(name, item):
    """The same lines on the same numbers; σ and tanh are those of another library, each right to a few roundings. The
    norms in a bound are summed in other orders and in float32, which tells it to 1e-6; a ratio is as far off as the
    value is, in bounds."""
    prepared = prepared_of(name)
    item %= prepared.sequence.batch
    report = report_prepared(prepared, ReportOptions(item=item))
    data = json.loads(as_data(report))
    for at, layer in enumerate(report.layers):
        unit, step = 1, report.length - 1
        exported = Exported(data, at, step)
        for quantity in prepared.spec.cell_type.quantities:
            derivation = rnnspect.derive(
                prepared.spec,
                step=step,
                unit=unit,
                layer=layer.layer,
                direction=layer.direction,
                batch_index=item,
                quantity=quantity,
            )
            assert exported.quantity(quantity, unit) == pytest.approx(derivation.value, rel=1e-14, abs=1e-15)
            assert data["written"][quantity] == derivation.equations[0].written
            if quantity == "h":
                shown = values_of(data, at, "h", "ratio")
                assert shown[step, unit] == pytest.approx(derivation.ratio, rel=1e-5, abs=1e-15 / derivation.bound)
                assert layer.kept.bound[-1, unit] == pytest.approx(derivation.bound, rel=1e-5)
                assert layer.kept.gave["h"][-1, unit] == derivation.engine_value


@pytest.mark.parametrize(
    "keys", [{"cell": "gru"}, {"cell": "lstm", "proj_size": 5}, {"cell": "gru", "reset": "before"}]
)
def test_weights_that_do_not_fit_are_not_needed(monkeypatch, keys):
    """Neither those of a product nor biases, which are then of more than the 256 rows that are always there."""
    spec = rnnspect.Spec(input_size=3, hidden_size=90, input="randn:4", **keys)
    prepared = _by_onnx(prepare(spec)) if "reset" in keys else prepare(spec)
    whole = json.loads(as_data(report_prepared(prepared)))
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    monkeypatch.setattr("rnnspect.reporting.building.WEIGHTS", 0)
    few = json.loads(as_data(report_prepared(prepared, ReportOptions(steps=(1, 3)))))
    for name in ("weight_hh_l0", "bias_hh_l0"):
        assert "values" in whole["weights"][name]
        assert "values" not in few["weights"][name]
    for step, unit in ((1, 0), (3, 4)):
        for quantity in spec.cell_type.quantities:
            there, here = (Exported(data, 0, step).quantity(quantity, unit) for data in (whole, few))
            assert here == pytest.approx(there, rel=1e-14, abs=1e-15)


def test_a_sampled_report_holds_every_number_of_a_whole_one(monkeypatch):
    """The same run painted twice: once with room for every number, once with the fewest cells."""
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    whole = json.loads(as_data(report_of("layers", 300)))
    monkeypatch.setattr("rnnspect.reporting.keeping._PICTURES", 0)
    few = json.loads(as_data(report_of("layers", 300)))
    sampled = 0
    for at, layer in enumerate(few["layers"]):
        for one in layer["maps"]:
            picture = one["picture"]
            values, _ = cells_of(map_of(whole, at, one["quantity"], one["shown"]))
            low, high = cells_of(picture)
            steps, units = np.indices(values.shape)
            cell = steps // picture["per_step"], units // picture["per_unit"]
            # What stands in the whole report was rounded to float32.
            room = np.abs(values) * 2.0**-24 + 2.0**-149
            assert (low[cell] <= values + room).all()
            assert (values - room <= high[cell]).all()
            sampled += "values" not in picture
    assert sampled


@pytest.mark.parametrize(
    ("steps", "whole"), [(5200, True), (5600, False), pytest.param(20_000, False, marks=pytest.mark.slow)]
)
def test_a_file_stays_below_its_limit(steps, whole):
    """Every step of a run of 64 units takes some 1 kB: h and its bound, each 4 bytes a unit, and c in double."""
    spec = rnnspect.Spec(cell="lstm", input_size=4, hidden_size=64, input=f"randn:{steps}")
    report = report_prepared(prepare(spec))
    assert report.whole == whole
    assert 3.5e6 < len(as_html(report)) < 8e6


@pytest.mark.slow
def test_a_run_that_differs_says_where_and_why():
    prepared = prepared_of("layers", 9)
    output = rnnspect.trace(prepared.spec).output.engine[0].clone()
    output[5, 3] += 0.25
    report = report_prepared(prepared, recorded=Recordings(output))
    data = json.loads(as_data(report))
    first = data["verdict"]["first"]
    assert (data["verdict"]["verdict"], first["layer"], first["step"], first["unit"]) == ("differ", 1, 5, 3)
    # The recording shows the top layer alone.
    assert [layer["kept"]["bound"] is None for layer in data["layers"]] == [True, True, False, False]
    ratio = values_of(data, 2, "h", "ratio")
    assert np.argwhere(ratio > 1).tolist()[0] == [5, 3]
    assert ratio[:5].max() < 1
    assert first["ratio"] == pytest.approx(ratio[5, 3], rel=1e-6)


def test_gates_of_a_recording_stand_beside():
    prepared = prepared_of("lstm")
    trace = rnnspect.trace(prepared.spec)
    given = {"output": trace.output.engine[0], "l0.forward.i": trace.layers[0].quantities["i"][0]}
    data = json.loads(as_data(report_prepared(prepared, recorded=Recordings(given))))
    shown = values_of(data, 0, "i", "engine")
    np.testing.assert_array_equal(shown, given["l0.forward.i"].numpy())


def test_infinities_and_nan_are_shown():
    x = torch.zeros(5, 3)
    x[2, 0] = torch.nan
    spec = rnnspect.Spec(cell="rnn", input_size=3, hidden_size=4, bias=False)
    data = json.loads(as_data(report_prepared(prepare(spec, x))))
    shown = values_of(data, 0, "h")
    assert np.isnan(shown[2:]).all()
    assert not np.isnan(shown[:2]).any()
    difference = values_of(data, 0, "h", "difference")
    assert not difference[2:].any()


def test_bounds_beyond_float32_are_kept():
    """Those of numbers near 1e-60 would be 0 in float32, and every ratio infinite."""
    spec = rnnspect.Spec(cell="rnn", input_size=3, hidden_size=4, bias=False, nonlinearity="relu", dtype="float64")
    data = json.loads(as_data(report_prepared(prepare(spec, torch.randn(5, 3, dtype=torch.float64) * 1e-60))))
    bound = array_of(data["layers"][0]["kept"]["bound"])
    assert 0 < bound.max() < 1e-60
    assert values_of(data, 0, "h", "ratio").max() < 1


def test_saturation_is_a_share_of_units():
    weights = {
        "weight_ih_l0": [[9.0], [0.0]],
        "weight_hh_l0": [[0.0, 0.0]] * 2,
        "bias_ih_l0": [0.0] * 2,
        "bias_hh_l0": [0.0] * 2,
    }
    spec = rnnspect.Spec(cell="rnn", input_size=1, hidden_size=2, input="ones:3", weights=weights)
    data = json.loads(as_data(report_prepared(prepare(spec))))
    curves = {one["name"]: cells_of(one["picture"])[0].ravel().tolist() for one in data["layers"][0]["curves"]}
    assert curves["saturated h"] == [0.5, 0.5, 0.5]
    assert curves["norm of h"] == pytest.approx([np.tanh(9.0)] * 3, rel=1e-6)


def test_saturation_is_the_same_in_the_curve_and_in_the_sentence_on_gradients():
    """σ(3.2) has 15 % of the steepest slope, σ(4) 7 %."""
    for bias, share in ((3.2, 0.0), (4.0, 1.0)):
        weights = {
            "weight_ih_l0": [[0.0]] * 4,
            "weight_hh_l0": [[0.0]] * 4,
            "bias_ih_l0": [bias, bias, 0.0, bias],
            "bias_hh_l0": [0.0] * 4,
        }
        spec = rnnspect.Spec(cell="lstm", input_size=1, hidden_size=1, input="ones:3", weights=weights)
        data = json.loads(as_data(report_prepared(prepare(spec))))
        curves = {one["name"]: cells_of(one["picture"])[0].ravel().tolist() for one in data["layers"][0]["curves"]}
        assert curves["saturated f"] == [share] * 3
        assert rnnspect.gradients(spec, loss="sum").layers[0].reach.saturated["f"] == share


@pytest.mark.parametrize(
    ("length", "most", "interesting"), [(5, 64, -1), (100, 64, 50), (1000, 4, 999), (1000, 1, 3), (10**6, 64, 7)]
)
def test_kept_steps(length, most, interesting):
    kept = kept_steps(length, most, interesting)
    assert list(kept) == sorted(set(kept))
    assert len(kept) == min(length, most)
    assert set(kept) <= set(range(length))
    assert interesting < 0 or interesting in kept


def test_the_page_asks_for_nothing_and_runs_nothing_but_its_own():
    page = as_html(report_of("lstm"))
    parsed = Elements(page)
    policy = next(attributes["content"] for _, attributes in parsed.elements if "http-equiv" in attributes)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not [tag for tag, attributes in parsed.elements if {"src", "href", "style"} & set(attributes)]
    assert not re.findall(
        r"\b(eval|innerHTML|outerHTML|insertAdjacentHTML|document\.write|fetch|XMLHttpRequest)\b", page
    )


def test_the_page_has_every_function_that_a_spec_can_choose():
    page = as_html(report_of("rnn"))
    assert [name for name in KINDS | FIXED if not re.search(rf"^  {name}: ", page, re.MULTILINE)] == []


def test_names_out_of_files_are_data():
    report = report_of("lstm")
    page = as_html(report)
    changed = as_html(replaced(report, EVIL + "\u2028&<!--"))
    assert len(Elements(changed).elements) == len(Elements(page).elements)
    assert data_of(changed)["command"] == EVIL + r"\u2028&<!--"


def replaced(report, text):
    from dataclasses import replace

    verdict = replace(report.verdict, notes=(text,), reason=text, engine=replace(report.verdict.engine, name=text))
    run = replace(report.runs[0], name=text, verdict=verdict)
    return replace(report, command=text, runs=(run,))


def test_variants_are_all_there(monkeypatch):
    """What is derived of the numbers that are kept is what the equations of a check give, shown as float32."""
    for (cell, variant), found in VARIANTS.items():
        keys = {key: value for name, chosen in KEYS.items() if name in variant for key, value in chosen.items()}
        spec = rnnspect.Spec(cell=cell, input_size=3, hidden_size=4, input="randn:4", **keys)
        assert spec.cell_type is found
        pytest.importorskip("onnxruntime")
        data = json.loads(as_data(report_prepared(_by_onnx(prepare(spec)))))
        assert list(data["layers"][0]["derivable"]["equations"]) == list(found.quantities)
        with monkeypatch.context() as without_room:
            without_room.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
            painted = json.loads(as_data(report_prepared(_by_onnx(prepare(spec)))))
        for name in ("x", "input_projection", *found.quantities):
            shown, _ = cells_of(map_of(painted, 0, name))
            np.testing.assert_allclose(values_of(data, 0, name), shown, rtol=2.0**-23, atol=2.0**-149)


def _by_onnx(prepared):
    from dataclasses import replace

    from rnnspect import engines

    return replace(prepared, engine=engines.find("onnxruntime"))


def test_a_layer_in_which_no_unit_is_at_work():
    module = torch.nn.RNN(3, 4, nonlinearity="relu")
    with torch.no_grad():
        for values in module.parameters():
            values.zero_()
        module.bias_ih_l0.fill_(-1.0)
    data = json.loads(as_data(report_prepared(prepare(module, torch.randn(40, 1, 3)), ReportOptions(item=0))))
    assert not np.any(values_of(data, 0, "h"))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "hard_sigmoid", "softsign"])
def test_saturation_follows_the_slope_of_each_function(name: str):
    """As the sentence on gradients has it: a slope below a tenth of the steepest."""
    function = {"hard_sigmoid": lambda x: torch.clamp(x / 6 + 0.5, 0, 1)}.get(name) or getattr(
        torch.nn.functional, name
    )
    x = torch.linspace(-8, 8, 4000, dtype=torch.float64, requires_grad=True)
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    share = slope / (FLAT * slope.max())
    shown = _KINDS[name].share(y.detach()[:, None].numpy())[:, 0] > 0
    clear = (share - 1).abs() > 0.01  # the steepest slope is that at the nearest of these x
    assert np.array_equal(shown[clear], (share < 1)[clear].numpy())
