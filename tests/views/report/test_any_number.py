"""Any number opens: each click on a heat map of a run that fits into the file shows how it was computed."""

from __future__ import annotations

import re

import numpy as np
import pytest

import rnnspect
from rnnspect.reporting.building import report_prepared
from rnnspect.tracing.prepare import prepare
from rnnspect.views.report import as_html

STEPS, UNITS, LAYERS = 200, 128, 2
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TITLE = re.compile(r"(\w+) of layer (\d), forward, at step (\d+), unit (\d+)")


@pytest.fixture(scope="module")
def large():
    spec = rnnspect.Spec(cell="lstm", input_size=64, hidden_size=UNITS, num_layers=LAYERS, input=f"randn:{STEPS}")
    return report_prepared(prepare(spec), command="--cell lstm")


def numbers_in(text):
    return [float(number) for number in NUMBER.findall(text)]


def near(found, parts):
    """Each number is shown to nine digits."""
    return abs(found - sum(parts)) <= 1e-8 * (sum(map(abs, parts)) + abs(found))


def test_fifty_numbers_open_and_add_up(opened, large):
    page = opened(as_html(large))
    assert len(as_html(large)) < 8e6
    random = np.random.default_rng(0)
    layer_maps = [[name for name in layer.maps if name != ("x", "equations") or layer.layer] for layer in large.layers]
    seen = {"equations": "equations,", "engine": "torch,", "difference": "torch − equations", "ratio": "|difference|"}
    for _ in range(50):
        layer = int(random.integers(LAYERS))
        quantity, shown = layer_maps[layer][random.integers(len(layer_maps[layer]))]
        units = 4 * UNITS if quantity == "input_projection" else UNITS
        step, unit = int(random.integers(STEPS)), int(random.integers(units))
        canvas = page.map(quantity, seen[shown], layer)
        canvas.click(position=page.at(canvas, step, unit, STEPS, units))
        name, found_layer, found_step, found_unit = TITLE.match(page.text("#derived")).groups()
        gate = "ifgo"[unit // UNITS] if quantity == "input_projection" else quantity
        assert (name, int(found_layer)) == (("h", layer - 1) if quantity == "x" else (gate, layer))
        assert abs(int(found_step) - step) <= 1  # a dot of the screen is as wide as a cell
        assert abs(int(found_unit) - unit % UNITS) <= 4 or quantity == "input_projection"
        assert_adds_up(page)
        page.press("Escape")


def assert_adds_up(page):
    """The products are those of their factors and add up to the sum, and the sums, added, to what goes into σ."""
    sums = page.page.locator("#derivation .sum").all_inner_texts()
    tables = page.page.locator("#derivation table").all()
    products = [line for line in sums if "Σ" in line]
    assert len(products) == len(tables)
    assert products
    for line, table in zip(products, tables, strict=True):
        rows = [row.split("\t") for row in table.locator("tbody tr").all_inner_texts()]
        for k, w, v, product in rows:
            assert k == "…" or near(float(product), [float(w) * float(v)])
        assert near(float(line.rpartition(" = ")[2]), [float(row[3]) for row in rows])
    for block in page.page.locator("#derivation .lines").all_inner_texts():
        _, numbered, added, *_ = (line for line in block.splitlines() if line.strip())
        if " + " in numbered and "·" not in numbered:
            assert near(numbers_in(added)[0], numbers_in(numbered))
