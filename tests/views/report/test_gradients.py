"""Gradients on the page, as a person sees them: maps beside the values, what a click opens, colours, search, links."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared, with_loss
from rnnspect.tracing.prepare import prepare
from rnnspect.views.report import as_data, as_html
from tests.reporting.reading import cells_of, map_of
from tests.reporting.runs import prepared_of
from tests.views.report.test_page import ALL_DRAWN, CONTRAST, dots_of, soon, until

STEPS, UNITS = 7, 4


def report_of(prepared, loss="sum", command="--cell lstm", **asked):
    return report_prepared(prepared, with_loss(ReportOptions(**asked), loss, prepared, "loss"), command=command)


@pytest.fixture(scope="module")
def lstm():
    return report_of(prepared_of("lstm"))


@pytest.fixture(scope="module")
def vanishing():
    """dL/dh of the last step alone, over 60 steps: it falls by many powers of ten."""
    prepared = prepare(rnnspect.Spec(cell="rnn", input_size=3, hidden_size=8, input="randn:60"))
    return report_of(prepared, "last")


def gradient_of(report, quantity, layer=0):
    return cells_of(map_of(json.loads(as_data(report)), layer, quantity, "gradient"))[0]


def test_each_map_stands_beside_its_values(opened, lstm):
    page = opened(as_html(lstm))
    labels = page.page.locator("section canvas.map").evaluate_all("all => all.map((one) => one.ariaLabel)")
    names = [label.partition(":")[0] for label in labels]
    for quantity in ("x", "i", "f", "g", "o", "c", "h"):
        assert names[names.index(quantity) + 1] == f"dL/d{quantity}"
    assert "dL/df: gradient by the equations, 7 steps × 4 units" in labels


def test_of_two_directions_dx_is_told_to_be_a_part(opened):
    page = opened(as_html(report_of(prepared_of("packed"))))
    captions = page.page.locator("figcaption", has_text="dL/dx").all_inner_texts()
    assert captions
    assert all("dL/dx part of this direction" in " ".join(one.split()) for one in captions)
    assert "rnnspect check --backward checks an engine's gradients" in page.text("main")


def test_a_click_opens_the_number_and_the_command(opened, lstm):
    page, values = opened(as_html(lstm)), gradient_of(lstm, "f")
    canvas = page.map("dL/df", "gradient")
    canvas.click(position=page.at(canvas, 5, 2, STEPS, UNITS))
    assert page.text("#derived") == "dL/df of layer 0, forward, at step 5, unit 2"
    said = page.text("#derivation .lines")
    assert said.startswith("dL/df[step 5, 2] = ")
    assert float(said.rpartition(" = ")[2]) == pytest.approx(values[5, 2], rel=1e-8)  # nine digits
    assert page.text("#derivation .command") == (
        "rnnspect derive --cell lstm --gradient 'f[2]' --layer 0 --direction forward --step 5 --loss sum"
    )
    page.page.get_by_role("button", name="dL/dc at step 6").click()
    said = page.text("#derivation .lines")
    assert float(said.rpartition(" = ")[2]) == pytest.approx(gradient_of(lstm, "c")[6, 2], rel=1e-8)
    page.page.get_by_role("button", name="the value of c").click()
    assert page.text("#derived") == "c of layer 0, forward, at step 6, unit 2"


def test_a_click_shows_how_a_pre_activation_gets_its_gradient(opened, lstm):
    page = opened(as_html(lstm))
    canvas = page.map("dL/ds_f", "gradient")
    canvas.click(position=page.at(canvas, 5, 2, STEPS, UNITS))
    assert page.text("#derived") == "dL/ds_f of layer 0, forward, at step 5, unit 2"
    said = page.text("#derivation")
    assert "= dL/df[step 5, 2] · f[step 5, 2] · (1 − f[step 5, 2])" in said
    assert "s_f is the pre-activation of f: what goes into its function." in said
    value = float(page.text("#derivation .lines >> nth=0").rpartition(" = ")[2])
    expected = lstm.layers[0].reach.gradient.pre_activations["f"][0, 5, 2]
    assert value == pytest.approx(float(expected), rel=1e-5)  # a few roundings of float32
    assert "--gradient 's_f[2]'" in page.text("#derivation .command")
    page.page.get_by_role("button", name="dL/df at step 5").click()
    assert page.text("#derived") == "dL/df of layer 0, forward, at step 5, unit 2"
    page.page.get_by_role("button", name="dL/ds_f at step 5").click()
    assert page.text("#derived") == "dL/ds_f of layer 0, forward, at step 5, unit 2"


def test_each_quantity_begins_a_row_and_its_gradients_follow(opened, lstm):
    page = opened(as_html(lstm), 1600)
    boxes = {one: page.page.locator(f"canvas[aria-label^='{one}:']").first.bounding_box() for one in
             ("i", "dL/di", "dL/ds_i", "f", "dL/df", "dL/ds_f")}  # fmt: skip
    assert boxes["i"]["x"] == boxes["f"]["x"] < boxes["dL/di"]["x"] < boxes["dL/ds_i"]["x"]
    assert boxes["i"]["y"] < boxes["f"]["y"]


@pytest.mark.parametrize("name", ["layers", "packed", "projected"])
def test_the_command_gives_the_number(opened, name, tmp_path, monkeypatch, capsys):
    """As it is typed, of a layer above, in both directions, of an item of a batch. The command computes in float64,
    the page in the float32 of the run: a few roundings of 6e-8 apart, of what does not nearly cancel."""
    import shlex

    from rnnspect.cli import main

    monkeypatch.chdir(tmp_path)
    prepared = prepared_of(name)
    (tmp_path / "net.json").write_text(json.dumps(prepared.spec.model_dump(mode="json", exclude_defaults=True)))
    item = 1 if name == "packed" else 0
    report = report_of(prepared, "mean", "net.json", item=item)
    page = opened(as_html(report))
    for layer in report.layers:
        at, unit = 2, 1
        goal = f"location.hash = '#layer={layer.layer}&direction={layer.direction}&step={at}&unit={unit}"
        page.page.evaluate(f"{goal}&quantity=h&shown=gradient'")
        title = f"dL/dh of layer {layer.layer}, {layer.direction}, at step {at}, unit {unit}"
        until(page, f"document.getElementById('derived')?.textContent.startsWith({title!r})")
        shown = float(page.text("#derivation .lines").rpartition(" = ")[2])
        command = shlex.split(page.text("#derivation .command"))
        assert main([*command[1:], "--format", "json", "--quiet"]) == 0
        assert json.loads(capsys.readouterr().out)["point"]["manual"] == pytest.approx(shown, rel=1e-5, abs=1e-9)


def test_a_live_module_is_told_in_python(opened):
    page = opened(as_html(report_of(prepared_of("lstm"), "last", None)))
    page.page.evaluate("location.hash = '#layer=0&step=3&unit=1&quantity=o&shown=gradient'")
    until(page, "document.getElementById('derivation').open")
    said = page.text("#derivation .command")
    assert said == 'rnnspect.gradients(source, x, …, loss="last").layers[0].quantities["o"][0, 3, 1]'
    found = rnnspect.gradients(prepared_of("lstm").spec, loss="last").layers[0].quantities["o"][0, 3, 1]
    shown = float(page.text("#derivation .lines").rpartition(" = ")[2])
    assert shown == pytest.approx(float(found), rel=1e-8)
    page.page.get_by_role("button", name="dL/ds_o at step 3").click()
    said = page.text("#derivation .command")
    assert said == 'rnnspect.gradients(source, x, …, loss="last").layers[0].pre_activations["o"][0, 3, 1]'


def test_a_link_leads_to_a_gradient_and_back(opened, lstm):
    page = opened(as_html(lstm))
    canvas = page.map("dL/di", "gradient")
    canvas.click(position=page.at(canvas, 4, 3, STEPS, UNITS))
    until(page, "location.hash === '#layer=0&direction=forward&step=4&unit=3&quantity=i&shown=gradient'")
    address = page.page.url
    page.press("Escape")
    until(page, "location.hash === '#layer=0&direction=forward&step=4&unit=3'")
    page.page.goto("about:blank")
    page.page.goto(address)
    assert page.text("#derived") == "dL/di of layer 0, forward, at step 4, unit 3"


def test_by_keyboard_alone(opened, lstm):
    page, values = opened(as_html(lstm)), gradient_of(lstm, "g")
    page.map("dL/dg", "gradient").focus()
    page.press("ArrowRight", "ArrowRight", "ArrowDown")
    said = page.page.locator("#said").text_content()
    assert said.startswith("dL/dg gradient, step 2, unit 1: ")
    assert float(said.rpartition(": ")[2]) == pytest.approx(values[2, 1], rel=1e-5)
    page.press("Enter")
    assert page.text("#derived") == "dL/dg of layer 0, forward, at step 2, unit 1"


def test_vanishing_gradients_are_still_seen(opened, vanishing):
    """On a scale that is linear, every step but the last few would have the colour of 0."""
    values = gradient_of(vanishing, "h")
    assert np.abs(values[0]).max() < 1e-6 * np.abs(values).max()
    page = opened(as_html(vanishing))
    canvas = page.map("dL/dh", "gradient")
    canvas.scroll_into_view_if_needed()
    until(page, ALL_DRAWN)
    colours = dots_of(canvas)[..., :3].astype(int)
    assert colours.shape[:2] == (8, 60)
    zero = np.array([0xF5, 0xF5, 0xF2])
    apart = np.abs(colours - zero).sum(2)
    for step in range(60):
        assert apart[np.abs(values[step]).argmax(), step] > 30, step
    figure = page.page.locator("figure", has=page.page.locator("canvas[aria-label^='dL/dh']"))
    assert re.search(r"log scale, linear below ±\d", figure.locator(".legend").inner_text())


def test_colours_at_both_ends_and_at_nothing(opened, vanishing):
    """The largest gradient has the colour of its end of the scale; blue is below 0, brown is above."""
    values = gradient_of(vanishing, "h")
    page = opened(as_html(vanishing))
    canvas = page.map("dL/dh", "gradient")
    canvas.scroll_into_view_if_needed()
    until(page, ALL_DRAWN)
    colours = dots_of(canvas)[..., :3].astype(int)
    step, unit = np.unravel_index(np.abs(values).argmax(), values.shape)
    end = [0x6E, 0x2C, 0x00] if values[step, unit] > 0 else [0x08, 0x30, 0x6B]
    assert np.abs(colours[unit, step] - end).max() <= 2
    for step, unit in np.argwhere(np.abs(values) > np.abs(values).max() / 1000):
        red, _, blue = colours[unit, step]
        assert (red > blue) == (values[step, unit] > 0)


def test_the_curve_says_how_far_it_reaches(opened, vanishing):
    page = opened(as_html(vanishing))
    reach = page.page.locator(".reach")
    reach.scroll_into_view_if_needed()
    until(page, "document.querySelector('.reach figure .axis.down .tick')")  # what is out of sight waits
    until(page, ALL_DRAWN)
    said = reach.inner_text()
    assert json.loads(as_data(vanishing))["layers"][0]["reach"]["sentence"] in said
    figure = reach.locator("figure").first
    ticks = [float(one) for one in figure.locator(".axis.down .tick").all_inner_texts()]
    assert len(ticks) >= 3
    powers = np.log10(ticks)
    np.testing.assert_allclose(np.diff(powers), np.diff(powers)[0], atol=1e-12)
    # A straight line, as an even loss of a factor a step is on a log axis: its ink is in every third of the height.
    rows = dots_of(figure.locator("canvas"))[..., 3].any(1)
    assert all(third.any() for third in np.array_split(rows, 3))


def test_search_finds_gradients(opened, lstm):
    page = opened(as_html(lstm))
    for asked in ("dL/df step 3 unit 1", "forget gradient step 3 unit 1"):
        page.page.locator("#search").fill(asked)
        page.press("Enter")
        assert page.text(".found").startswith("dL/df of layer 0 forward, step 3, unit 1: ")
        label = page.page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label is None or label.startswith(("dL/df: gradient", "Search"))


def test_search_without_gradients_says_how_to_get_them(opened):
    page = opened(as_html(report_prepared(prepared_of("lstm"))))
    page.page.locator("#search").fill("dL/df")
    page.press("Enter")
    assert page.text(".found") == "This page has no gradients: make it with --backward."


def test_units_are_sorted_by_their_largest_gradient(opened):
    report = report_of(prepared_of("gru"))
    page, values = opened(as_html(report)), gradient_of(report, "h")
    canvas = page.map("dL/dh", "gradient")
    canvas.scroll_into_view_if_needed()
    soon(page, lambda: dots_of(canvas).any())
    before = dots_of(canvas)
    page.page.locator(".sorting select").first.select_option("gradient")
    order = np.argsort(-np.abs(values).max(0), kind="stable")
    assert (order != np.arange(UNITS)).any()
    soon(page, lambda: np.array_equal(dots_of(canvas), before[order]))


def test_a_map_is_saved(opened, lstm, tmp_path):
    page = opened(as_html(lstm))
    with page.page.expect_download() as made:
        page.page.get_by_role("button", name="Save as CSV: dL/dc").click()
    assert made.value.suggested_filename == "rnnspect-layer-0-forward-c-gradient.csv"
    made.value.save_as(tmp_path / "c.csv")
    _, *rows = csv.reader((tmp_path / "c.csv").read_text().splitlines())
    saved = np.array([[float(value) for value in row[1:]] for row in rows])
    np.testing.assert_array_equal(saved.astype("f4"), gradient_of(lstm, "c").astype("f4"))
    with page.page.expect_download() as made:
        page.page.get_by_role("button", name="Save as PNG: dL/dc").click()
    made.value.save_as(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_cell_of_a_long_run_is_a_range(opened, monkeypatch):
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    monkeypatch.setattr("rnnspect.reporting.keeping._PICTURES", 0)
    report = report_of(prepared_of("lstm", 400), "last")
    page = opened(as_html(report))
    canvas = page.map("dL/dh", "gradient")
    assert "each cell is the range over" in canvas.get_attribute("aria-label")
    low, high = cells_of(map_of(json.loads(as_data(report)), 0, "h", "gradient"))
    canvas.click(position=page.at(canvas, len(low) - 3, 0, *low.shape))
    shown = [float(one) for one in page.text("#derivation .lines").rpartition(" = ")[2].split(" to ")]
    assert shown == pytest.approx([low[-3, 0], high[-3, 0]], rel=1e-5)
    assert "is the range of" in page.text("#derivation")


def test_of_two_runs_the_gradients_are_reached_from_both(opened):
    prepared = prepared_of("lstm")
    recorded = rnnspect.trace(prepared.spec).output.engine[0]
    page = opened(as_html(report_of(prepared, beside=((prepared, Recordings(recorded)),))))
    page.page.locator("#run").select_option("1")
    page.page.locator("#search").fill("dL/df step 3 unit 1")
    page.press("Enter")
    assert page.text(".found").startswith("dL/df of layer 0 forward, step 3, unit 1: ")
    page.page.evaluate("location.hash = '#layer=0&step=2&unit=1&quantity=i&shown=gradient&run=1'")
    until(page, "document.getElementById('derivation').open")
    assert page.text("#derived").startswith("dL/di of layer 0, forward, at step 2, unit 1")


def test_a_link_that_is_followed_right_after_a_move(opened, lstm):
    """The page writes its place when the link was followed, and before it reads it."""
    page = opened(as_html(lstm))
    page.page.evaluate("""() => {
      window.setTimeout(() => { location.hash = '#layer=0&step=2&unit=1&quantity=i&shown=gradient'; }, 100);
      document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
      for (const began = Date.now(); Date.now() < began + 300;);
    }""")
    until(page, "document.getElementById('derivation').open")
    assert page.text("#derived").startswith("dL/di of layer 0, forward, at step 2, unit 1")


def test_what_is_not_finite_is_shown(opened):
    """W_hh of 4 in a relu: dL/dh grows beyond float32 after some 64 steps."""
    module = torch.nn.RNN(1, 1, nonlinearity="relu", bias=False)
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, 4.0)
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.tracing.given import GivenInput

    prepared = prepare_source(module, GivenInput(torch.full((90, 1), 1e-30), None, None, None), None)
    report = report_of(prepared, "last", None)
    assert np.isinf(gradient_of(report, "h")).any()
    page = opened(as_html(report))
    page.map("dL/dh", "gradient").scroll_into_view_if_needed()
    page.page.locator(".reach").scroll_into_view_if_needed()
    until(page, ALL_DRAWN)
    page.page.evaluate("location.hash = '#layer=0&step=1&unit=0&quantity=h&shown=gradient'")
    until(page, "document.getElementById('derivation').open")
    assert "It is not a finite number." in page.text("#derivation")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_it_fits_any_screen_and_can_be_read(opened, vanishing, width, scheme):
    page = opened(as_html(vanishing), width, scheme)
    page.map("dL/dh", "gradient").scroll_into_view_if_needed()
    page.page.locator(".reach").scroll_into_view_if_needed()
    until(page, ALL_DRAWN)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.page.evaluate(CONTRAST) == []
