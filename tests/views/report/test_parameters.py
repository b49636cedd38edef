"""The parameters on the page, as a person sees them: suspects, scores, what was recovered, and what a click says."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
from rnnspect.views.report import as_data, as_html
from tests.reporting.planted import (
    COLUMN,
    FEATURES,
    ROW,
    UNITS,
    all_smaller,
    errors_of,
    nothing,
    one_weight,
    page_of,
    run_of,
    shown_of,
)
from tests.reporting.runs import prepared_of
from tests.views.report.test_page import ALL_DRAWN, CONTRAST, dots_of, soon, until

ROWS = 3 * UNITS
NAME = f"weight_hh_l0[{ROW},{COLUMN}]"


@pytest.fixture(scope="module")
def stale():
    """A GRU of which a single weight is 1 % larger in the engine."""
    return page_of(*run_of(one_weight), recover=True)


@pytest.fixture(scope="module")
def smaller():
    return page_of(*run_of(all_smaller), recover=True)


@pytest.fixture(scope="module")
def right():
    return page_of(*run_of(nothing), recover=True)


def found_of(report):
    return json.loads(as_data(report))["parameters"]


def parameter_map(page, name, shown):
    canvas = page.page.locator(f'canvas.map[aria-label^="{name}: {shown}"]')
    canvas.scroll_into_view_if_needed()
    soon(page, lambda: canvas.evaluate("one => one.painted === true"))
    until(page, ALL_DRAWN)
    return canvas


def colours_of(canvas):
    """(rows, columns, 3), and which of them are empty."""
    dots = dots_of(canvas).astype(int)
    return dots[..., :3], dots[..., 3] == 0


def test_the_table_names_the_weight_with_both_values(opened, stale):
    page = opened(as_html(stale))
    row = page.page.locator("tr", has=page.page.get_by_role("link", name=NAME))
    cells = row.locator("td").all_inner_texts()
    assert cells[:4] == [NAME, "gate n of unit 3", "0.145", "0.146"]
    assert cells[4].endswith(" × smaller")
    assert cells[5].startswith("probability of coincidence: 1 in 10^")
    assert (
        page.page.locator(".answer dt:has-text('Suspect') + dd")
        .inner_text()
        .startswith(f"{NAME} is 0.146 in the engine")
    )


def test_its_link_moves_to_the_cell(opened, stale):
    page = opened(as_html(stale))
    page.page.locator("section").get_by_role("link", name=NAME).last.click()
    label = page.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "weight_hh_l0: recovered − here"
    assert page.page.locator("#said").text_content().startswith(f"{NAME} (n, unit 3): 0.0014")
    assert page.page.evaluate("location.hash") == f"#parameter=weight_hh_l0&row={ROW}&column={COLUMN}"
    for shown in ("24 rows", "score", "recovered"):  # all of its maps mark the cell
        canvas = parameter_map(page, "weight_hh_l0", shown)
        plot = page.page.locator(".plot", has=canvas)
        mark, box = plot.locator(".mark").bounding_box(), canvas.bounding_box()
        assert (mark["x"] + mark["width"] / 2 - box["x"]) / box["width"] == pytest.approx(
            (COLUMN + 0.5) / UNITS, abs=0.02
        )
        assert (mark["y"] + mark["height"] / 2 - box["y"]) / box["height"] == pytest.approx(
            (ROW + 0.5) / ROWS, abs=0.05
        )
        assert plot.locator(".ring").get_attribute("title") == NAME


def test_a_link_that_is_followed_right_after_a_move_is_not_written_over(opened, stale):
    """Timers of a page fire in order: that of the page, which writes where it is after the move, before that below."""
    page = opened(as_html(stale))
    address = page.page.evaluate("""async () => {
      document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
      document.querySelector('a').click();
      await new Promise((done) => { window.setTimeout(done, 400); });
      return location.hash;
    }""")
    assert address == f"#parameter=weight_hh_l0&row={ROW}&column={COLUMN}"


def test_a_link_can_be_given_to_somebody(opened, stale):
    page = opened(as_html(stale))
    address = page.page.url.partition("#")[0] + "#parameter=bias_ih_l0&row=7&column=0"
    page.page.goto("about:blank")
    page.page.goto(address)
    assert page.page.locator("#said").text_content().startswith("bias_ih_l0[7] (r, unit 7): ")
    for row, gate in ((8, "z"), (16, "n")):  # the first of each gate
        page.page.evaluate(f"location.hash = 'parameter=bias_hh_l0&row={row}'")
        until(page, f"document.getElementById('said').textContent.startsWith('bias_hh_l0[{row}] ({gate}, unit 0): ')")
    for wrong in ("parameter=nothing&row=1", "parameter=weight_ih_l0&row=24", "parameter=weight_ih_l0&column=6"):
        page.page.evaluate(f"location.hash = '{wrong}'")
        until(page, "document.getElementById('said').textContent.includes('does not have')")
        page.page.evaluate("document.getElementById('said').textContent = ''")


@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_ih_l0", "bias_ih_l0"])
def test_scores_have_their_colours(opened, stale, name):
    """The palest where chance does as much, the darkest where it is all; in between the more the darker."""
    values, chance = shown_of(found_of(stale)["scores"], name), found_of(stale)["layers"][0]["chance"]
    colours, empty = colours_of(parameter_map(opened(as_html(stale)), name, "score"))
    assert colours.shape[:2] == values.shape
    assert not empty.any()
    assert np.abs(colours[values < chance] - [0xFD, 0xFB, 0xE8]).max(initial=0) <= 2
    order = np.argsort(values.ravel())
    light = colours.sum(2).ravel()[order]
    assert (np.diff(light) <= 6).all()
    if name == "weight_hh_l0":
        assert np.abs(colours[ROW, COLUMN] - [0x12, 0x28, 0x5C]).max() <= 4


@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_ih_l0"])
def test_recovered_differences_have_their_colours(opened, smaller, name):
    """Blue below 0, brown above, nothing near it; all maps on one scale."""
    found = found_of(smaller)["differences"]
    values = shown_of(found, name)
    most = max(np.abs(shown_of(found, one)).max() for one in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"))
    colours, _ = colours_of(parameter_map(opened(as_html(smaller)), name, "recovered"))
    for row, column in np.argwhere(np.abs(values) > most / 20):
        red, _, blue = colours[row, column]
        assert (red > blue) == (values[row, column] > 0)
    for row, column in np.argwhere(np.abs(values) < most / 300):
        assert np.abs(colours[row, column] - [0xF5, 0xF5, 0xF2]).max() <= 4


def test_a_single_difference_stands_alone(opened, stale):
    values = shown_of(found_of(stale)["differences"], "weight_hh_l0")
    colours, _ = colours_of(parameter_map(opened(as_html(stale)), "weight_hh_l0", "recovered"))
    assert np.unravel_index(np.abs(values).argmax(), values.shape) == (ROW, COLUMN)
    assert np.abs(colours[ROW, COLUMN] - [0x6E, 0x2C, 0x00]).max() <= 2
    colours[ROW, COLUMN] = [0xF5, 0xF5, 0xF2]
    assert np.abs(colours - [0xF5, 0xF5, 0xF2]).max() <= 4


def test_what_cannot_be_told_is_hatched_and_said(opened, stale, tmp_path):
    page = opened(as_html(stale))
    canvas = parameter_map(page, "bias_hh_l0", "recovered")
    _, empty = colours_of(canvas)
    assert empty.ravel().tolist() == [True] * 16 + [False] * 8
    figure = page.page.locator("figure", has=canvas)
    assert "unknown" in figure.locator(".legend").inner_text()
    assert "repeating-linear-gradient" in figure.locator(".plot").evaluate(
        "one => getComputedStyle(one).backgroundImage"
    )
    canvas.click(position=page.at(canvas, 0, 3, 1, ROWS))
    assert "unknown from these numbers, so it keeps your value" in page.text("#derivation")
    page.press("Escape")
    with page.page.expect_download() as made:
        page.page.get_by_role("button", name="Save as CSV: bias_hh_l0, recovered").click()
    made.value.save_as(tmp_path / "b.csv")
    _, *rows = csv.reader((tmp_path / "b.csv").read_text().splitlines())
    assert [row[1] == "" for row in rows] == empty.ravel().tolist()


def test_a_click_says_all_that_is_known(opened, smaller):
    page, found = opened(as_html(smaller)), found_of(smaller)
    name, row, column = "weight_ih_l0", 13, 4
    own = smaller.runs[0].parameters  # the same numbers, before they were written
    for shown in ("24 rows", "score", "recovered"):
        canvas = parameter_map(page, name, shown)
        canvas.click(position=page.at(canvas, column, row, FEATURES, ROWS))
        assert page.text("#derived") == "weight_ih_l0[13,4] (z, unit 5)"
        names, values = (page.page.locator(f"#derivation {one}").all_inner_texts() for one in ("dt", "dd"))
        said = dict(zip(names, values, strict=True))
        assert list(said) == ["here", "recovered", "recovered − here", "score"]
        difference, error = (float(one.split()[0]) for one in said["recovered − here"].split(" ± "))
        assert difference == pytest.approx(own.differences[name].low[row, column], rel=1e-3)
        assert error == pytest.approx(
            own.errors[name][row, column], rel=0.05
        )  # two digits of what has a byte and a half
        assert float(said["recovered"]) - float(said["here"]) == pytest.approx(difference, rel=0.01)
        share = shown_of(found["scores"], name)[row, column]
        assert float(said["score"].removeprefix("explains ").split(" %")[0]) == pytest.approx(100 * share, rel=1e-3)
        page.press("Escape")
    assert errors_of(found, name).shape == (ROWS, FEATURES)


def test_by_keyboard_alone(opened, stale):
    page, values = opened(as_html(stale)), shown_of(found_of(stale)["scores"], "weight_hh_l0")
    canvas = parameter_map(page, "weight_hh_l0", "score")
    canvas.focus()
    page.press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp")  # the first one marks the first cell
    said = page.page.locator("#said").text_content()
    assert said.startswith("weight_hh_l0[1,1] (r, unit 1): ")
    assert float(said.rpartition(": ")[2]) == pytest.approx(values[1, 1], rel=1e-5)
    page.press("+", "+")
    soon(page, lambda: dots_of(canvas).shape[:2] == (ROWS // 4, UNITS // 4))
    assert page.page.get_by_role("button", name="Show the whole map again: weight_hh_l0, score").is_visible()
    page.press("0")
    assert page.page.get_by_role("button", name="Show the whole map again: weight_hh_l0, score").is_hidden()
    page.press("Enter")
    assert page.text("#derived") == "weight_hh_l0[1,1] (r, unit 1)"
    page.press("Escape")
    assert page.page.evaluate("document.activeElement.getAttribute('aria-label')") == "weight_hh_l0: score"


def test_of_a_right_run_nothing_stands_out(opened, right):
    page = opened(as_html(right))
    assert "No single parameter stands out in layer 0 forward: " in page.text("#main")
    assert "all weights that this run shows are equal to yours" in page.text("#main")
    assert page.page.locator("a").count() == 0
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"):
        scores, _ = colours_of(parameter_map(page, name, "score"))
        assert np.abs(scores - [0xFD, 0xFB, 0xE8]).sum(2).max() < 200  # as far as a third of the scale
        changes, empty = colours_of(parameter_map(page, name, "recovered"))
        assert np.abs(changes - [0xF5, 0xF5, 0xF2]).sum(2)[~empty].max() < 200


def test_a_run_that_differs_by_evidence_alone_leads_to_the_parameter(opened):
    def change(module):
        module.bias_ih_l0[3] += 2e-6

    report = page_of(*run_of(change, torch.nn.RNN))
    assert report.verdict.found_by == "evidence"
    page = opened(as_html(report))
    said = page.page.locator(".answer dt:has-text('Next') + dd")
    assert said.inner_text() == "See the parameter in its map: bias_ih_l0[3] + bias_hh_l0[3]"
    said.locator("a").click()
    assert page.page.locator("#said").text_content().startswith("bias_ih_l0[3] (h, unit 3): ")
    assert "rounding alone can look like a change of" in page.text(".answer")


def test_a_hint_is_no_proof(opened):
    def change(module):
        module.bias_ih_l0[3] += 1e-6

    report = page_of(*run_of(change, torch.nn.LSTM))
    assert report.verdict.agrees
    page = opened(as_html(report))
    assert page.page.locator(".answer dt:has-text('Hint') + dd").inner_text().startswith("possibly bias_ih_l0[3]")
    assert "rounding can look like this, too" in page.text("#main")


@pytest.mark.slow
def test_a_cell_that_holds_several_is_a_range(opened, monkeypatch):
    monkeypatch.setattr("rnnspect.reporting.parameters.PARAMETERS", 0)
    monkeypatch.setattr("rnnspect.reporting.downsampling.LEAST", 50)
    report = page_of(*run_of(all_smaller), recover=True)
    picture = report.runs[0].parameters.differences["weight_hh_l0"]
    assert not picture.exact
    page = opened(as_html(report))
    canvas = parameter_map(page, "weight_hh_l0", "recovered")
    assert "each cell is the range over" in canvas.get_attribute("aria-label")
    rows, columns = picture.low.shape
    canvas.click(position=page.at(canvas, columns - 1, 1, columns, rows))
    said = page.page.locator("#derivation dt:has-text('recovered − here') + dd").inner_text()
    shown = [float(one) for one in said.split(" to ")]
    span = np.ptp(picture.low) + np.ptp(picture.high)
    assert shown == pytest.approx([picture.low[1, -1], picture.high[1, -1]], abs=span / 2**15)


def test_of_two_runs_each_has_its_own(opened):
    prepared = prepared_of("gru", 60)
    recorded = prepared.run().output
    beside = (prepared, Recordings(recorded.squeeze(), name="mine.npy"))
    page = opened(as_html(report_prepared(prepared, ReportOptions(beside=(beside,)))))
    labels = page.page.locator("canvas.map").evaluate_all("all => all.map((one) => one.ariaLabel)")
    assert "weight_hh_l0: score, torch" in labels
    assert "weight_hh_l0: score, mine.npy" in labels
    canvas = parameter_map(page, "weight_hh_l0", "score, mine.npy")
    canvas.click(position=page.at(canvas, 1, 2, 4, 12))
    names = page.page.locator("#derivation dt").all_inner_texts()
    assert names == ["here", "torch: score", "mine.npy: score"]


def test_maps_are_saved(opened, stale, tmp_path):
    page = opened(as_html(stale))
    parameter_map(page, "weight_hh_l0", "recovered")
    with page.page.expect_download() as made:
        page.page.get_by_role("button", name="Save as CSV: weight_hh_l0, recovered").click()
    assert made.value.suggested_filename == "rnnspect-weight_hh_l0-recovered-minus-here.csv"
    made.value.save_as(tmp_path / "w.csv")
    _, *rows = csv.reader((tmp_path / "w.csv").read_text().splitlines())
    saved = np.array([[float(value) for value in row[1:]] for row in rows])
    np.testing.assert_array_equal(
        saved.astype("f4"), shown_of(found_of(stale)["differences"], "weight_hh_l0").astype("f4")
    )
    with page.page.expect_download() as made:
        page.page.get_by_role("button", name="Save as PNG: bias_hh_l0, recovered").click()
    made.value.save_as(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200, 2000])
def test_it_fits_any_screen_and_can_be_read(opened, stale, width, scheme):
    page = opened(as_html(stale), width, scheme)
    parameter_map(page, "weight_hh_l0", "recovered")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.page.evaluate(CONTRAST) == []
