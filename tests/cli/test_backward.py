"""`rnnspect trace --backward`, as it is typed."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch

from rnnspect import Spec
from rnnspect.tracing.trace import RESULTS

LSTM = ("trace", "--backward", "--cell", "lstm", "--input-size", "2", "--hidden-size", "3", "--dtype", "float64")


def test_a_step_shows_every_gradient_from_the_last_to_the_first(rnnspect) -> None:
    result = rnnspect(*LSTM, "--input", "randn:3")
    assert result.status == 0
    lines = [line.strip() for line in result.out.splitlines()]
    steps = [line.split()[0] for line in lines if "dL/dh " in line and line[0].isdigit()]
    assert steps == ["2", "1", "0"]
    labels = ("dL/dh", "from the output", "from the next step", "dL/dc", "dL/di", "dL/df", "dL/dg", "dL/do", "dL/ds_i")
    for label in (*labels, "dL/ds_o", "dL/dx", "dL/dx (", "difference", "dL/dh0", "dL/dc0"):
        assert label in result.out, label
    assert "weight_hh_l0" in result.out
    assert "L = the sum of the output = " in result.out


def test_the_reverse_direction_goes_from_the_first_step_on(rnnspect) -> None:
    out = rnnspect(*LSTM, "--input", "randn:3", "--reverse").out
    assert "layer 0, reverse: from the first step on" in out
    steps = [line.split()[0] for line in out.splitlines() if "dL/dh " in line and line.strip()[0].isdigit()]
    assert steps == ["0", "1", "2"]
    assert "from the step before" in out


def test_of_two_directions_dx_is_the_sum_and_each_ones_part_is_told(rnnspect, monkeypatch) -> None:
    """Four decimals are shown of each, so that two numbers are apart by one of the last, and a sum of two by 1.5."""
    monkeypatch.setenv("COLUMNS", "120")
    options = ("--cell", "gru", "--input", "randn:2", "--bidirectional", "--num-layers", "2", "--quantities", "x")
    rows: dict[str, list[list[float]]] = {}
    layers = rnnspect("trace", "--backward", *options).out.partition("\nlayer 1, forward")
    for name, numbers in re.findall(r"(dL/dx \(torch\)|dL/dx|of this direction)  +((?:-?[.\d]+ *)+)", layers[0]):
        rows.setdefault(name, []).append([float(one) for one in numbers.split()])
    whole, theirs, parts = rows["dL/dx"], rows["dL/dx (torch)"], rows["of this direction"]
    assert whole[:2] == whole[:1:-1]  # at steps 1, 0 of forward, then 0, 1 of reverse
    for ours, engines in zip(whole, theirs, strict=True):
        assert ours == pytest.approx(engines, abs=1.1e-4)
    for summed, one, other in zip(whole[:2], parts[:2], parts[:1:-1], strict=True):
        assert one != other
        assert one == pytest.approx([a - b for a, b in zip(summed, other, strict=True)], abs=1.6e-4)
    assert layers[2].count("of this direction") == 4
    assert "dL/dx (torch)" not in layers[2]


def test_the_document_is_complete(rnnspect) -> None:
    result = rnnspect(*LSTM, "--input", "randn:3", "--bidirectional", "-f", "json")
    document = json.loads(result.out)
    assert (document["format"], document["version"]) == ("rnnspect.gradients", 1)
    assert list(document) == [
        "format", "version", "spec", "sequence", "engine", "loss", "output", "upstream", "layers", "x", "h0", "c0",
        "parameters", "max_abs_difference", "notes",
    ]  # fmt: skip
    assert set(document["spec"]) == set(Spec.model_fields)
    assert set(document["loss"]) == {"what", "value"}
    assert [(one["layer"], one["direction"]) for one in document["layers"]] == [(0, "forward"), (0, "reverse")]
    layer = document["layers"][0]
    assert set(layer["quantities"]) == {"x", "i", "f", "g", "o", "c", "h", "h_output", "h_next", "c_next"}
    assert list(layer["pre_activations"]) == ["i", "f", "g", "o"]
    assert set(layer["reach"]) == {"norms", "paths", "saturated", "dead", "time_constants", "spectral_radius"}
    assert [path["name"] for path in layer["reach"]["paths"]] == ["c", "h"]
    assert set(layer["reach"]["paths"][0]) == {"name", "ratios", "rate", "blocked"}
    for one in document["parameters"].values():
        assert set(one) == {"manual", "engine", "steps"}
        assert len(one["steps"]) == 3
        assert np.allclose(one["manual"], one["engine"], rtol=1e-11, atol=1e-13)  # float64, some hundred roundings


def test_padding_is_null(rnnspect, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 4, 2)))
    options = ("--input", tmp_path / "x.npy", "--lengths", "4,2", "-f", "json")
    document = json.loads(rnnspect(*LSTM, *options).out)
    layer = document["layers"][0]
    for values in (
        layer["quantities"]["f"],
        document["upstream"],
        document["x"]["manual"],
        layer["reach"]["norms"]["h"],
    ):
        assert [item.count(None) for item in values] == [0, 2]


@pytest.mark.parametrize("loss", ["sum", "mean", "last", "dy.npy", "mse:y.npy"])
def test_each_loss_is_that_of_torch(rnnspect, tmp_path, monkeypatch, loss) -> None:
    monkeypatch.chdir(tmp_path)
    given = np.random.default_rng(0).normal(size=(1, 5, 3))
    np.save("dy.npy", given[0])
    np.save("y.npy", given[0])
    document = json.loads(rnnspect(*LSTM, "--input", "randn:5", "--loss", loss, "-f", "json").out)
    y = torch.tensor(document["output"]["manual"], dtype=torch.float64, requires_grad=True)
    other = torch.from_numpy(given)
    by_hand = {
        "sum": lambda: y.sum(),
        "mean": lambda: y.mean(),
        "last": lambda: y[:, -1].sum(),
        "dy.npy": lambda: (y * other).sum(),
        "mse:y.npy": lambda: ((y - other) ** 2).mean(),
    }
    wanted = by_hand[loss]()
    wanted.backward()
    assert document["loss"]["value"] == pytest.approx(float(wanted.detach()), abs=1e-13)
    assert np.allclose(document["upstream"], y.grad, rtol=0, atol=1e-14)


def test_the_arrays_are_kept(rnnspect, tmp_path) -> None:
    path = tmp_path / "grads.npz"
    result = rnnspect(*LSTM, "--input", "randn:4", "-o", path)
    assert result.status == 0
    arrays = np.load(path)
    assert {"grad.output", "grad.x", "grad.h0", "grad.weight_ih_l0", "l0.forward.grad.i"} <= set(arrays.files)
    assert "l0.forward.grad.i_pre" in arrays.files
    document = json.loads(rnnspect(*LSTM, "--input", "randn:4", "-f", "json").out)
    assert np.array_equal(arrays["l0.forward.grad.f"], document["layers"][0]["quantities"]["f"])
    assert np.array_equal(arrays["grad.weight_hh_l0"], document["parameters"]["weight_hh_l0"]["engine"])


@pytest.mark.each_value_once
@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize(
    "options",
    [
        ("--cell", "lstm", "--input-size", "64", "--hidden-size", "128", "--input", "randn:200"),
        ("--num-layers", "40", "--bidirectional", "--input", "randn:13"),
        ("--hidden-size", "17", "--input", "randn:1"),
        ("--cell", "gru", "--input", "randn:30", "--batch", "3", "--num-layers", "4", "--loss", "last"),
        ("--hidden-size", "20", "--input", "[[NaN, 1, 1, 1, 1]]"),
        ("--cell", "lstm", "--hidden-size", "20", "--proj-size", "3", "--input", "randn:100", "--loss", "last"),
    ],
    ids=lambda options: options[1],
)
def test_a_large_one_fits_a_terminal(rnnspect, monkeypatch, options, columns) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = rnnspect("trace", "--backward", *options, "-q")
    assert result.status == 0
    lines = result.out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= columns
    is_last = "last" in options or options[-1] in ("randn:1", "[[NaN, 1, 1, 1, 1]]")
    assert lines[-1].startswith("add --steps " if is_last else "add --loss last (how far one step reaches), --steps ")


def test_a_summary_says_what_it_leaves_out_and_what_is_alike(rnnspect, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = rnnspect("trace", "--backward", "--num-layers", "4", "--bidirectional", "--input", "randn:300").out
    shown = [line for line in out.splitlines() if line.startswith(("weight_", "bias_"))]
    assert f"\n{32 - len(shown)} smaller ones" in out  # of 4 parameters in 8 places
    assert any(line.partition("no step adds 1 %; step ")[2].endswith(" adds most") for line in shown)


def test_numbers_end_with_what_derives_one_of_them(rnnspect, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = rnnspect("trace", "--backward", "--cell", "gru", "--input", "randn:3", "--reverse").out
    last = " ".join(out.rstrip().splitlines()[-2:])
    typed = "rnnspect derive --cell gru --input randn:3 --reverse"
    assert last.endswith(f"{typed} --gradient 'weight_hh_l0_reverse[0,0]' shows its arithmetic")


def test_steps_and_quantities_are_chosen(rnnspect) -> None:
    out = rnnspect(*LSTM, "--input", "randn:20", "--steps", "3", "--quantities", "f,h").out
    assert "steps 4–19 hidden" in out
    assert "dL/ds_f" in out
    assert not {"dL/di", "dL/dc", "dL/dx"} & set(out.split())
    assert rnnspect(*LSTM, "--input", "randn:20", "--steps", "20").status == 2


def test_a_cell_without_weight_hh_has_no_path_through_it(rnnspect) -> None:
    out = rnnspect("trace", "--backward", "--cell", "examples/cells/mingru.py:mingru", "--input", "randn:5").out
    assert re.search(r"×\d.\d\d a step through \(1 − z\) ⊙ h", out)
    assert "W_hh" not in out
    zeros = ("--activations", "affine(0,0)", "--input", "randn:5")
    assert "zero through h" in rnnspect("trace", "--backward", *zeros, "--quantities", "h").out


def test_a_step_beyond_an_items_end_is_called_padding(rnnspect) -> None:
    argv = ("configs/packed.yaml", "--batch-index", "1", "--quantities", "h", "--steps")
    out = rnnspect("trace", "--backward", *argv, "-1").out
    forward, _, reverse = out.partition("layer 0, reverse")
    assert re.search(r"from step 3: padding\n\n +… +steps 0–2 hidden", forward)
    assert re.search(r"steps 0–2 hidden\n\n +… +from step 3: padding", reverse)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--loss", "summ"), "--loss: there is no loss or file 'summ'; expected sum, mean, last"),
        (("--loss", "missing.npy"), "missing.npy: no such file"),
        (
            ("--loss", "[[1, 2]]"),
            "--loss: dL/d output has the shape (1, 2); expected that of the output, (step, unit) = (3, 3)",
        ),
        (("--loss", "mse:[[1, 2]]"), "--loss: the target has the shape (1, 2)"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(rnnspect, options, said) -> None:
    result = rnnspect(*LSTM, "--input", "randn:3", *options)
    assert result.status == 2
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_loss_without_backward_is_refused(rnnspect) -> None:
    result = rnnspect("trace", "--loss", "sum")
    assert result.status == 2
    assert "--loss: a loss is for gradients; add --backward" in result.err


def test_damaged_bytes_name_the_file(rnnspect, tmp_path) -> None:
    path, good = tmp_path / "dy.npy", tmp_path / "good.npy"
    np.save(good, np.ones((3, 3)))
    data = good.read_bytes()
    for cut in (0, 5, 20, 90, len(data) - 1):
        path.write_bytes(data[:cut])
        result = rnnspect(*LSTM, "--input", "randn:3", "--loss", path)
        assert result.status == 2
        assert "dy.npy" in result.err


def test_a_network_that_no_engine_has_has_its_gradients(rnnspect) -> None:
    out = rnnspect("trace", "--backward", "--cell", "lstm", "--clip", "3", "--input", "randn:3").out
    assert "dL/ds_i" in out
    assert "only the equations' are shown" in " ".join(out.split())


def test_what_is_too_large_is_refused_before_memory_is_taken(rnnspect) -> None:
    result = rnnspect(*LSTM, "--input", "randn:900000000000")
    assert result.status == 2
    assert "of memory, and " in result.err


def test_nothing_of_a_trace_has_changed(rnnspect) -> None:
    document: dict[str, Any] = json.loads(rnnspect("trace", "-f", "json").out)
    assert document["format"] == "rnnspect.trace"
    assert set(RESULTS) <= set(document)


def test_own_code_has_to_run_all_steps_in_one_call(rnnspect, tmp_path) -> None:
    """What takes little in pieces is refused, before the code runs."""
    (tmp_path / "mine.py").write_text("def forward(x, h0, weights):\n    raise SystemExit(9)\n")
    engine = f"{tmp_path / 'mine.py'}:forward"
    result = rnnspect("check", "--backward", "--cell", "gru", "--input", "randn:30000000", "--engine", engine)
    assert result.status == 2
    assert "would need" in result.err
