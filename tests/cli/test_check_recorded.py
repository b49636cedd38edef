"""`check --recorded FILE`: what a file may hold, which array of it is meant, and where something is wrong with it."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("no_causes")


@pytest.fixture
def case(tmp_path):
    """A batch of one through two layers: the folder, what the module returned, and its x."""
    torch.manual_seed(3)
    module = nn.LSTM(5, 6, 2)
    x = torch.randn(30, 1, 5)
    with torch.no_grad():
        output, (h_n, c_n) = module(x)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    np.save(tmp_path / "x.npy", x.numpy())
    return tmp_path, (output, (h_n, c_n))


@pytest.fixture
def check(rnnspect, case):
    """Of that run: exit status and document; without one the message."""
    folder, _ = case

    def run(recorded: object) -> tuple[int, Any]:
        argv = ("--input", folder / "x.npy", "--no-batch-first", "--recorded", recorded, "--format", "json", "-q")
        result = rnnspect("check", folder / "model.pt", *argv)
        return result.status, json.loads(result.out) if result.out else result.err

    return run


def spoilt(output):
    output = output.clone()
    output[17, 0, 3] += 0.01
    return output


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_what_a_module_returned(check, case, suffix):
    folder, (output, (h_n, c_n)) = case
    path = folder / f"returned{suffix}"
    for returned, seen in (((output, h_n), {"h", "h_n"}), ((output, (h_n, c_n)), {"h", "h_n", "c_n"})):
        torch.save(returned, path)
        status, document = check(path)
        assert (status, document["verdict"]) == (0, "agree")
        assert {line.split()[-1] for line in document["observed"]} == seen
    torch.save((output, (h_n, c_n + 1)), path)
    status, document = check(path)
    assert (status, document["first"]["quantity"]) == (1, "c_n")
    torch.save((spoilt(output), h_n), path)
    assert check(path)[0] == 1


def test_other_tuples_are_refused(check, case):
    folder, (output, (h_n, _)) = case
    torch.save((output, h_n, h_n), folder / "returned.pt")
    status, error = check(folder / "returned.pt")
    assert status == 2
    assert f"--recorded {folder}/returned.pt: the file holds a tuple" in error


@pytest.mark.parametrize("name", ["arr_0", "y"])
def test_a_sole_array_is_the_output_and_a_note_says_so(check, case, name):
    folder, (output, _) = case
    np.savez(folder / "y.npz", **{name: output.numpy()})
    status, document = check(folder / "y.npz")
    assert (status, document["notes"]) == (0, [f"{name} is read as the output"])
    np.savez(folder / "y.npz", **{name: spoilt(output).numpy()})
    assert check(folder / "y.npz")[0] == 1


def test_the_note_is_in_the_report(rnnspect, case):
    folder, (output, _) = case
    np.savez(folder / "y.npz", y=np.round(output.numpy(), 4))
    argv = (
        "check",
        folder / "model.pt",
        "--input",
        folder / "x.npy",
        "--no-batch-first",
        "--recorded",
        folder / "y.npz",
    )
    out = rnnspect(*argv).out
    assert "y is read as the output" in out
    assert "y appears rounded to 4 decimals" in out


def test_how_a_recording_was_rounded_may_be_said(rnnspect, case):
    folder, (output, _) = case
    np.save(folder / "y.npy", np.round(output.numpy(), 4))
    argv = ("check", folder / "model.pt", "--input", folder / "x.npy", "--no-batch-first")
    recorded = (*argv, "--recorded", folder / "y.npy", "--explain", "0")
    assert "output appears rounded to 4 decimals" in rnnspect(*recorded, "--recorded-as", "%.4f").out
    assert rnnspect(*recorded, "--recorded-as", "exact").status == 1
    refused = rnnspect(*recorded, "--recorded-as", "digits5")
    assert refused.status == 2
    assert "--recorded-as: no way of rounding is called 'digits5'; did you mean 'digits:5'?" in refused.err
    assert "is not rounded to 2 decimals" in rnnspect(*recorded, "--recorded-as", "decimals:2").err
    alone = rnnspect(*argv, "--recorded-as", "float16")
    assert alone.status == 2
    assert "--recorded-as: needs --recorded FILE" in alone.err


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".npy"])
def test_rows_without_a_batch_axis(check, case, suffix):
    folder, (output, _) = case
    for values, expected in ((output, 0), (spoilt(output), 1)):
        if suffix == ".npy":
            np.save(folder / "y.npy", values[:, 0].numpy())
        else:
            np.savetxt(folder / f"y{suffix}", values[:, 0].numpy(), "%.9g", "," if suffix == ".csv" else "\t")
        assert check(folder / f"y{suffix}")[0] == expected


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_one_array_of_several_is_chosen(check, case, suffix):
    folder, (output, _) = case
    path = folder / f"runs{suffix}"
    runs = {"right": output, "wrong": spoilt(output), "output": output, "h_n": torch.ones(1)}
    if suffix == ".npz":
        np.savez(path, **{name: values.numpy() for name, values in runs.items()})
    elif suffix == ".pt":
        torch.save(runs, path)
    else:
        from safetensors.torch import save_file

        save_file({name: values.clone() for name, values in runs.items()}, path)
    assert check(f"{path}:right")[0] == 0
    assert check(f"{path}:wrong")[0] == 1
    status, document = check(f"{path}:output")
    assert (status, document["notes"]) == (0, [])
    status, error = check(f"{path}:rihgt")
    assert status == 2
    assert f"--recorded {path}: no array named 'rihgt'" in error
    assert "did you mean 'right'?" in error
    assert check(path)[1].startswith(f"error: --recorded {path}:right: unknown array 'right' in the recording")


def wrong_files(folder, output):
    np.savez(folder / "mine.npz", output=output.numpy()[:, :, :4], h_n=np.ones((2, 1, 6)))
    np.save(folder / "mine.npy", output.numpy()[:20])
    np.save(folder / "late.npy", output.numpy()[-3:])
    np.savez(folder / "other.npz", output=output.numpy(), x=np.ones((1, 30, 5)))
    (folder / "mine.csv").write_text("1,2\n3,four\n")
    (folder / "mine.txt").write_text("1")
    return {
        "mine.npz": "mine.npz:output: output has the shape (30, 1, 4); expected (step, batch, unit) = (30, 1, 6)",
        "mine.npz:h_n": "",
        "mine.npy": "mine.npy: output has 20 steps, the input has 30; expected (step, batch, unit) = (30, 1, 6)",
        "late.npy": "late.npy: output has 3 steps, the input has 30; expected (step, batch, unit) = (30, 1, 6); "
        "pass only the x of these 3 steps; if they are not the first, also the state before as h0 and c0; steps",
        "other.npz": "other.npz:x: the recording's x is not this run's: it has 1 at step 0, batch item 0, unit 0",
        "mine.csv": "mine.csv:2:3: four is not a number",
        "mine.txt": "mine.txt: cannot read arrays from files that end in '.txt'",
        "none.npy": "none.npy: no such file",
        "none.npz:output": "none.npz: no such file",
    }


def test_errors_name_the_flag_and_the_file(check, case):
    folder, (output, _) = case
    for name, message in wrong_files(folder, output).items():
        status, found = check(folder / name)
        if message:
            assert status == 2
            assert f"--recorded {folder}/{message}" in found.replace("'four'", "four")
        else:
            assert status == 1, "ones are no final states of this run"


def test_what_run_wrote_says_whose_x_it_is(rnnspect, tmp_path):
    path, spec = tmp_path / "run.npz", ("--cell", "gru", "--input", "randn:20")
    rnnspect("run", *spec, "-o", path, "-q")
    assert rnnspect("check", *spec, "--recorded", path).status == 0
    other = rnnspect("check", "--cell", "gru", "--input", "ones:20", "--recorded", path)
    assert other.status == 2
    assert "x is not this run's" in other.err


def test_two_decimals_in_a_csv(check, case):
    folder, (output, _) = case
    for form in ("%.2f", "%.3g", "%.4g"):
        np.savetxt(folder / "y.csv", output[:, 0].numpy(), form, ",")
        assert check(folder / "y.csv")[0] != 1
        np.savetxt(folder / "y.csv", (output[:, 0] * 1.5).numpy(), form, ",")
        assert check(folder / "y.csv")[0] == 1


@pytest.mark.parametrize("wrong_at", [0, 1])
def test_several_recordings_are_a_row_each(rnnspect, case, wrong_at, monkeypatch):
    """The wrong one is told wherever it stands, in every format and by the exit status."""
    folder, (output, _) = case
    names = ["right.npy", "right-too.npy"]
    names.insert(wrong_at, "wrong.npy")
    for name in names:
        np.save(folder / name, (spoilt(output) if name == "wrong.npy" else output).numpy())
    monkeypatch.chdir(folder)
    recorded = [word for name in names for word in ("--recorded", name)]
    argv = ("check", "model.pt", "--input", "x.npy", "--no-batch-first", *recorded)
    result = rnnspect(*argv)
    assert result.status == 1
    verdicts = ["differ" if name == "wrong.npy" else "agree" for name in names]
    assert re.findall(r"^(differ|agree) ", result.out, re.MULTILINE) == verdicts
    assert re.findall(r"\S+\.npy", result.out) == names
    documents = json.loads(rnnspect(*argv, "-f", "json").out)
    assert [one["verdict"] for one in documents] == verdicts
    assert [one["source"].endswith(name) for one, name in zip(documents, names, strict=True)] == [True] * 3
    junit = rnnspect(*argv, "-f", "junit").out
    assert 'tests="3" failures="1"' in junit
    assert "DIFFER  wrong.npy does not match this LSTM" in junit


def test_a_recording_that_cannot_be_read_is_one_row_of_several(rnnspect, case):
    folder, (output, _) = case
    np.save(folder / "right.npy", output.numpy())
    given = ("check", folder / "model.pt", "--input", folder / "x.npy", "--no-batch-first")
    several = rnnspect(*given, "--recorded", folder / "right.npy", "--recorded", folder / "missing.npy")
    assert several.status == 2
    assert re.findall(r"^(agree|error) ", several.out, re.MULTILINE) == ["agree", "error"]


def test_a_page_shows_two_recordings_at_most(rnnspect, tmp_path):
    recorded = [word for name in "abc" for word in ("--recorded", f"{name}.npz")]
    result = rnnspect("report", *recorded, "-o", tmp_path / "page.html")
    assert result.status == 2
    assert "3 runs in one page; expected at most 2" in result.err


def test_a_recording_goes_by_its_file_and_one_that_nothing_explains_says_what_to_try(rnnspect, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    gru, x = nn.GRU(2, 3), torch.randn(9, 2)
    torch.save(gru.state_dict(), tmp_path / "model.pt")
    np.save(tmp_path / "x.npy", x)
    output = gru(x)[0].detach().numpy() + np.float32(0.01)
    np.save(tmp_path / "mine.npy", output)
    np.savez(tmp_path / "gates.npz", **{"output": output} | {f"l0.forward.{gate}": output for gate in "rzn"})

    def told(recorded: str) -> str:
        result = rnnspect("check", "model.pt", "--input", "x.npy", "--recorded", recorded, "-q")
        return " ".join(result.out.split())

    assert "Engine mine.npy, float32" in told("mine.npy")
    compare = "Try compare the engine's weights, input and initial state with yours"
    assert f"{compare}; record gates too (l0.forward.r, …)" in told("mine.npy")
    assert f"{compare} Next" in told("gates.npz")


def test_an_output_with_exchanged_axes_says_so(check, case):
    folder, (output, _) = case
    np.save(folder / "turned.npy", output[:, 0].T.numpy())
    status, error = check(folder / "turned.npy")
    assert status == 2
    assert error.endswith("expected (step, batch, unit) = (30, 1, 6); swap its axes\n")


def test_of_a_stack_in_modules_it_is_said_how_the_last_one_is_checked(rnnspect, tmp_path):
    """Which the command that is named does."""
    torch.manual_seed(0)
    layers = nn.ModuleDict({"lstm_1": nn.LSTM(4, 5, batch_first=True), "lstm_2": nn.LSTM(5, 6, batch_first=True)})
    torch.save(layers.state_dict(), tmp_path / "two.pt")
    x = torch.randn(1, 20, 4)
    with torch.no_grad():
        between = layers["lstm_1"](x)[0]
        y = layers["lstm_2"](between)[0]
    for name, values in {"x": x, "between": between, "y": y}.items():
        np.save(tmp_path / f"{name}.npy", values.numpy())
    argv = ("check", tmp_path / "two.pt", "--recorded", tmp_path / "y.npy", "--batch-first", "-q")
    result = rnnspect(*argv, "--input", tmp_path / "x.npy")
    assert result.status == 2
    assert "lstm_2 takes the output of lstm_1: --module lstm_2 --input THAT_OUTPUT.npy checks it alone" in result.err
    assert rnnspect(*argv, "--module", "lstm_2", "--input", tmp_path / "between.npy").status == 0


def test_one_recording_is_not_of_two_modules(rnnspect, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = nn.ModuleDict({"lower": nn.LSTM(4, 5), "upper": nn.LSTM(5, 5)})
    torch.save(model.state_dict(), "two.pt")
    np.save("x.npy", np.zeros((7, 4), np.float32))
    np.save("y.npy", np.zeros((7, 5), np.float32))
    argv = ("check", "two.pt", "--input", "x.npy", "--recorded", "y.npy", "-q")
    result = rnnspect(*argv)
    assert result.status == 2
    assert "two.pt has 2 recurrent modules, and a recording is of one; expected lower, upper" in result.err
    assert rnnspect(*argv, "--module", "lower").status == 1


def test_the_next_command_holds_it_to_the_same_arithmetic(rnnspect, case, monkeypatch):
    folder, (output, _) = case
    monkeypatch.chdir(folder)
    np.save("y.npy", output.numpy() * 1.5)
    how = ("--arithmetic", "tf32", "--recorded-as", "exact")
    told = rnnspect("check", "model.pt", "--input", "x.npy", "--no-batch-first", "--recorded", "y.npy", *how, "-q").out
    then = " ".join(told.partition("  Next ")[2].split())
    assert "--recorded y.npy --recorded-as exact --arithmetic tf32 -o report.html" in then


def test_the_next_command_of_gradients_has_all_that_went_in(rnnspect, case, monkeypatch):
    """It writes the number that the check expected as arithmetic: dL/dh_n went in beside dL/d output."""
    folder, _ = case
    monkeypatch.chdir(folder)
    module, x = nn.GRU(2, 3, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    output, h_n = module(x)
    (output.sum() + 2 * h_n.sum()).backward()
    g = {name: p.grad.numpy() for name, p in module.named_parameters()}
    g["weight_hh_l0"][8, 2] += 1
    given = {"grad.output": np.ones((4, 3)), "grad.h_n": np.full((1, 3), 2.0)}
    np.savez("g.npz", **given, **{f"grad.{name}": values for name, values in g.items()})
    np.save("in.npy", x.numpy())
    torch.save(module.state_dict(), "gru.pt")
    told = rnnspect("check", "gru.pt", "--input", "in.npy", "--backward", "--recorded", "g.npz", "-q").out
    expected = re.search(r"expected\s+(\S+),", told)
    then = " ".join(told.partition("  Next ")[2].partition("  Network ")[0].split())
    assert then.endswith("--gradient 'weight_hh_l0[8,2]' --loss g.npz")
    assert expected is not None
    derived = rnnspect(*shlex.split(then)[1:]).out
    assert f"equations: {expected[1][:6]}" in derived


def test_what_came_from_standard_input_has_to_be_given_again(rnnspect, case, monkeypatch):
    folder, (output, _) = case
    monkeypatch.chdir(folder)
    np.save("y.npy", output.numpy() * 1.5)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(Path("x.npy").read_bytes()), isatty=bool))
    told = rnnspect("check", "model.pt", "--input", "-", "--no-batch-first", "--recorded", "y.npy", "-q").out
    then = " ".join(told.partition("  Next ")[2].split())
    assert then.startswith("with the same on standard input: rnnspect report model.pt --no-batch-first --input - ")


def test_an_output_of_zeros_is_no_gate_of_zeros(check, case):
    folder, (output, _) = case
    np.save(folder / "zeros.npy", np.zeros_like(output.numpy()))
    status, found = check(folder / "zeros.npy")
    assert status == 1
    assert "all 180 values of this h are 0: was the array ever filled?" in found["notes"]
    assert not found["suspects"]


def test_an_output_of_whole_numbers_is_told_how_to_be_read(check, case):
    folder, (output, _) = case
    np.save(folder / "quantised.npy", np.round(output.numpy() * 127))
    status, found = check(folder / "quantised.npy")
    assert status == 1
    assert found["notes"][-1].startswith("all values of this h are whole numbers, up to ")
    np.save(folder / "scaled.npy", np.round(output.numpy() * 127) / 127)
    assert check(folder / "scaled.npy")[0] != 1


def test_an_output_of_nothing_but_nan_is_no_half_type(check, case):
    folder, (output, _) = case
    np.save(folder / "nan.npy", np.full_like(output.numpy(), np.nan))
    status, found = check(folder / "nan.npy")
    assert (status, found["reason"]) == (1, None)
    assert found["notes"] == ["all 180 values of this h are NaN"]
