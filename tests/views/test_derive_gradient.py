"""`rnnspect derive --gradient`, as it is typed: what it prints adds up, and what is not there is said."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from tests.cli.test_bad_input import assert_refused
from tests.cli.test_derive import ANY_ORDER, evaluated
from tests.marks import sampled

NOTEBOOK = """\
dL/ds[step 1, 0] of layer 0, forward
  equations: 0.583021
  L = the sum of the output = 0.289493
  x: the input, ramp:3 (the default)

dL/ds[step 1, 0]
  = dL/dh[step 1, 0] · (1 − h[step 1, 0] · h[step 1, 0])
  = 1.09629 · (1 − (-0.684243 · -0.684243))
  = 1.09629 · (1 − 0.468189)
  = 1.09629 · 0.531811
  = 0.583021

dL/dh[step 1, 0]
  = dL/doutput[step 1, 0] + Σ w·dL/ds
  = 1 + 0.0962938
  = 1.09629

  Σ weight_hh_l0[k, 0] · dL/ds[step 2, k] = 0.0962938

   k         w     dL/ds    product
   ────────────────────────────────
   0  0.196124  0.251876  0.0493989
   1  0.258255  0.181584   0.046895

To derive what it is made of:
  dL/ds[step 2, k]: --gradient "s[k]" --step 2
  a value, such as h[step 1, 0]: --quantity h --step 1 --unit 0, without
  --gradient and --loss
"""

RUNS = {
    "parameter": ["configs/lstm.yaml", "--gradient", "weight_hh_l0[3,1]"],
    "bias": ["configs/gru.yaml", "--gradient", "bias_hh_l0[5]"],
    "packed": ["configs/packed.yaml", "--gradient", "weight_ih_l0[0,1]"],
    "peephole": ["--cell", "lstm", "--peepholes", "--gradient", "weight_ch_l0[2]", "--engine", "torch"],
    "gate": ["configs/lstm.yaml", "--gradient", "i[1]", "--step", 2],
    "pre-activation": ["configs/gru.yaml", "--gradient", "s_r[1]", "--step", 1],
    "relu": ["--nonlinearity", "relu", "--num-layers", 2, "--gradient", "s[0]", "--step", 0],
    "projected": ["configs/projected.yaml", "--gradient", "c[1]", "--step", 0],
    "reverse": ["configs/bidirectional.yaml", "--direction", "reverse", "--gradient", "h[0]", "--step", 1],
    "input": ["configs/bidirectional.yaml", "--gradient", "x[0]", "--step", -1],
    "initial": ["configs/lstm.yaml", "--gradient", "c0[1]"],
    "mean": ["configs/lstm.yaml", "--gradient", "h0[1]", "--loss", "mean"],
}
VALUES = {
    "sigmoid": lambda s: 1 / (1 + math.exp(-s)),
    "within": lambda s, m: float(abs(s) <= m),
    "relu_slope": lambda s: float(s > 0),
}


def adding_up(lines: list[str]) -> int:
    """How many lines of numbers there are; each of them is the last one of its equation, or the sum of its products."""
    count, chain = 0, [""]
    products: list[float] = []
    stated = math.nan
    for line in [*(one.strip().strip("`").strip() for one in lines), ""]:
        if line.startswith("= "):
            chain.append(line[2:])
            continue
        for numbers in chain[2:]:
            code = numbers.replace("relu'", "relu_slope")
            value = evaluated(code) if "relu_slope" not in code and "within" not in code else sloped(code)
            assert value == pytest.approx(float(chain[-1]), rel=ANY_ORDER, abs=ANY_ORDER), chain
            count += 1
        stated = float(chain[-1]) if len(chain) > 1 else stated
        chain = [""]
        if line.startswith("Σ "):
            stated = float(line.rpartition(" = ")[2])
        cells = line.replace("|", " ").split()
        numeric = [cell for cell in cells if re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell)]
        if len(numeric) == len(cells) >= 2:
            left, right, product = (
                map(float, cells[-3:]) if len(cells) > 3 else (float(cells[-1]), 1.0, float(cells[-1]))
            )
            assert product == left * right
            products.append(product)
        elif products:
            assert stated == math.fsum(products)
            products = []
            count += 1
    return count


def sloped(code: str) -> float:
    return float(eval(code.replace("·", "*").replace("−", "-"), VALUES | {"__builtins__": {}}))


@pytest.mark.each_value_once
@pytest.mark.parametrize("form", ["table", "markdown"])
@pytest.mark.parametrize("argv", RUNS.values(), ids=RUNS.keys())
def test_what_is_printed_adds_up(rnnspect, monkeypatch, argv, form):
    monkeypatch.setenv("COLUMNS", "600")
    result = rnnspect("derive", *argv, "--precision", 17, "--all", "-f", form)
    assert result.status == 0, result.err
    assert adding_up(result.out.splitlines()) > 0


@pytest.mark.parametrize("argv", RUNS.values(), ids=RUNS.keys())
def test_no_line_is_wider_than_the_terminal(rnnspect, argv):
    out = rnnspect("derive", *argv).out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "\n\n\n" not in out


@pytest.mark.parametrize("argv", sampled(RUNS.values(), 2), ids=RUNS.keys())
def test_every_format_says_the_same(rnnspect, argv):
    document = json.loads(rnnspect("derive", *argv, "-f", "json").out)
    assert (document["format"], document["version"]) == ("rnnspect.gradient", 1)
    value = document["point"]["manual"]
    assert f"- equations: {value!r}\n" in rnnspect("derive", *argv, "-f", "markdown").out
    assert f"equations: {value + 0.0:.9g}\n" in rnnspect("derive", *argv).out


def test_the_notebooks_example(rnnspect):
    """Six digits are the same on any machine."""
    out = rnnspect("derive", "--gradient", "s[0]", "--step", 1, "--precision", 6).out
    shown = out[out.index("dL/ds[step 1, 0] of layer 0, forward") :]
    beside = ("  torch: ", "  autograd: ")
    assert [line for line in shown.splitlines() if not line.startswith(beside)] == NOTEBOOK.splitlines()


def test_torchs_number_stands_beside(rnnspect):
    """In float64: some ten steps of some tens of roundings, relative to gradients near 1."""
    for name in ("weight_hh_l0[3,1]", "x[1]", "h0[0]", "c0[0]"):
        step = ["--step", 1] if name == "x[1]" else []
        argv = ["derive", "configs/lstm.yaml", "--dtype", "float64", "--gradient", name, *step]
        point = json.loads(rnnspect(*argv, "-f", "json").out)["point"]
        assert point["engine"] == pytest.approx(point["manual"], rel=1e-12, abs=1e-13), name
        out = rnnspect(*argv).out
        assert re.search(r"^  torch: -?[\d.]", out, re.MULTILINE) or re.search(r"^  autograd: ", out, re.MULTILINE)
        assert "− equations)" in out
    argv = ["derive", "configs/lstm.yaml", "--gradient", "f[0]", "--step", 1]
    assert "gives dL/d of the input x, the initial states and the parameters only" in rnnspect(*argv).out


def test_an_engine_without_gradients(rnnspect):
    argv = ("derive", "--cell", "gru", "--gradient", "s_z[1]", "--step", 1, "--reset", "before", "--engine", "torch")
    result = rnnspect(*argv)
    assert result.status == 0
    assert "only the equations' gradient is shown: " in result.out
    document = json.loads(rnnspect(*argv, "-f", "json").out)
    assert (document["engine"], document["point"]["engine"], document["difference"]) == (None, None, None)


def test_what_it_says_to_derive_in_turn_can_be(rnnspect):
    """From a parameter down to a lower layer, each number being the one in the line before."""
    spec = ["derive", "--cell", "lstm", "--num-layers", 2, "--bidirectional", "--dtype", "float64"]
    flags = ["--gradient", "weight_hh_l0_reverse[3,1]"]
    seen = []
    while flags:
        result = rnnspect(*spec, *flags)
        assert result.status == 0, result.err
        seen.append(next(line for line in result.out.splitlines() if line.startswith("dL/d")))
        said = re.search(r"^  dL/d.*: (--gradient .*\n(?:  -.*\n|  \w+\n)?)", result.out, re.MULTILINE)
        flags = [] if said is None else said[1].replace('"', "").replace("[k]", "[0]").split()
    assert seen[:3] == [
        "dL/dweight_hh_l0_reverse[3, 1]",
        "dL/ds_f[step 0, 1] of layer 0, reverse",
        "dL/dx[step 0, 3] of layer 1",
    ]
    assert seen[-1].endswith("of layer 1, forward")


def test_the_sums_of_both_directions_are_told_apart(rnnspect):
    out = rnnspect("derive", "--bidirectional", "--gradient", "x[1]", "--step", "1").out
    assert "  = Σ w·dL/ds[forward] + Σ w·dL/ds[reverse]\n" in out
    assert "Σ weight_ih_l0_reverse[k, 1] · dL/ds[reverse, step 1, k]" in out


def test_the_value_that_it_says_to_derive_is_at_the_same_place(rnnspect):
    spec = ["derive", "--cell", "gru", "--num-layers", 2, "--bidirectional", "--batch", 2, "--input", "randn:3"]
    place = ["--step", 1, "--layer", 1, "--direction", "reverse", "--batch-index", 1]
    out = rnnspect(*spec, "--gradient", "s_z[1]", *place, "--loss", "last").out
    assert "To derive what it is made of, with the same loss:" in out
    said = re.search(r"a value, such as r\[step 1, 1\]: (--quantity .*?), without", " ".join(out.split()))
    assert said is not None
    value = rnnspect(*spec, *said[1].split())
    assert value.out == rnnspect(*spec, "--quantity", "r", "--unit", 1, *place).out
    assert "To derive what it is made of:" in rnnspect(*spec, "--gradient", "s_z[1]", *place).out


def test_the_largest_are_shown_and_the_rest_is_added_up(rnnspect):
    argv = ("derive", "--input", "randn:64", "--gradient", "weight_hh_l0[1,0]")
    document = json.loads(rnnspect(*argv, "-f", "json").out)
    [terms] = document["terms"]
    rest = math.fsum(one["value"] for one in terms["products"][8:])
    assert re.search(rf"^ +… +56 more +together +{re.escape(f'{rest:.9g}')}$", rnnspect(*argv).out, re.MULTILINE)
    assert "more" not in rnnspect(*argv, "--all").out


def test_a_loss_in_a_file(rnnspect, tmp_path):
    """dL/d output is 1 at one place: dL/dh there is 1 at the last step."""
    given = np.zeros((3, 2), dtype=np.float32)
    given[2, 1] = 1
    np.save(tmp_path / "g.npy", given)
    argv = ["derive", "--gradient", "h[1]", "--step", -1, "--loss", tmp_path / "g.npy", "-f", "json"]
    document = json.loads(rnnspect(*argv).out)
    assert document["point"]["manual"] == 1
    assert "g.npy" in document["loss"]["said"]


def test_a_live_model(rnnspect, tmp_path):
    (tmp_path / "model.py").write_text("import torch\n\n\ndef build():\n    return torch.nn.GRU(3, 4)\n")
    argv = ["derive", f"{tmp_path / 'model.py'}:build", "--gradient", "weight_hh_l0[9,2]"]
    result = rnnspect(*argv)
    assert result.status == 0, result.err
    assert "row 9: gate n, unit 1" in result.out


def test_numbers_that_are_not_finite_are_shown(rnnspect):
    argv = ("derive", "--input", "[[NaN, 1, 1, 1, 1], [1, 1, 1, 1, 1]]", "--gradient", "weight_ih_l0[0,0]")
    result = rnnspect(*argv)
    assert result.status == 0, result.err
    assert "equations: NaN" in result.out
    assert json.loads(rnnspect(*argv, "-f", "json").out)["point"]["manual"] == "NaN"


PARTS = {
    "weight": ["--gradient", "weight_hh_l0[3,1]"],
    "bias": ["--gradient", "bias_ih_l0[3]"],
    "reverse": ["--bidirectional", "--gradient", "weight_ih_l0_reverse[3,1]"],
    "batch": ["--batch", "2", "--lengths", "3,2", "--gradient", "weight_hh_l0[3,1]"],
    "two sums": ["--cell", "gru", "--reset", "before", "--gradient", "weight_hh_l0[3,1]"],
}


@pytest.mark.parametrize("options", PARTS.values(), ids=PARTS.keys())
def test_what_each_step_adds_to_a_parameters_gradient_makes_all_of_it(rnnspect, options) -> None:
    """In float64, of three products: each sum rounds by 2⁻⁵³ of its largest number at most, a few times."""
    argv = ["derive", "--cell", "lstm", "--input", "randn:3", *options, "-f", "json"]
    whole = json.loads(rnnspect(*argv).out)["point"]
    parts = [json.loads(rnnspect(*argv, "--step", str(step)).out)["point"] for step in range(3)]
    each = [one["manual"] for one in parts]
    assert [one["step"] for one in parts] == [0, 1, 2]
    assert {one["manual_of_all_steps"] for one in parts} == {whole["manual"]}
    assert math.fsum(each) == pytest.approx(whole["manual"], rel=0, abs=16 * 2**-53 * max(map(abs, each)))
    assert len(set(each)) > 1


def test_what_a_step_adds_is_written_with_the_numbers_of_that_step(rnnspect) -> None:
    out = rnnspect("derive", "--cell", "lstm", "--gradient", "weight_hh_l0[3,1]", "--step", "-1").out
    assert "What step 2 adds to dL/dweight_hh_l0[3, 1]\n" in out
    assert "= dL/ds_f[step 2, 1] · h[step 1, 1]\n" in out
    assert "what all steps add" in out
    first = rnnspect("derive", "--cell", "lstm", "--gradient", "weight_hh_l0[3,1]", "--step", "0").out
    assert "= dL/ds_f[step 0, 1] · h0[0, 1]\n" in first
    assert '--gradient "s_f[1]" --step 0' in first


@pytest.mark.parametrize(
    ("options", "step", "run"),
    [
        (["--nonlinearity", "relu"], "relu' is 0 at 0", "relu' is 0 at 0"),
        (["--clip", "0.3"], "within(s, m) is 1 up to |s| = m, else 0", "has a gradient up to the limit itself"),
        (["--activations", "leaky_relu"], "leaky_relu' is α at 0", "leaky_relu' is α at 0"),
    ],
)
def test_the_convention_at_a_kink_is_said(rnnspect, options, step, run) -> None:
    assert step in " ".join(rnnspect("derive", *options, "--gradient", "s[0]", "--step", "1").out.split())
    assert run in " ".join(rnnspect("trace", "--backward", *options).out.split())
    assert "at 0" not in rnnspect("derive", "--gradient", "s[0]", "--step", "1").out


LSTM = ["derive", "--cell", "lstm"]
CASES = {
    "no name": ([*LSTM, "--gradient", "7"], ["--gradient: cannot read '7'", "weight_hh_l0[3,1]"]),
    "no index": ([*LSTM, "--gradient", "weight_hh_l0"], ["cannot read 'weight_hh_l0'"]),
    "an index in words": ([*LSTM, "--gradient", "i[one]"], ["cannot read 'i[one]'"]),
    "a long index": ([*LSTM, "--gradient", f"i[{'9' * 5000}]"], ["--gradient: cannot read 'i[999"]),
    "name": ([*LSTM, "--gradient", "weight_hl_l0[1,1]"], ["no 'weight_hl_l0'", "did you mean 'weight_"]),
    "head": ([*LSTM, "--head", "2", "--gradient", "head.weight[0,0]"], ["--gradient: cannot read"]),
    "too few": ([*LSTM, "--gradient", "weight_hh_l0[1]"], ["1 index for weight_hh_l0", "weight_hh_l0[row, column]"]),
    "too many": ([*LSTM, "--gradient", "i[1,2]", "--step", "1"], ["2 indices for i", "expected i[unit]"]),
    "row": ([*LSTM, "--gradient", "weight_hh_l0[8,0]"], ["weight_hh_l0 has no row 8; expected 0 to 7"]),
    "column": ([*LSTM, "--gradient", "weight_hh_l0[7,-3]"], ["weight_hh_l0 has no column -3; expected 0 to 1"]),
    "unit": ([*LSTM, "--gradient", "x[5]", "--step", "0"], ["x has no unit 5; expected 0 to 4"]),
    "no step": ([*LSTM, "--gradient", "i[1]"], ["--step: the step of dL/di is missing; expected 0 to 2"]),
    "step": ([*LSTM, "--gradient", "i[1]", "--step", "3"], ["--step: no step 3; expected 0 to 2"]),
    "padding": (
        [*LSTM, "--batch", "2", "--lengths", "3,2", "--batch-index", "1", "--gradient", "i[1]", "--step", "2"],
        ["--step: step 2 is beyond the length 2 of batch item 1"],
    ),
    "layer": ([*LSTM, "--gradient", "i[1]", "--step", "0", "--layer", "1"], ["--layer: no layer 1; expected 0"]),
    "a step of h0": ([*LSTM, "--gradient", "h0[1]", "--step", "1"], ["--step: h0 has no step", "h[1] has one"]),
    "step of a weight": ([*LSTM, "--gradient", "weight_hh_l0[3,1]", "--step", "3"], ["--step: no step 3"]),
    "layer of a weight": (
        [*LSTM, "--num-layers", "2", "--gradient", "weight_hh_l0[3,1]", "--layer", "1"],
        ["--layer: weight_hh_l0 is a parameter of layer 0"],
    ),
    "direction of a weight": (
        [*LSTM, "--bidirectional", "--gradient", "weight_hh_l0[3,1]", "--direction", "reverse"],
        ["--direction: weight_hh_l0 is a parameter of the forward direction"],
    ),
    "item of a weight": (
        [*LSTM, "--batch", "2", "--gradient", "weight_hh_l0[3,1]", "--batch-index", "1"],
        ["--batch-index: the gradient of weight_hh_l0 is a sum over all items"],
    ),
    "direction": ([*LSTM, "--gradient", "i[1]", "--step", "0", "--direction", "reverse"], ["--direction", "forward"]),
    "item": ([*LSTM, "--gradient", "h0[1]", "--batch-index", "1"], ["--batch-index: no batch item 1; expected 0"]),
    "unit beside it": ([*LSTM, "--gradient", "i[1]", "--step", "0", "--unit", "1"], ["--unit: has no effect"]),
    "quantity": ([*LSTM, "--gradient", "i[1]", "--step", "0", "--quantity", "c"], ["--quantity: has no effect"]),
    "a loss alone": ([*LSTM, "--step", "0", "--unit", "0", "--loss", "sum"], ["--loss", "add --gradient"]),
    "loss": ([*LSTM, "--gradient", "h0[1]", "--loss", "maen"], ["--loss", "did you mean 'mean'?"]),
}


@pytest.mark.parametrize(("argv", "expected"), CASES.values(), ids=CASES.keys())
def test_what_is_not_there(rnnspect, argv, expected):
    assert_refused(rnnspect(*argv), expected)
