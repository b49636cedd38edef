"""`rnnspect derive`: what it prints is arithmetic that comes out, and what is not there is said."""

from __future__ import annotations

import json
import math
import re

import onnx
import pytest

from tests import onnx_models
from tests.cli.test_bad_input import assert_refused
from tests.readding import FUNCTIONS

NOTEBOOK = """\
RNN(5, 2, batch_first=True)
torch VERSION on cpu, float32
h of layer 0, forward, at step 1, unit 0
  equations: -0.684243
  torch: -0.684243
  difference: SMALL (torch − equations)
  allowed: 2.62e-06 in float32; the difference is SMALL % of it
  x at step 1: the input, ramp:3 (the default)
  h at step 0: as torch returned it
  Σ: the largest products are listed first

h[step 1, 0]
  h' = tanh(W_ih x + b_ih + W_hh h + b_hh)
  = tanh(Σ w·x + b + Σ w·h + b)
  = tanh(-0.837277 + -0.0515543 + -0.0507094 + 0.102491)
  = tanh(-0.83705)
  = -0.684243

  Σ weight_ih_l0[0, k] · x[step 1, k] = -0.837277

   k          w  x    product
   ──────────────────────────
   4  -0.665696  2   -1.33139
   0   0.364346  2   0.728692
   3   0.331894  2   0.663788
   1  -0.312102  2  -0.624203
   2  -0.137081  2  -0.274162

  bias_ih_l0[0] = -0.0515543

  Σ weight_hh_l0[0, k] · h[step 0, k] = -0.0507094

   k          w         h     product
   ──────────────────────────────────
   0   0.196124  -0.35198  -0.0690317
   1  0.0348828  0.525252   0.0183223

  bias_hh_l0[0] = 0.102491

To derive what it is made of:
  h[step 0, k]: --step 0 --unit k
"""


def test_the_notebooks_example(rnnspect):
    """Six digits are the same on any machine; the difference is what its order of sums leaves."""
    result = rnnspect("derive", "--step", 1, "--unit", 0, "--precision", 6)
    out = re.sub(r"^torch \S+ on", "torch VERSION on", result.out, flags=re.MULTILINE)
    out = re.sub(r"^( *difference: |.*difference is )[-+.\de]+", r"\1SMALL", out, flags=re.MULTILINE)
    assert (result.status, out, result.err) == (0, NOTEBOOK, "")


RUNS = {
    "lstm": ["configs/lstm.yaml", "--step", 4, "--unit", 1],
    "gru": ["configs/gru.yaml", "--step", 1, "--unit", 0],
    "relu, layers": ["--nonlinearity", "relu", "--num-layers", 2, "--layer", 1, "--step", -1, "--unit", 0],
    "packed": ["configs/packed.yaml", "--batch-index", 2, "--step", 0, "--unit", 0],
    "reverse": ["configs/bidirectional.yaml", "--direction", "reverse", "--step", 1, "--unit", 0],
    "projected": ["configs/projected.yaml", "--step", 1, "--unit", 0],
    "c": ["configs/projected.yaml", "--step", 1, "--unit", 3, "--quantity", "c"],
    "checkpoint of numbers": ["configs/by-hand.yaml", "--step", 0, "--unit", 0],
}
ANY_ORDER = 64 * 2.0**-53
"""Each line is a few dozen float64 operations on numbers near 1, printed with all their digits."""


def evaluated(line: str) -> float:
    """A printed line of numbers, computed by Python."""
    code = line.replace("·", "*").replace("−", "-").replace("σ(", "sigmoid(")
    assert re.fullmatch(r"[-+*(), .\dA-Za-z_]*", code), code
    return float(eval(code, FUNCTIONS | {"__builtins__": {}}))


def assert_adds_up(lines: list[str]) -> None:
    """Every line of numbers after a quantity's name is its last one, and every list of products is its sum."""
    equations = sums = 0
    chain: list[str] = []
    products: list[float] = []
    stated: float | None = None
    for line in [*lines, ""]:
        line = line.strip().strip("`").strip()
        if line.startswith("= "):
            chain.append(line[2:])
            continue
        if chain:
            final = float(chain[-1])
            for numbers in chain[1:]:
                assert evaluated(numbers) == pytest.approx(final, rel=ANY_ORDER, abs=ANY_ORDER), chain
            equations, chain = equations + 1, []
        cells = line.replace("|", " ").split()
        if line.startswith("Σ "):
            stated = float(line.rpartition(" = ")[2])
        elif stated is not None and len(cells) == 4 and cells[0].isdigit():
            _, w, v, product = map(float, cells)
            assert product == w * v
            products.append(product)
        elif stated is not None and products:
            assert stated == math.fsum(products)
            sums, products, stated = sums + 1, [], None
    assert equations > 0
    assert sums > 0
    assert stated is None


@pytest.mark.parametrize("argv", RUNS.values(), ids=RUNS.keys())
def test_the_text_at_full_precision_adds_up(rnnspect, monkeypatch, argv):
    monkeypatch.setenv("COLUMNS", "400")
    result = rnnspect("derive", *argv, "--precision", 17, "--all")
    assert result.status == 0
    assert_adds_up(result.out.splitlines())


@pytest.mark.parametrize("argv", RUNS.values(), ids=RUNS.keys())
def test_the_markdown_adds_up(rnnspect, argv):
    result = rnnspect("derive", *argv, "--all", "-f", "markdown")
    assert result.status == 0
    assert_adds_up(result.out.splitlines())


@pytest.mark.parametrize("argv", RUNS.values(), ids=RUNS.keys())
def test_all_three_say_the_same(rnnspect, argv):
    document = json.loads(rnnspect("derive", *argv, "-f", "json").out)
    assert (document["format"], document["version"]) == ("rnnspect.derivation", 1)
    value, engine = document["point"]["manual"], document["point"]["engine"]
    markdown = rnnspect("derive", *argv, "-f", "markdown").out
    assert f"- equations: {value!r}\n" in markdown
    assert f"equations: {value:.9g}\n" in rnnspect("derive", *argv).out
    assert engine is None or f"- torch: {engine!r}\n" in markdown


def test_the_largest_products_are_shown_and_the_rest_is_added_up(rnnspect):
    argv = ("derive", "--input-size", 64, "--input", "randn:2", "--step", 0, "--unit", 1)
    document = json.loads(rnnspect(*argv, "-f", "json").out)
    products = [one["value"] for one in document["equations"][0]["operands"][0]["operands"][0]["products"]]
    assert len(products) == 64
    rows = re.findall(r"^ +(…|\d+)  +(\S.*?)  +\S+  +(\S+)$", rnnspect(*argv).out, re.MULTILINE)
    assert [row[2] for row in rows[:8]] == [f"{value:.9g}" for value in products[:8]]
    assert rows[8] == ("…", "56 more", f"{math.fsum(products[8:]):.9g}")
    assert "more" not in rnnspect(*argv, "--all").out


@pytest.mark.parametrize("argv", RUNS.values(), ids=RUNS.keys())
def test_no_line_is_wider_than_the_terminal(rnnspect, argv):
    assert max(map(len, rnnspect("derive", *argv, "--precision", 17).out.splitlines())) <= 80


def test_what_it_says_to_derive_in_turn_can_be(rnnspect, monkeypatch):
    """In place of what was said: what is said twice holds as it was said last."""
    monkeypatch.setenv("COLUMNS", "120")
    argv = ["derive", "configs/bidirectional.yaml", "--num-layers", 2, "--layer", 1, "--direction", "reverse"]
    argv += ["--step", 0, "--unit", 0, "--quantity", "c"]
    said = re.findall(r"^  (.*): (--.*)$", rnnspect(*argv).out, re.MULTILINE)
    assert said == [
        ("c[step 1, 0]", "--step 1 --unit 0"),
        ("x[step 0, k], k < 4", "--layer 0 --direction forward --step 0 --unit k --quantity h"),
        ("x[step 0, k], k ≥ 4", "--layer 0 --step 0 --unit k − 4 --quantity h"),
        ("h[step 1, k]", "--step 1 --unit k --quantity h"),
    ]
    addresses = []
    for _, flags in said:
        again = rnnspect(*argv, *re.sub(r"k( − \d+)?", "0", flags).split(), "-f", "json")
        assert again.status == 0, again.err
        addresses.append(json.loads(again.out)["equations"][0]["address"])
    assert addresses == ["c[step 1, 0]", "h[step 0, 0]", "h[step 0, 0]", "h[step 1, 0]"]


def test_a_gate_has_nothing_of_the_engine_beside_it(rnnspect):
    argv = ("derive", "configs/lstm.yaml", "--step", 1, "--unit", 0, "--quantity", "f")
    assert "torch: returns h and the last c only" in rnnspect(*argv).out
    point = json.loads(rnnspect(*argv, "-f", "json").out)["point"]
    assert (point["engine"], point["bound"], point["ratio"]) == (None, None, None)


def test_another_engine(rnnspect):
    out = rnnspect("derive", "configs/lstm.yaml", "--step", 1, "--unit", 0, "--engine", "torch-cell").out
    assert "h at step 0: as torch-cell returned it" in out
    assert re.search(r"^  torch-cell: ", out, re.MULTILINE)


def test_a_checkpoint(rnnspect, tmp_path):
    import torch

    module = torch.nn.GRU(3, 4, batch_first=True)
    torch.save(module.state_dict(), tmp_path / "gru.pt")
    result = rnnspect("derive", tmp_path / "gru.pt", "--step", 1, "--unit", 2, "-f", "json")
    assert (result.status, result.err) == (0, ""), "x has no batch: nothing hangs on its axes"
    values = re.findall(r'"address": "weight_hh_l0\[2, 3\]", "value": ([-.\de]+)', result.out)
    assert set(map(float, values)) == {float(module.weight_hh_l0.detach()[2, 3])}


def test_a_result_in_a_file(rnnspect, tmp_path):
    path = tmp_path / "h.md"
    result = rnnspect("derive", "--step", 0, "--unit", 0, "-o", path)
    assert (result.status, result.out, result.err) == (0, "", f"wrote {path}\n")
    assert path.read_text().startswith("# h of layer 0, forward, at step 0, unit 0\n")


HERE = ["derive", "--step", "0", "--unit", "0"]
PACKED = ["--batch", "2", "--lengths", "3,2", "--batch-index", "1"]
CASES = {
    "no step": (["derive", "--unit", "0"], ["--step", "rnnspect derive --help"]),
    "no unit": (["derive", "--step", "0"], ["--unit", "rnnspect derive --help"]),
    "step": ([*HERE, "--step", "7"], ["--step: no step 7; expected 0 to 2"]),
    "step before the first": ([*HERE, "--step", "-4"], ["--step: no step -4; expected 0 to 2"]),
    "padding": (
        [*HERE, *PACKED, "--step", "2"],
        ["--step: step 2 is beyond the length 2 of batch item 1; expected 0 to 1"],
    ),
    "unit": ([*HERE, "--unit", "2"], ["--unit: no unit 2; expected 0 to 1"]),
    "unit of a projection": (
        [*HERE, "--cell", "lstm", "--hidden-size", "4", "--proj-size", "2", "--unit", "3"],
        ["--unit: no unit 3; expected 0 to 1"],
    ),
    "layer": ([*HERE, "--layer", "1"], ["--layer: no layer 1; expected 0"]),
    "direction": ([*HERE, "--direction", "reverse"], ["--direction", "'reverse'", "forward"]),
    "item": ([*HERE, "--batch-index", "1"], ["--batch-index: no batch item 1; expected 0"]),
    "quantity": ([*HERE, "--cell", "gru", "--quantity", "c"], ["--quantity: cell gru", "'c'", "r, z, n, h"]),
    "precision": ([*HERE, "--precision", "18"], ["--precision"]),
    "engine": ([*HERE, "--engine", "tourch"], ["--engine", "did you mean 'torch'?"]),
    "arrays": ([*HERE, "-o", "x.npz"], ["--output", ".npz"]),
    "what torch has not": (
        [*HERE, "--cell", "gru", "--reset", "before", "--engine", "torch"],
        ["torch cannot run this"],
    ),
}


@pytest.mark.parametrize(("argv", "expected"), CASES.values(), ids=CASES.keys())
def test_what_is_not_there(rnnspect, argv, expected):
    assert_refused(rnnspect(*argv), expected)


def test_a_node_of_a_model_is_run_by_onnxruntime(rnnspect, tmp_path):
    """Its r acts before the product, which no module of torch does."""
    onnx.save(onnx_models.of_node("GRU"), tmp_path / "gru.onnx")
    argv = ("derive", tmp_path / "gru.onnx", "--input", "randn:4", "--step", 2, "--unit", 1)
    out = rnnspect(*argv).out
    assert "Σ w·(r · h)" in out
    assert re.search(r"^  onnxruntime: ", out, re.MULTILINE)
    assert json.loads(rnnspect(*argv, "-f", "json").out)["point"]["ratio"] < 1
