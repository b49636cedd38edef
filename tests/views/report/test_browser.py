"""The page as a person has it: opened from disk, offline, in a real browser."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

import rnnspect
from rnnspect import engines
from rnnspect.cells.functions import KINDS
from rnnspect.cli import main
from rnnspect.engines.interface import NoEngine
from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
from rnnspect.reporting.data import Address
from rnnspect.reporting.deriving import derive_prepared, locate
from rnnspect.tracing.prepare import prepare
from rnnspect.views import derive
from rnnspect.views.report import as_data, as_html
from tests.cells.test_examples import cell as example
from tests.reporting.reading import Exported, cells_of, map_of, values_of
from tests.reporting.runs import EVIL, prepared_of

STEPS = 7
NUMBER = re.compile(r"(?<![\w\]])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def page_of(name, **asked):
    return as_html(report_prepared(prepared_of(name), ReportOptions(**asked), command="--cell lstm"))


@pytest.fixture(scope="module")
def report():
    return report_prepared(prepared_of("lstm"), command="--cell lstm")


def test_the_slider_moves_everything(opened, report):
    page = opened(as_html(report))
    page.page.locator("#step").focus()
    page.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert page.page.locator("#exactly").input_value() == "3"
    lefts = page.page.eval_on_selector_all("section .map ~ .column", "all => all.map((one) => one.style.left)")
    moved = [left for left in lefts if left]
    assert len(moved) == len(report.layers[0].maps)
    assert {float(left.rstrip("%")) for left in moved} == {round(100 * 3 / STEPS, 4)}
    assert page.text(".equations caption") == "at step 3, unit 0"
    shown = float(page.text(".equations tr:first-child b"))
    assert shown == pytest.approx(Exported(json.loads(as_data(report)), 0, 3).quantity("i", 0), rel=1e-5)


def test_hovering_gives_the_value_and_its_address(opened, report):
    page, data = opened(as_html(report)), json.loads(as_data(report))
    for quantity, shown, kind in (
        ("f", "equations", "equations"),
        ("h", "torch", "engine"),
        ("x", "equations", "equations"),
    ):
        values = values_of(data, 0, quantity, kind)
        canvas = page.map(quantity, shown + ",")
        canvas.hover(position=page.at(canvas, 5, 2, *values.shape))
        address, _, value = page.text("#tip").rpartition(": ")
        assert address == f"{quantity} ({shown}), layer 0 forward, step 5, unit 2"
        assert float(value) == pytest.approx(float(values[5, 2]), rel=1e-5)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "layers", "projected", "packed"])
def test_a_click_opens_the_derivation_that_the_command_gives(opened, name):
    """Line by line: the words are the same, and the numbers to the nine digits that both print."""
    prepared = prepared_of(name)
    page = opened(page_of(name, item=0))
    length = prepared.sequence.lengths[0] if prepared.sequence.lengths else STEPS
    top = prepared.spec.num_layers - 1
    canvas = page.map("h", "equations", top)
    canvas.click(position=page.at(canvas, 4, 1, length, prepared.spec.output_size))
    derivation = rnnspect.derive(prepared.spec, step=4, unit=1, layer=top)
    heads = page.page.locator("#derivation h3").all_inner_texts()
    assert heads[: len(derivation.equations)] == [one.address for one in derivation.equations]
    assert_shown(page, derivation)
    sums = page.page.locator("#derivation .sum").all_inner_texts()
    leaves = [(leaf, equation.unit) for equation in derivation.equations for leaf in equation.expression.leaves()]
    value = derivation.evaluation.value
    expected = [value(leaf, unit) for leaf, unit in leaves if leaf.kind in ("sum", "parameter")]
    values = sorted(float(line.rpartition(" = ")[2]) for line in sums)
    np.testing.assert_allclose(values, sorted(expected), rtol=1e-8)
    beside = page.text("#derivation .beside").splitlines()
    shown = [float(re.findall(NUMBER, line)[0]) for line in beside]
    expected = [derivation.value, derivation.engine_value, derivation.difference, derivation.bound]
    np.testing.assert_allclose(shown[:2], expected[:2], rtol=1e-8)
    np.testing.assert_allclose(shown[2:], expected[2:], rtol=5e-3)  # three digits


def three_at_once(names):
    return [names[at : at + 3] for at in range(0, len(names), 3)]


@pytest.mark.parametrize("chosen", three_at_once([*KINDS, "tanh"]), ids=" ".join)
@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_page_knows_every_function(opened, chosen, clip):
    """σ and both tanh of an LSTM that onnxruntime runs."""
    keys = {"activations": chosen, "clip": clip, "peepholes": True, "input": "randn:3", "h0": "randn"}
    prepared = prepare(rnnspect.Spec(cell="lstm", input_size=3, hidden_size=4, **keys))
    pytest.importorskip("onnxruntime")
    prepared = replace(prepared, engine=engines.find("onnxruntime"))
    page = opened(as_html(report_prepared(prepared)))
    canvas = page.map("h", "equations")
    canvas.click(position=page.at(canvas, 1, 1, 3, 4))
    derivation = derive_prepared(prepared, locate(prepared, Address(step=1, unit=1)))
    assert_shown(page, derivation)


@pytest.mark.parametrize("name", ["mgu", "mlstm", "retnet", "s6"])
def test_so_does_one_of_a_cell_of_ones_own(opened, name):
    """Its drawing has a box for each gate; a cell state of several blocks is written block by block."""
    spec = rnnspect.Spec(cell=example(name), input_size=3, hidden_size=4, input="randn:7")
    prepared = replace(prepare(spec), engine=NoEngine("no engine"))
    page = opened(as_html(report_prepared(prepared, command="--cell mine.py:NAME")))
    assert page.page.locator(".cell .gate").count() == len(set(spec.cell_type.quantities) - {"c", "h"})
    for quantity in spec.cell_type.quantities[-2:]:
        unit = spec.units(quantity) - 1
        canvas = page.map(quantity, "equations", 0)
        canvas.click(position=page.at(canvas, 4, unit, STEPS, spec.units(quantity)))
        derivation = rnnspect.derive(spec, step=4, unit=unit, quantity=quantity)
        heads = page.page.locator("#derivation h3").all_inner_texts()
        assert heads[: len(derivation.equations)] == [one.address for one in derivation.equations]
        assert_shown(page, derivation)
        page.press("Escape")


def assert_shown(page, derivation):
    blocks = page.page.locator("#derivation .lines").all_inner_texts()
    for block, section in zip(blocks, derive.sections(derivation, lambda value: f"{value:.9g}", None), strict=True):
        lines = [line.removeprefix("= ") for line in block.splitlines() if line.strip()]
        assert_same_lines(lines, section.lines)


def assert_same_lines(found, expected):
    assert [NUMBER.sub("N", line) for line in found] == [NUMBER.sub("N", line) for line in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            [float(number) for number in NUMBER.findall(one)],
            [float(number) for number in NUMBER.findall(other)],
            rtol=1e-8,
        )


def test_products_add_up(opened, report):
    page = opened(as_html(report))
    canvas = page.map("i", "equations")
    canvas.click(position=page.at(canvas, 2, 0, STEPS, 4))
    rows = page.page.locator("#derivation table").first.locator("tbody tr").all_inner_texts()
    numbers = [[float(cell) for cell in row.split("\t")] for row in rows]
    assert len(numbers) == 3
    for _, w, v, product in numbers:
        assert w * v == pytest.approx(product, rel=1e-7)
    said = float(page.text("#derivation .sum >> nth=0").rpartition(" = ")[2])
    assert sum(row[3] for row in numbers) == pytest.approx(said, rel=1e-6)


def test_by_keyboard_alone(opened, report):
    page = opened(as_html(report))
    page.map("c", "equations").focus()
    page.press("ArrowRight", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowLeft")
    assert (page.page.locator("#exactly").input_value(), page.page.locator("#unit").input_value()) == ("2", "1")
    assert page.text("#said").startswith("c equations, step 2, unit 1: ")
    page.press("Enter")
    assert page.text("#derived") == "c of layer 0, forward, at step 2, unit 1"
    page.press("Escape")
    assert not page.page.locator("#derivation").is_visible()
    assert page.page.evaluate("document.activeElement.className") == "map"
    page.press("End")
    assert page.page.locator("#exactly").input_value() == "6"


def test_the_step_before_is_a_click_away(opened, report):
    page = opened(as_html(report))
    canvas = page.map("c", "equations")
    canvas.click(position=page.at(canvas, 2, 3, STEPS, 4))
    page.page.get_by_role("button", name="c at step 1").click()
    assert page.text("#derived") == "c of layer 0, forward, at step 1, unit 3"


def test_a_step_that_is_not_included_opens_the_command_that_gives_it(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    target = tmp_path / "out.html"
    argv = ["report", "--cell", "gru", "--input", "randn:12", "--hidden-size", "3", "--steps", "0:4", "-o", str(target)]
    assert main(argv) == 0
    page = opened(target.read_text())
    canvas = page.map("n", "equations")
    canvas.click(position=page.at(canvas, 9, 2, 12, 3))
    assert "Step 9 is not included. Run:" in page.text("#derivation")
    assert "4 of 12 steps can be opened" in page.text("#derivation")
    assert "4 of 12 steps can be opened" in page.text("#head")
    command = shlex.split(page.text("#derivation .command"))
    capsys.readouterr()
    assert main([*command[1:], "--format", "json"]) == 0
    point = json.loads(capsys.readouterr().out)["point"]
    assert [point[key] for key in ("layer", "step", "unit", "quantity")] == [0, 9, 2, "n"]
    data = re.search(r'id="data">(.*?)</script>', target.read_text(), re.DOTALL)
    shown, _ = cells_of(map_of(json.loads(data[1]), 0, "n"))
    assert point["manual"] == pytest.approx(float(shown[9, 2]), rel=1e-6)
    page.page.get_by_role("button", name="step 3").click()
    assert page.text("#derived") == "n of layer 0, forward, at step 3, unit 2"


def test_the_first_difference_is_marked_and_reached(opened):
    prepared = prepared_of("layers")
    output = rnnspect.trace(prepared.spec).output.engine[0].clone()
    output[5, 3] += 0.25
    page = opened(as_html(report_prepared(prepared, recorded=Recordings(output))))
    assert page.text(".verdict") == "differ"
    assert page.page.locator(".ring").count() == 4  # equations, recording, difference and ratio of that layer
    assert page.page.locator("#exactly").input_value() == "5"
    page.page.get_by_role("button", name="first difference").click()
    assert page.text("#derived") == "h of layer 1, forward, at step 5, unit 3"
    page.press("Escape")
    ratio = page.map("h", "|difference| / limit", 1)
    ratio.scroll_into_view_if_needed()
    page.page.locator(".beyond").first.wait_for()
    assert "above the limit, up to" in page.text(".beyond >> nth=0")


def test_a_cell_of_a_long_run_is_a_range(opened, monkeypatch):
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    monkeypatch.setattr("rnnspect.reporting.keeping._PICTURES", 0)
    prepared = prepare(rnnspect.Spec(cell="lstm", input_size=3, hidden_size=40, input="randn:600"))
    report = report_prepared(prepared)
    page, data = opened(as_html(report)), json.loads(as_data(report))
    picture = map_of(data, 0, "c")
    steps, units = picture["per_step"], picture["per_unit"]
    assert steps > 1
    assert f"each cell is the range over {steps} steps × {units} unit" in page.page.content()
    cells = -(-600 // steps), -(-40 // units)
    canvas = page.map("c", "equations")
    canvas.hover(position=page.at(canvas, 3, 1, *cells))
    address, _, value = page.text("#tip").rpartition(": ")
    assert f"step {3 * steps}–{4 * steps - 1}" in address
    low, high = (float(part) for part in value.split(" to "))
    of_cell = rnnspect.trace(prepared.spec).layers[0].quantities["c"][0, 3 * steps : 4 * steps, units : 2 * units]
    kept = next(step for step in data["kept"] if step > 300)
    page.page.locator("#exactly").fill(str(kept))
    page.press("Enter")
    assert page.text(".equations caption") == f"at step {kept}, unit 0"
    place = data["kept"].index(kept)
    numbers = page.text(".equations tr:last-child .now").split()
    assert float(numbers[0]) == pytest.approx(Exported(data, 0, kept).quantity("h", 0), rel=1e-5)
    assert float(numbers[2]) == pytest.approx(report.layers[0].kept.gave["h"][place, 0], rel=1e-5)
    page.page.locator("#exactly").fill(str(kept + 1))
    page.press("Enter")
    assert page.text(".equations caption") == f"in the cell that holds step {kept + 1}, unit 0"
    # Six digits are shown, and the free-running equations are off by roundings.
    assert low - 1e-5 <= float(of_cell.min())
    assert float(of_cell.max()) <= high + 1e-5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1600])
def test_it_fits_any_screen(opened, width, scheme):
    page = opened(page_of("layers"), width, scheme)
    for place in range(0, page.page.evaluate("document.documentElement.scrollHeight"), 800):
        page.page.evaluate(f"window.scrollTo(0, {place})")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    canvas = page.map("h", "equations")
    canvas.click(position=page.at(canvas, 1, 1, STEPS, 4))
    assert page.page.locator("#derivation").evaluate("one => one.scrollWidth <= one.clientWidth")
    dark = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", dark))) < 64) == (scheme == "dark")


def test_hostile_names_are_shown_as_text(opened, tmp_path, monkeypatch):
    """The name of an array in a recording, of the file with the spec, and of a file with parameters."""
    monkeypatch.chdir(tmp_path)
    name = EVIL.replace("/", "⁄")
    prepared = prepared_of("lstm")
    (tmp_path / f"{name}.yaml").write_text(
        f"cell: lstm\ninput_size: 3\nhidden_size: 4\nweights: '{name}.npz'\ninput: randn:7\n"
    )
    np.savez(tmp_path / f"{name}.npz", **{key: values.numpy() for key, values in prepared.parameters.items()})
    output = rnnspect.trace(prepared.spec).output.engine[0].numpy().copy()
    output[3] += 1
    np.savez(tmp_path / "given.npz", **{EVIL.replace("/", ""): output})
    argv = ["report", f"{name}.yaml", "--recorded", "given.npz", "-o", "evil.html"]
    assert main(argv) == 0
    page = opened((tmp_path / "evil.html").read_text())
    assert page.page.locator("img").count() == 0
    assert f"{EVIL.replace('/', '')} is read as the output" in page.text("body")
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    argv = ["report", f"{name}.yaml", "--steps", "0", "-o", "evil.html"]
    assert main(argv) == 0
    page = opened((tmp_path / "evil.html").read_text())
    canvas = page.map("c", "equations")
    canvas.click(position=page.at(canvas, 5, 2, STEPS, 4))
    assert name in page.text("#derivation .command")
    assert page.page.locator("img").count() == 0


def test_the_policy_lets_no_other_script_run(opened, report):
    page = opened(as_html(report))
    page.page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'document.title = 1';"
        "document.body.append(one); }"
    )
    assert page.page.title() != "1"
    assert "Content Security Policy" in page.complaints.pop()
