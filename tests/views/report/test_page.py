"""What a person sees and does on the page: the answer, the drawn cell, zoom, sorting, search, links, files, paper."""

from __future__ import annotations

import csv
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect import engines
from rnnspect.engines.interface import NoEngine
from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
from rnnspect.tracing.prepare import prepare
from rnnspect.views.report import as_data, as_html
from tests.reporting.reading import Exported, values_of
from tests.reporting.runs import prepared_of

STEPS = 7


@pytest.fixture(scope="module")
def lstm():
    return report_prepared(prepared_of("lstm"), command="--cell lstm")


@pytest.fixture(scope="module")
def long():
    """Forty steps of sixteen units, with one number of the recording far off."""
    prepared = prepare(rnnspect.Spec(cell="lstm", input_size=3, hidden_size=16, input="randn:40", h0="randn"))
    output = rnnspect.trace(prepared.spec).output.engine[0].clone()
    output[31, 9] += 0.25
    return report_prepared(prepared, recorded=Recordings(output))


def drawn_numbers(page):
    """The numbers on the arrows of the cell, by name; those that have none are left out."""
    texts = page.page.locator("svg.cell text:has(.number)").all_text_contents()
    found = [re.fullmatch(r"(.*?) ?([-+.\de]+)", text) for text in texts]
    return {one[1]: float(one[2]) for one in found if one and one[1]}


def soon(page, holds):
    """Waits until something holds: 20 s, for a machine that is busy."""
    for _ in range(1000):
        if holds():
            return
        page.page.wait_for_timeout(20)
    raise AssertionError("it never was so")


def until(page, condition):
    """Waits; the page's policy lets no `wait_for_function` in."""
    soon(page, lambda: page.page.evaluate(condition))


ALL_DRAWN = "!document.querySelector('[data-computing]')"
DOTS = """(one) => {
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [one.width, one.height];
  const pen = copy.getContext('2d', { willReadFrequently: true });
  pen.drawImage(one, 0, 0);
  return [one.width, one.height, ...pen.getImageData(0, 0, one.width, one.height).data];
}"""


def dots_of(canvas):
    """(height, width, 4) of what a canvas shows."""
    wide, high, *dots = canvas.evaluate(DOTS)
    return np.reshape(dots, (high, wide, 4))


def test_the_answer_comes_first(opened):
    prepared = prepared_of("gru")
    gru = rnnspect.trace(prepared.spec).output.engine[0]
    page = opened(as_html(report_prepared(prepared, recorded=Recordings(-gru))))
    lines = [line for line in page.text("body").splitlines() if line.strip()]
    assert "differ" in " ".join(lines[:3])
    assert page.page.locator(".answer dt").all_inner_texts()[-1] == "Next"
    first = page.page.locator(".answer dt:has-text('First') + dd").inner_text()
    assert first.startswith("h of layer 0 forward, step 0, unit 0: expected ")
    page.page.get_by_role("button", name="See how it was computed", exact=True).click()
    assert page.text("#derived") == "h of layer 0, forward, at step 0, unit 0"


def test_without_javascript_the_answer_is_there_as_text(chromium, tmp_path):
    """With a name out of a file as it is, and no wider than a narrow window."""
    prepared = prepared_of("gru")
    recorded = Recordings(-rnnspect.trace(prepared.spec).output.engine[0])
    report = report_prepared(prepared, recorded=recorded)
    named = replace(report.runs[0], verdict=replace(report.runs[0].verdict, notes=("<b>a note</b> & more",)))
    (tmp_path / "report.html").write_text(as_html(replace(report, runs=(named,))))
    context = chromium.new_context(viewport={"width": 390, "height": 900}, java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    shown = page.locator("main").inner_text()
    assert "DIFFER" in shown
    assert "First    h of layer 0 forward, step 0, unit 0: expected " in shown
    assert "<b>a note</b> & more" in shown
    box = page.locator("main pre").bounding_box()
    assert box["x"] + box["width"] <= 390
    context.close()


def test_a_run_that_agrees_says_how_near_it_came(opened, lstm):
    page = opened(as_html(lstm))
    assert "all 28 values within float32 rounding error" in page.text(".answer .said")
    assert re.search(r"[\d.]+ % of the allowed [\d.]+e-\d+, at ", page.text(".answer dl"))


def test_what_cannot_be_told_says_what_to_give(opened):
    """Equations alone need an implementation; and of an input the answer itself says which other one would tell."""
    prepared = replace(prepared_of("gru"), engine=NoEngine("torch.nn has no such cell"))
    page = opened(as_html(report_prepared(prepared)))
    said = page.page.locator(".answer dt:has-text('Next') + dd").inner_text()
    assert said == "Give your implementation, --engine path/to/mine.py:step, or its numbers, --recorded y.npy."
    spec = rnnspect.Spec(cell="lstm", input_size=3, hidden_size=4)
    page = opened(as_html(report_prepared(prepare(spec, 100 * torch.ones(1, 3)))))
    assert "cannot tell" in page.text(".answer .said")
    said = page.page.locator(".answer dt:has-text('Next') + dd").inner_text()
    assert said == "Make the report again with what the answer above asks for."


VARIANTS = {
    "peepholes": {"cell": "lstm", "peepholes": True},
    "coupled": {"cell": "lstm", "input_forget": True, "peepholes": True},
    "reset before": {"cell": "gru", "reset": "before"},
    "no bias, clip": {"cell": "gru", "bias": False, "reverse": True, "clip": 0.4},
}


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "projected", "relu", *VARIANTS])
def test_the_drawn_cell_has_the_numbers_of_the_step(opened, name):
    """To the four digits that it shows."""
    if name in VARIANTS:
        pytest.importorskip("onnxruntime")
        spec = {"input_size": 3, "hidden_size": 4, "input": "randn:7", "h0": "randn"} | VARIANTS[name]
        prepared = replace(prepare(rnnspect.Spec(**spec)), engine=engines.find("onnxruntime"))
    else:
        prepared = prepared_of(name)
    report = report_prepared(prepared)
    page = opened(as_html(report))
    page.page.locator("#exactly").fill("3")
    page.page.locator("#unit").fill("1")
    page.press("Enter")
    assert page.page.locator("svg.cell .number:text-is('')").count() == 0
    shown, exported = drawn_numbers(page), Exported(json.loads(as_data(report)), 0, 3)
    gates = [gate for gate in prepared.spec.cell_type.gates if gate != "h"]
    for gate in gates:
        assert shown[gate] == pytest.approx(exported.quantity(gate, 1), rel=1e-3)
    for state in prepared.spec.cell_type.states:
        assert shown[f"{state}′"] == pytest.approx(exported.quantity(state, 1), rel=1e-3)
    assert shown["got"] == pytest.approx(shown["h′"], rel=1e-3)  # what the engine gave
    assert "NaN" not in page.page.locator("svg.cell").text_content()


def test_a_click_on_a_gate_opens_it(opened, lstm):
    page = opened(as_html(lstm))
    page.page.locator("svg.cell .gate", has_text="forget").click()
    assert page.text("#derived") == "f of layer 0, forward, at step 0, unit 0"
    page.press("Escape")
    page.page.get_by_role("button", name="o, the output gate").focus()
    page.press("Enter")
    assert page.text("#derived") == "o of layer 0, forward, at step 0, unit 0"


def test_a_step_that_is_not_in_the_file_has_no_numbers_on_its_arrows(opened, monkeypatch):
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    page = opened(as_html(report_prepared(prepared_of("gru"), ReportOptions(steps=(0, 1)))))
    assert "2 of 7 steps can be opened" in page.text(".answer dl")
    assert drawn_numbers(page)
    page.press("ArrowRight", "ArrowRight")
    assert "step 2 (its numbers are not included)" in page.page.locator("main h2").first.inner_text()
    assert not drawn_numbers(page)


def test_it_plays_and_pauses_by_key(opened, long):
    page = opened(as_html(long))
    page.page.locator("select[aria-label=Speed]").select_option("40")
    page.page.locator("#exactly").fill("0")
    page.press("Enter")
    page.page.evaluate("document.activeElement.blur()")
    page.press(" ")
    until(page, "Number(document.getElementById('exactly').value) > 2")
    assert page.page.locator("#play").get_attribute("aria-label") == "Pause"
    page.press(" ")
    stopped = page.page.locator("#exactly").input_value()
    assert page.page.locator("#play").get_attribute("aria-label") == "Play"
    page.press("ArrowRight")
    assert page.page.locator("#exactly").input_value() == str(int(stopped) + 1)


def test_the_network_leads_to_a_layer(opened):
    page = opened(as_html(report_prepared(prepared_of("layers"))))
    page.page.get_by_role("button", name="layer 1, reverse: show its cell").click()
    assert page.page.locator(".network [aria-pressed=true]").get_attribute("aria-label").startswith("layer 1, reverse")
    assert page.page.locator("#layer").input_value() == "3"
    until(page, "location.hash.includes('layer=1&direction=reverse')")


def test_a_link_leads_to_a_place(opened):
    page = opened(as_html(report_prepared(prepared_of("layers"))))
    address = page.page.url.partition("#")[0]
    page.page.goto("about:blank")
    page.page.goto(f"{address}#layer=1&direction=reverse&step=5&unit=2")
    page.page.wait_for_selector("html[data-ready]")
    assert page.page.locator("#layer").input_value() == "3"
    assert page.text(".equations caption") == "at step 5, unit 2"
    page.page.evaluate("location.hash = '#step=99&unit=-1&layer=0'")
    until(page, "document.getElementById('exactly').value === '6'")
    until(page, "location.hash === '#layer=0&direction=forward&step=6&unit=2'")
    page.page.evaluate("location.hash = '#layer=7'")
    until(page, "document.getElementById('said').textContent.includes('does not have')")


def test_a_link_opens_how_a_number_was_computed(opened, lstm):
    page = opened(as_html(lstm))
    canvas = page.map("f", "equations")
    canvas.click(position=page.at(canvas, 4, 2, STEPS, 4))
    until(page, "location.hash === '#layer=0&direction=forward&step=4&unit=2&quantity=f'")
    address = page.page.url
    page.press("Escape")
    until(page, "location.hash === '#layer=0&direction=forward&step=4&unit=2'")
    page.page.goto("about:blank")
    page.page.goto(address)
    assert page.text("#derived") == "f of layer 0, forward, at step 4, unit 2"


def test_a_scale_lies_around_the_middle_of_what_can_be(opened, lstm):
    page = opened(as_html(lstm))
    for quantity, whose, middle in [("f", "equations", "0.5"), ("g", "equations", "0"), ("h", "torch,", "0")]:
        page.map(quantity, whose).scroll_into_view_if_needed()
        figure = page.page.locator("figure", has=page.page.locator(f"[aria-label^='{quantity}: {whose}']"))
        legend = figure.locator(".legend span:not(.scale)")
        legend.first.wait_for()
        low, said, high = legend.all_inner_texts()
        assert said == middle
        assert float(low) + float(high) == 2 * float(middle)


def dragged(page, canvas, start, end):
    canvas.scroll_into_view_if_needed()
    soon(page, lambda: canvas.evaluate("(one) => one.painted"))
    box = canvas.bounding_box()
    page.page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=4)
    page.page.mouse.up()


def test_dragging_zooms_and_a_double_click_shows_all_again(opened, long):
    page, data = opened(as_html(long)), json.loads(as_data(long))
    canvas = page.map("f", "equations")
    dragged(page, canvas, (0.26, 0.26), (0.49, 0.49))  # steps 10 to 19 of 40, units 4 to 7 of 16
    assert not page.page.locator("#derivation").is_visible()
    canvas.hover(position=page.at(canvas, 2, 1, 10, 4))
    address, _, value = page.text("#tip").rpartition(": ")
    assert address.endswith("step 12, unit 5")
    assert float(value) == pytest.approx(float(values_of(data, 0, "f")[12, 5]), rel=1e-5)
    other = page.map("c", "equations")  # the steps of all maps, the units of one
    other.hover(position=page.at(other, 2, 5, 10, 16))
    assert page.text("#tip").split(": ")[0].endswith("step 12, unit 5")
    canvas.dblclick(position=page.at(canvas, 2, 1, 10, 4))
    canvas.hover(position=page.at(canvas, 2, 1, 40, 16))
    assert page.text("#tip").split(": ")[0].endswith("step 2, unit 1")
    assert not page.page.locator("#derivation").is_visible()


def test_a_click_in_a_zoomed_map_opens_what_it_shows(opened, long):
    page = opened(as_html(long))
    canvas = page.map("f", "equations")
    dragged(page, canvas, (0.26, 0.26), (0.49, 0.49))
    canvas.click(position=page.at(canvas, 2, 1, 10, 4))
    page.page.locator("#derived").wait_for()
    assert page.text("#derived") == "f of layer 0, forward, at step 12, unit 5"
    page.press("Escape")
    page.page.get_by_role("button", name="Show the whole map again: f").click()
    assert page.page.get_by_role("button", name="Show the whole map again: f").count() == 0


@pytest.mark.parametrize("by", ["difference", "variance"])
def test_units_are_sorted_by_what_matters(opened, long, by):
    page, data = opened(as_html(long)), json.loads(as_data(long))
    canvas = page.map("h", "|difference|" if by == "difference" else "equations")
    page.at(canvas, 0, 0, 40, 16)
    until(page, "document.querySelectorAll('.legend .scale').length > 3")
    before = dots_of(canvas)
    assert before.shape == (16, 40, 4)
    page.page.locator(".sorting select").select_option(by)
    until(page, ALL_DRAWN)
    score = abs(values_of(data, 0, "h", "difference")).max(0) if by == "difference" else values_of(data, 0, "h").var(0)
    order = np.argsort(-score, kind="stable")
    assert by == "variance" or order[0] == 9  # where the recording is off
    np.testing.assert_array_equal(dots_of(canvas), before[order])
    canvas.hover(position=page.at(canvas, 20, 2, 40, 16))
    assert f"unit {order[2]}:" in page.text("#tip")
    canvas.click(position=page.at(canvas, 20, 2, 40, 16))
    assert page.text("#derived").endswith(f"unit {order[2]}")


def test_units_are_sorted_by_how_often_they_saturate(opened):
    prepared = prepare(rnnspect.Spec(cell="rnn", nonlinearity="relu", input_size=3, hidden_size=16, input="randn:40"))
    report = report_prepared(prepared)
    page, data = opened(as_html(report)), json.loads(as_data(report))
    page.page.locator(".sorting select").select_option("saturation")
    until(page, ALL_DRAWN)
    order = np.argsort(-(values_of(data, 0, "h") <= 0).sum(0), kind="stable")
    canvas = page.map("h", "equations")
    for row in (0, 7, 15):
        canvas.hover(position=page.at(canvas, 20, row, 40, 16))
        assert f"unit {order[row]}:" in page.text("#tip")


HOLD_TIMERS = """() => {
  window.held = new Map();
  let last = 1e6;
  window.setTimeout = (work) => { last += 1; window.held.set(last, work); return last; };
  window.clearTimeout = (one) => window.held.delete(one);
}"""
LET_TIMERS_GO = """() => {
  const held = [...window.held.values()];
  window.held.clear();
  held.forEach((work) => work());
  return held.length;
}"""


def test_a_large_page_computes_bit_by_bit_and_answers_meanwhile(opened):
    """One timer after the other is let go, so that what is seen between two bits of work does not depend on the CPU."""
    prepared = prepare(rnnspect.Spec(cell="gru", input_size=64, hidden_size=200, input="randn:400"))
    report = report_prepared(prepared)
    page, data = opened(as_html(report), 700), json.loads(as_data(report))
    canvas = page.map("n", "equations")
    page.page.evaluate(HOLD_TIMERS)
    canvas.evaluate("(one) => one.scrollIntoView({ block: 'center' })")
    until(page, "document.querySelectorAll('.plot[data-computing]').length > 1")
    expected = [Exported(data, 0, step).quantity("n", 150) for step in (7, 391)]

    def shown():
        for step in (7, 391):
            canvas.hover(position=page.at(canvas, step, 150, 400, 200))
            address, _, value = page.text("#tip").rpartition(": ")
            assert address.endswith(f"step {step}, unit 150")
            yield float(value)

    assert list(shown()) == pytest.approx(expected, rel=1e-5)
    canvas.evaluate("(one) => one.scrollIntoView({ block: 'center' })")
    said = []
    while page.page.evaluate(LET_TIMERS_GO):
        said.append(canvas.evaluate("(one) => one.parentElement.dataset.computing ?? null"))
    shares = [int(one.split()[1]) for one in said if one and "%" in one]
    assert len(shares) > 2
    assert shares == sorted(shares)
    assert said[-1] is None
    assert canvas.get_attribute("aria-busy") == "false"
    assert canvas.evaluate("(one) => one.painted")
    assert list(shown()) == pytest.approx(expected, rel=1e-5)


def test_a_unit_over_time(opened, long):
    page = opened(as_html(long))
    axis = page.page.locator("figure", has=page.page.locator("canvas[aria-label^='h: equations']")).locator(
        ".axis.down"
    )
    axis.click(position={"x": 5, "y": page.at(page.map("h", "equations"), 0, 9, 40, 16)["y"]})
    line = page.page.locator("figure figure")
    assert line.locator("figcaption").inner_text() == "h of unit 9 over time"
    assert page.page.locator("#unit").input_value() == "9"
    assert "recording" in line.locator(".legend").inner_text()
    line.scroll_into_view_if_needed()
    soon(page, lambda: len(np.unique(dots_of(line.locator("canvas")))) > 2)  # something is drawn
    page.page.get_by_role("button", name="Show the unit over time: h, equations").click()
    assert line.count() == 0


def test_a_map_is_saved(opened, long, tmp_path):
    page, data = opened(as_html(long)), json.loads(as_data(long))
    with page.page.expect_download() as made:
        page.page.get_by_role("button", name="Save as CSV: c").click()
    assert made.value.suggested_filename == "rnnspect-layer-0-forward-c-equations.csv"
    made.value.save_as(tmp_path / "c.csv")
    head, *rows = csv.reader((tmp_path / "c.csv").read_text().splitlines())
    assert head == ["step", *(f"unit {unit}" for unit in range(16))]
    assert [row[0] for row in rows] == [str(step) for step in range(40)]
    saved = np.array([[float(value) for value in row[1:]] for row in rows])
    np.testing.assert_array_equal(saved.astype("f4"), values_of(data, 0, "c").astype("f4"))
    with page.page.expect_download() as made:
        page.page.get_by_role("button", name="Save as PNG: c").click()
    made.value.save_as(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_search(opened, long):
    page = opened(as_html(long))
    page.press("/")
    page.page.keyboard.type("forget unit 7 step 30")
    page.press("Enter")
    assert page.text(".found").startswith("f of layer 0 forward, step 30, unit 7: ")
    label = page.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("f: equations,")
    for asked, said in {
        "step 99": "No step 99: the steps are 0 to 39.",
        "unit 16": "No unit 16: the units are 0 to 15.",
        "layer 3": "This network has layer 0 forward.",
        "nothing like this": "Nothing found. Try: unit 7, step 30, forget, layer 1.",
    }.items():
        page.page.locator("#search").fill(asked)
        page.press("Enter")
        assert page.text(".found") == said


def test_two_runs_stand_beside_each_other(opened):
    prepared = prepared_of("layers")
    output = rnnspect.trace(prepared.spec).output.engine[0].clone()
    output[5, 3] += 0.25
    recorded = Recordings(output, name="mine.npz")
    report = report_prepared(prepared, ReportOptions(beside=((prepared, recorded),)))
    page, data = opened(as_html(report)), json.loads(as_data(report))
    assert page.page.locator(".verdict").all_inner_texts() == ["agree", "differ"]
    assert "mine.npz does not match" in page.page.locator(".answer .said").nth(1).inner_text()
    assert page.page.locator("#run option").all_inner_texts() == ["torch", "mine.npz"]
    assert page.page.locator("#run").input_value() == "1"  # the one that differs, where it does first
    assert page.text(".equations caption") == "at step 5, unit 3"
    assert page.text(".equations tr:last-child .now").split()[1] == "mine.npz"
    between = page.map("h", "mine.npz − torch", 1)
    for step, unit, expected in [(5, 3, 0.25), (5, 2, 0.0)]:
        between.hover(position=page.at(between, step, unit, STEPS, 4))
        address, _, value = page.text("#tip").rpartition(": ")
        assert address == f"h (mine.npz − torch), layer 1 forward, step {step}, unit {unit}"
        assert float(value) == pytest.approx(expected, abs=1e-6)  # 0.25 was added in float32
    canvas = page.map("h", "equations, mine.npz", 1)
    canvas.click(position=page.at(canvas, 6, 1, STEPS, 4))
    other = Exported(data | data["beside"][0], 2, 6)
    assert float(page.text("#derivation .beside li >> nth=0").split()[-1]) == pytest.approx(other.quantity("h", 1))
    until(page, "location.hash.endsWith('&quantity=h&run=1')")
    page.press("Escape")
    page.page.locator("#run").select_option("torch")
    assert page.text(".equations tr:last-child .now").split()[1] == "torch"


def images_of(pdf: bytes) -> list[bytes]:
    """The bytes of every picture in a PDF that holds them deflated, as Chromium's do."""
    found = re.findall(rb"/Subtype /Image\n([^>]*)>>\s*stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    return [zlib.decompressobj().decompress(body) for head, body in found if b"/FlateDecode" in head]


def test_a_printed_page_has_every_picture(opened, lstm):
    page = opened(as_html(lstm), scheme="dark")
    images = images_of(page.page.pdf())
    canvases = page.page.locator("canvas").count()
    assert canvases >= len(lstm.layers[0].maps)
    assert len(images) >= len(lstm.layers[0].maps)
    pictures = [image for image in images if len(set(image)) > 2]  # the others are blank
    assert len(pictures) >= len(lstm.layers[0].maps)
    assert page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)"  # as before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 2000])
def test_no_width_makes_the_page_scroll_sideways(opened, width, scheme):
    page = opened(as_html(report_prepared(prepared_of("layers"))), width, scheme)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width


CONTRAST = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((one) => {
      const share = Number(one) / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const wrong = [];
  for (const one of document.querySelectorAll('p, dt, dd, td, th, figcaption, button, .tick, .name, .badge, span')) {
    if (!one.textContent.trim() || one.closest('svg')) continue;
    const ink = light(getComputedStyle(one).color);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) wrong.push(`${one.tagName} ${one.textContent.slice(0, 30)} ${ratio.toFixed(1)}`);
  }
  return wrong;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_enough(opened, lstm, scheme):
    """4.5 : 1, as WCAG 2.1 asks of text (AA)."""
    page = opened(as_html(lstm), scheme=scheme)
    page.page.locator("canvas.map").first.scroll_into_view_if_needed()
    page.page.locator(".legend .scale").first.wait_for()
    assert page.page.evaluate(CONTRAST) == []
