"""The gradients in a report are those that `rnnspect.gradients` gives, and the file stays below its limit with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared, with_loss
from rnnspect.tracing.prepare import prepare
from rnnspect.views import reach
from rnnspect.views.report import as_data, as_html
from tests.marks import sampled
from tests.reporting.reading import cells_of, map_of
from tests.reporting.runs import SPECS, prepared_of


def report_of(prepared, loss="sum", **asked):
    return report_prepared(prepared, with_loss(ReportOptions(**asked), loss, prepared, "loss"))


def data_of(prepared, loss="sum", **asked):
    return json.loads(as_data(report_of(prepared, loss, **asked)))


@pytest.mark.each_value_once
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("loss", ["sum", "last"])
def test_they_are_those_of_the_library(name, loss):
    """Number by number: of these the page computes none itself."""
    prepared, item = prepared_of(name), 2 if name == "packed" else 0
    data = data_of(prepared, loss, item=item)
    found = rnnspect.gradients(prepared.spec, loss=loss)
    length = found.length(item)
    assert data["loss"] == {"said": found.loss, "value": pytest.approx(found.loss_value, rel=1e-15), "asked": loss}
    for at, layer in enumerate(found.layers):
        for quantity in ("x", *prepared.spec.cell_type.quantities):
            shown, _ = cells_of(map_of(data, at, quantity, "gradient"))
            np.testing.assert_array_equal(shown, layer.quantities[quantity][item, :length].double().numpy())
        said = data["layers"][at]["reach"]
        assert said["sentence"] == reach.sentence(layer, item, length)
        assert said["reasons"] == list(reach.reasons(layer.reach))
        norms = {one["name"]: cells_of(one["picture"])[0][:, 0] for one in said["norms"]}
        expected = layer.reach.norms["h"][item, :length].numpy()
        np.testing.assert_array_equal(norms["dL/dh"], expected)
        assert ("dL/dc" in norms) == (prepared.spec.cell == "lstm")
        assert [one["name"] for one in said["factors"]] == [path.name for path in layer.reach.paths]


def test_each_stands_right_after_its_values():
    maps = data_of(prepared_of("lstm"))["layers"][0]["maps"]
    shown = [(one["quantity"], one["shown"]) for one in maps]
    for quantity in ("x", "i", "f", "g", "o", "c", "h"):
        assert shown[shown.index((quantity, "equations")) + 1] == (quantity, "gradient")
    assert ("input_projection", "gradient") not in shown
    for gate in "ifgo":
        assert shown[shown.index((gate, "gradient")) + 1] == (f"s_{gate}", "gradient")


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_where_a_page_cannot_derive_those_of_pre_activations_they_are_in_the_file(monkeypatch, cell):
    """Of a run that differs from the equations, whose gates are not those that the gradients belong to; and of a run
    that is too long."""
    prepared = prepared_of(cell)
    wrong = rnnspect.trace(prepared.spec).output.engine[0] * 1.5
    asked = with_loss(ReportOptions(), "sum", prepared, "loss")
    differs = report_prepared(prepared, asked, recorded=Recordings(wrong))
    assert differs.verdict.verdict == "differ"
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    found = rnnspect.gradients(prepared.spec).layers[0]
    gates = prepared.spec.cell_type.gates
    for report in (differs, report_of(prepared)):
        data = json.loads(as_data(report))
        for gate, name in zip(gates, data["pre_activations"], strict=True):
            shown, _ = cells_of(map_of(data, 0, name, "gradient"))
            np.testing.assert_array_equal(shown, found.pre_activations[gate][0].double().numpy())


def test_without_them_a_page_says_nothing_of_them():
    data = json.loads(as_data(report_prepared(prepared_of("lstm"))))
    assert data["loss"] is None
    assert data["layers"][0]["reach"] is None
    assert not [one for one in data["layers"][0]["maps"] if one["shown"] == "gradient"]


def test_of_two_runs_they_stand_with_the_first():
    prepared = prepared_of("lstm")
    recorded = rnnspect.trace(prepared.spec).output.engine[0]
    data = data_of(prepared, beside=((prepared, Recordings(recorded)),))
    assert data["layers"][0]["reach"] is not None
    assert data["beside"][0]["layers"][0]["reach"] is None


def test_a_loss_may_be_an_array_and_is_then_not_named():
    prepared = prepared_of("lstm")
    weights = torch.arange(28.0).reshape(7, 4) - 10
    data = data_of(prepared, weights)
    shown, _ = cells_of(map_of(data, 0, "f", "gradient"))
    expected = rnnspect.gradients(prepared.spec, loss=weights).layers[0].quantities["f"][0]
    np.testing.assert_array_equal(shown, expected.double().numpy())
    assert data["loss"]["asked"] is None


def test_gradients_below_float32_are_kept_in_float64(tmp_path):
    """A relu that halves h at each of 400 steps: 2⁻³⁹⁹ ends below float32, whose smallest is 2⁻¹⁴⁹."""
    module = torch.nn.RNN(1, 1, nonlinearity="relu", dtype=torch.float64)
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    x = torch.ones(400, 1, dtype=torch.float64)
    report = rnnspect.report(module, x, path=tmp_path / "report.html", backward=True, loss="last")
    shown, _ = cells_of(map_of(json.loads(as_data(report)), 0, "h", "gradient"))
    np.testing.assert_allclose(shown[:, 0], 0.5 ** np.arange(399, -1, -1), rtol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize(("room", "sampled"), sampled([(5_600_000, False), (400_000, True), (0, True)], 3))
def test_every_number_is_in_its_cell(monkeypatch, room, sampled):
    """With room for all of them, in a page that keeps every step and samples gradients, and in one that samples all."""
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", room)
    monkeypatch.setattr("rnnspect.reporting.keeping._GRADIENTS", 0)
    monkeypatch.setattr("rnnspect.reporting.keeping._PICTURES", 0)
    prepared = prepared_of("lstm", 500, hidden_size=6, num_layers=2, bidirectional=True)
    report = report_of(prepared)
    assert report.whole == (room > 0)
    data, found = json.loads(as_data(report)), rnnspect.gradients(prepared.spec)
    some = False
    for at, layer in enumerate(found.layers):
        for quantity in ("x", *prepared.spec.cell_type.quantities):
            picture = map_of(data, at, quantity, "gradient")
            values = layer.quantities[quantity][0].double().numpy()
            low, high = cells_of(picture)
            steps, units = np.indices(values.shape)
            cell = steps // picture["per_step"], units // picture["per_unit"]
            assert ((low[cell] <= values) & (values <= high[cell])).all()
            some |= "values" not in picture
    assert some == sampled


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "whole"), sampled([(3000, True), (6000, False)], 2))
def test_a_file_stays_below_its_limit(steps, whole):
    spec = rnnspect.Spec(cell="lstm", input_size=4, hidden_size=64, input=f"randn:{steps}")
    report = report_of(prepare(spec))
    assert report.whole == whole
    assert 3.5e6 < len(as_html(report)) < 8e6


def test_a_small_file_stays_small():
    spec = rnnspect.Spec(cell="lstm", input_size=8, hidden_size=64, input="randn:50")
    report = report_of(prepare(spec))
    assert all(picture is None or picture.exact for picture in report.layers[0].maps.values())
    assert report.layers[0].maps["s_f", "gradient"] is None  # the page derives it
    assert len(as_html(report)) < 1.5e6
