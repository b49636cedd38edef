"""What a page says of an engine's parameters: scores by an own least-squares fit, what was recovered, and its size."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect
from rnnspect.causes import search
from rnnspect.cli import main
from rnnspect.judging.verdict import Explained
from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
from rnnspect.views.report import as_data, as_html
from tests.marks import sampled
from tests.reporting.planted import (
    COLUMN,
    FEATURES,
    ROW,
    STEPS,
    UNITS,
    all_smaller,
    errors_of,
    nothing,
    one_weight,
    page_of,
    run_of,
    shown_of,
)
from tests.reporting.reading import cells_of, data_of
from tests.reporting.runs import prepared_of

CELLS = {nn.RNN: nn.RNNCell, nn.GRU: nn.GRUCell, nn.LSTM: nn.LSTMCell}


@pytest.fixture
def no_search(monkeypatch):
    """Nobody looks for the known mistake that explains a run, which takes a second: here none does."""
    monkeypatch.setattr(search, "explain", lambda *_given: Explained())


def parameters_of(report, at=0):
    data = json.loads(as_data(report))
    return [data, *data["beside"]][at]["parameters"]


def left_of(ours, x, y):
    """(T, H) in float64: what the engine gave, less the equations, each step from the engine's own h."""
    cell = CELLS[type(ours)](FEATURES, UNITS).double()
    cell.load_state_dict({name.removesuffix("_l0"): values.double() for name, values in ours.state_dict().items()})

    def residual():
        c, found = torch.zeros(1, UNITS, dtype=torch.float64), []
        for t in range(len(x)):
            h = (y[t - 1] if t else torch.zeros(UNITS)).double()[None]
            made = cell(x[t].double()[None], (h, c) if isinstance(ours, nn.LSTM) else h)
            made, c = made if isinstance(made, tuple) else (made, c)
            found.append(y[t].double() - made[0])
        return torch.stack(found)

    return cell, residual


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("change", sampled([nothing, all_smaller], 2))
@torch.no_grad()
def test_a_score_is_what_a_fit_of_that_number_alone_explains(kind, change):
    """By finite differences of PyTorch's cell in float64: their own error is 1e-10 / 1e-5. Of an engine without a
    change what is left are roundings of float32, to which those in float64 add 1e-9."""
    ours, x, y = run_of(change, kind, torch.randn(60, FEATURES, generator=torch.Generator().manual_seed(1)))
    found = parameters_of(page_of(ours, x, y))["scores"]
    cell, residual = left_of(ours, x, y)
    r = residual()
    for name, values in cell.named_parameters():
        shares = shown_of(found, f"{name}_l0").reshape(values.shape)
        last, top = tuple(size - 1 for size in values.shape), np.unravel_index(shares.argmax(), shares.shape)
        for at in {(0,) * values.dim(), last, tuple(map(int, top))}:
            before, step = values[at].clone(), 1e-5
            values[at] = before + step
            above = residual()
            values[at] = before - step
            column = (residual() - above)[:, at[0] % UNITS] / (2 * step)
            values[at] = before
            own = r[:, at[0] % UNITS]
            share = (column @ own) ** 2 / (column.square().sum() * own.square().sum())
            assert shares[at] == pytest.approx(float(share), rel=1e-4, abs=1e-7)


@pytest.mark.usefixtures("no_search")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("kind", "keys"), sampled([(nn.GRU, {}), (nn.RNN, {}), (nn.LSTM, {}), (nn.LSTM, {"proj_size": 5})], 4)
)
def test_the_largest_score_is_at_the_weight_that_is_off(kind, keys):
    """The table's suspect too, and what the scores of other parameters of its unit are is less."""
    row = 3 if kind is nn.RNN else 11

    def change(module):
        module.weight_hh_l0[row, COLUMN] += 1e-3

    report = page_of(*run_of(change, kind, **keys))
    found = parameters_of(report)
    (suspect,) = found["suspects"]
    assert (suspect["name"], suspect["entry"]) == (f"weight_hh_l0[{row},{COLUMN}]", ["weight_hh_l0", [row, COLUMN]])
    scores = {name: shown_of(found["scores"], name) for name in found["scores"]}
    assert scores["weight_hh_l0"][row, COLUMN] == max(np.nanmax(values) for values in scores.values()) > 0.9
    assert found["layers"][0]["entry"] == suspect["entry"]
    assert found["said"] == []


@pytest.mark.parametrize("kind", CELLS)
def test_nothing_stands_out_of_a_right_run(kind):
    """From 400 steps the best of 500 parameters explains 5 %, by chance. An activation that errs to one side, as much
    as it likes: of those that are not named, three quarters at most."""
    found = parameters_of(page_of(*run_of(nothing, kind), recover=True))
    assert found["suspects"] == []
    assert max(shown_of(found["scores"], name).max() for name in found["scores"]) < 0.75
    assert 0 < found["layers"][0]["chance"] < 0.2
    assert found["said"][0].startswith("No single parameter stands out in layer 0 forward: ")
    # What was recovered is ours, on a scale of what it may err by.
    assert not any(np.nan_to_num(shown_of(found["differences"], name)).any() for name in found["differences"])
    errors = [errors_of(found, name) for name in found["errors"]]
    largest = max(of[np.isfinite(of)].max(initial=0) for of in errors)  # cut to 2 bytes: below by less than 2^-7
    assert found["least"] == pytest.approx(6 * largest, rel=2**-7)


@pytest.mark.usefixtures("no_search")
def test_what_was_recovered_is_shown_beside_its_error():
    ours, x, y = run_of(all_smaller)
    found = parameters_of(page_of(ours, x, y, recover=True))
    for name, values in ours.named_parameters():
        if name.startswith("bias"):
            continue
        expected = -0.001 * values.detach().double().numpy()
        shown, errors = shown_of(found["differences"], name), errors_of(found, name)
        assert (np.abs(shown - expected) <= 8 * errors + 1e-8).all()
        assert np.abs(shown).max() == pytest.approx(np.abs(expected).max(), rel=0.05)
    # Of the biases of r and z only the sum is told.
    assert np.isnan(shown_of(found["differences"], "bias_hh_l0")).ravel().tolist() == [True] * 16 + [False] * 8
    assert np.isinf(errors_of(found, "bias_hh_l0")[:16]).all()
    assert any("are set to that" in said for said in found["recovered"])


@pytest.mark.usefixtures("no_search")
def test_nothing_is_recovered_unasked_where_a_suspect_explains_the_run():
    found = parameters_of(page_of(*run_of(one_weight)))
    assert found["differences"] == found["errors"] == {}


@pytest.mark.parametrize("kind", sampled(CELLS, 3))
def test_what_no_step_depends_on_has_no_score(kind):
    """Of an input that is always 0."""
    x = torch.randn(STEPS, FEATURES)
    x[:, 4] = 0
    found = parameters_of(page_of(*run_of(all_smaller, kind, x), recover=True))
    for what in ("scores", "differences"):
        untold = np.isnan(shown_of(found[what], "weight_ih_l0"))
        assert untold[:, 4].all()
        assert not untold[:, :4].any()


def test_layers_without_a_score_say_why():
    """A recording shows the top layer alone, whose input nobody recorded; and of few steps nothing is said."""
    found = parameters_of(page_of(*run_of(nothing, num_layers=2)))
    assert [one["why_not"] for one in found["layers"]] == [
        "its h was not recorded",
        "its input was not recorded exactly",
    ]
    assert found["scores"] == {}
    assert found["said"][0] == "The parameters of layer 0 forward have no score: its h was not recorded."
    assert len(found["said"]) == 2
    found = parameters_of(page_of(*run_of(nothing, x=torch.randn(15, FEATURES))))
    assert found["said"] == ["The parameters of layer 0 forward have no score: it takes 16 steps; there are 15."]


def test_all_layers_in_which_nothing_stands_out_are_told_at_once():
    found = parameters_of(report_prepared(prepared_of("layers", 60)))
    (said,) = found["said"]
    places = [f"layer {at} {direction}" for at in (0, 1) for direction in ("forward", "reverse")]
    top = max(found["layers"], key=lambda one: one["top"])
    name, at = top["entry"]
    begun = f"No single parameter stands out in {', '.join(places)}: {name}[{','.join(map(str, at))}] explains most, "
    assert said.startswith(begun)
    assert float(said.removeprefix(begun).split(" %")[0]) == pytest.approx(100 * top["top"], rel=0.05)  # two digits


@pytest.mark.slow
def test_a_run_that_no_parameter_explains_says_so():
    ours, x, _ = run_of(nothing)
    with torch.no_grad():
        y = ours(x)[0].flip(1)
    (said, *_) = parameters_of(page_of(ours, x, y))["said"]
    assert said.startswith("No single parameter explains what differs in layer 0 forward: ")


def test_a_known_mistake_is_told_to_explain_the_scores():
    def other_order(module):
        for values in module.parameters():
            reset, update, new = values.chunk(3)
            values.copy_(torch.cat([update, reset, new]))

    ours, x, y = run_of(other_order)
    found = parameters_of(page_of(ours, x, y))
    assert found["said"][0].startswith("A known mistake explains this run.")


@pytest.mark.slow
def test_every_direction_has_its_own():
    def change(module):
        module.weight_ih_l0_reverse[3, 1] += 1e-3

    found = parameters_of(page_of(*run_of(change, bidirectional=True)))
    scores = {name: shown_of(found["scores"], name) for name in found["scores"]}
    assert scores["weight_ih_l0_reverse"][3, 1] == max(np.nanmax(values) for values in scores.values()) > 0.9
    assert len(scores) == 8
    assert [one["direction"] for one in found["layers"]] == ["forward", "reverse"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_search")
def test_the_engine_and_the_recording_each_have_theirs():
    prepared = prepared_of("gru", 100)
    output = rnnspect.trace(prepared.spec).output.engine[0]
    report = report_prepared(prepared, ReportOptions(beside=((prepared, Recordings(output + 1e-3)),)))
    first, second = (shown_of(parameters_of(report, at)["scores"], "bias_ih_l0") for at in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("recover", [False, True])
def test_pictures_that_do_not_fit_are_ranges_of_every_number(monkeypatch, recover):
    ours, x, y = run_of(all_smaller, x=torch.randn(300, FEATURES))
    whole = parameters_of(page_of(ours, x, y, recover=recover))
    monkeypatch.setattr("rnnspect.reporting.parameters.PARAMETERS", 0)
    monkeypatch.setattr("rnnspect.reporting.downsampling.LEAST", 50)
    few = parameters_of(page_of(ours, x, y, recover=recover))
    for what in ("scores", "differences"):
        for name, picture in few[what].items():
            values = shown_of(whole[what], name)
            low, high = cells_of(picture)
            rows, columns = np.indices(values.shape)
            cell = rows // picture["per_step"], columns // picture["per_unit"]
            told = ~np.isnan(values)
            room = np.abs(values) * 2.0**-23
            assert (low[cell] - room <= values)[told].all()
            assert (values <= high[cell] + room)[told].all()
    assert "low" in few["scores"]["weight_hh_l0"]
    assert "weight_hh_l0" not in few["errors"]


@pytest.mark.parametrize(("steps", "units", "most"), sampled([(50, 64, 1.5e6), (60, 400, 8e6)], 2))
def test_a_page_with_all_of_it_stays_small(steps, units, most):
    module, x = nn.LSTM(units, units), torch.randn(steps, units)
    with torch.no_grad():
        y = module(x)[0]
    assert len(as_html(page_of(module, x, y, recover=True))) < most


def files_of(folder, ours, x, y):
    torch.save(ours.state_dict(), folder / "model.pt")
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return [str(folder / "model.pt"), "--input", str(folder / "x.npy"), "--recorded", str(folder / "y.npy")]


@pytest.mark.usefixtures("no_search")
def test_the_command_shows_the_stale_weight_and_writes_the_engines(tmp_path, capsys):
    asked = files_of(tmp_path, *run_of(one_weight))
    page, theirs = tmp_path / "report.html", tmp_path / "theirs.npz"
    assert main(["report", *asked, "--recover", str(theirs), "-o", str(page)]) == 0
    assert f"wrote {theirs}" in capsys.readouterr().err
    data = data_of(page.read_text())
    assert data["version"] == 3
    found = data["parameters"]
    for what, others in (("scores", 0.95), ("differences", 0.01)):
        sizes = {name: np.abs(shown_of(found[what], name)) for name in found[what]}
        most = max(np.nanmax(values) for values in sizes.values())
        assert sizes["weight_hh_l0"][ROW, COLUMN] == most
        sizes["weight_hh_l0"][ROW, COLUMN] = 0
        assert max(np.nanmax(values) for values in sizes.values()) < others * most
    with np.load(theirs) as written:
        own = torch.load(tmp_path / "model.pt")["weight_hh_l0"].numpy()
        assert written["weight_hh_l0"][ROW, COLUMN] == pytest.approx(1.01 * own[ROW, COLUMN], rel=1e-5)
        shown = shown_of(found["differences"], "weight_hh_l0")
        np.testing.assert_allclose(written["weight_hh_l0"] - own, shown, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--recover", "weights.txt"], "use a name that ends in .npz"),
        (["--recover", "weights.npz", "--engine", "torch", "--engine", "torch-cell"], "recovers one run, not several"),
        (["--recover", "nowhere/weights.npz"], "nowhere"),
    ],
)
def test_what_does_not_go_with_recover(asked, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--cell", "gru", *asked, "-o", "r.html"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.usefixtures("no_search")
def test_from_python(tmp_path):
    ours, x, y = run_of(one_weight)
    found = rnnspect.report(ours, x, recorded=y, recover=True, path=tmp_path / "r.html")
    assert found.verdict.recovered is not None
    shown = data_of((tmp_path / "r.html").read_text())["parameters"]
    assert np.nanargmax(np.abs(shown_of(shown["differences"], "weight_hh_l0"))) == ROW * UNITS + COLUMN
