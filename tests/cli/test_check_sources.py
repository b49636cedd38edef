"""What can be checked beside a spec: a recorded run, a checkpoint, a live model in somebody's file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("no_causes")

LSTM = ("--cell", "lstm", "--hidden-size", "6", "--num-layers", "2", "--input", "randn:40")

MODEL = """
import torch
from torch import nn

def spoilt(module, args, out):
    y = out[0].clone()
    y[1, 2, 3] += 0.01
    return y, out[1]

class Tagger(nn.Module):
    def __init__(self, wrong=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(5, 4)
        self.rnn = nn.GRU(4, 6, batch_first=True, bidirectional=True)
        self.cell = nn.LSTMCell(12, 3)
        self.unused = nn.RNN(2, 2)
        if wrong:
            self.rnn.register_forward_hook(spoilt)

    def forward(self, x):
        y, _ = self.rnn(self.embed(x))
        state = self.cell(y[:, 0])
        return self.cell(y[:, 1], state)[0]

right = Tagger
def wrong():
    return Tagger(wrong=True)
def raises():
    raise ZeroDivisionError("in their code")
number = 3
"""


@pytest.fixture
def case(rnnspect, tmp_path):
    """A run of two layers, kept as arrays with its parameters in a checkpoint."""
    torch.manual_seed(3)
    module = nn.LSTM(5, 6, 2)
    x = torch.randn(40, 5)
    with torch.no_grad():
        y, _ = module(x)
    torch.save({"model": {"rnn." + name: value for name, value in module.state_dict().items()}}, tmp_path / "model.pt")
    np.save(tmp_path / "x.npy", x.numpy())
    return tmp_path, y.numpy()


def check(rnnspect, folder, recorded, *more):
    argv = ("check", folder / "model.pt", "--input", folder / "x.npy", "--recorded", recorded, "--format", "json", "-q")
    result = rnnspect(*argv, *more)
    return result.status, json.loads(result.out)


def save(path, y):
    match path.suffix:
        case ".npy":
            np.save(path, y)
        case ".csv":
            np.savetxt(path, y, delimiter=",", fmt="%.9g")
        case ".pt":
            torch.save(torch.tensor(y), path)
        case ".npz":
            np.savez(path, output=y)
        case ".safetensors":
            from safetensors.numpy import save_file

            save_file({"output": y}, path)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".pt", ".npz", ".safetensors"])
def test_a_recorded_output_of_a_stack_is_judged_in_any_file(rnnspect, case, suffix):
    folder, y = case
    save(folder / f"y{suffix}", y)
    status, document = check(rnnspect, folder, folder / f"y{suffix}")
    assert (status, document["verdict"]) == (0, "agree")
    assert document["observed"] == ["layer 1 forward h"]
    assert document["estimated"] == ["layer 0 forward"]
    wrong = y.copy()
    wrong[17, 3] += 0.01
    save(folder / f"wrong{suffix}", wrong)
    status, document = check(rnnspect, folder, folder / f"wrong{suffix}")
    assert (status, document["verdict"]) == (1, "differ")
    assert (document["first"]["layer"], document["first"]["step"], document["first"]["unit"]) == (1, 17, 3)


def test_four_decimals_and_half_precision_agree_when_right(rnnspect, case):
    folder, y = case
    np.savetxt(folder / "y.csv", y, delimiter=",", fmt="%.4f")
    assert check(rnnspect, folder, folder / "y.csv")[1]["verdict"] == "agree"
    np.save(folder / "y.npy", y.astype(np.float16))
    assert check(rnnspect, folder, folder / "y.npy")[1]["verdict"] != "differ"
    wrong = y.copy()
    wrong[17, 3] += 0.01
    np.savetxt(folder / "wrong.csv", wrong, delimiter=",", fmt="%.4f")
    assert check(rnnspect, folder, folder / "wrong.csv")[1]["verdict"] == "differ"


def test_a_bias_lost_in_the_second_layer_is_found_from_the_top_alone(rnnspect, case):
    folder, y = case
    np.save(folder / "y.npy", y)
    parameters = torch.load(folder / "model.pt", weights_only=True)["model"]
    parameters["rnn.bias_hh_l1"] = torch.zeros_like(parameters["rnn.bias_hh_l1"])
    torch.save(parameters, folder / "model.pt")
    status, document = check(rnnspect, folder, folder / "y.npy")
    assert (status, document["first"]["layer"]) == (1, 1)


@pytest.mark.parametrize("command", ["run", "trace"])
def test_our_own_files_are_recordings(rnnspect, tmp_path, command):
    path, same_x = tmp_path / "kept.npz", (*LSTM[:-1], "ones:40")
    rnnspect(command, *same_x, "-o", path, "-q")
    result = rnnspect("check", *same_x, "--recorded", path)
    assert result.status == 0
    assert rnnspect("check", *same_x, "--seed", "2", "--recorded", path).status == 1
    other = rnnspect("check", *LSTM, "--recorded", path)
    assert other.status == 2
    assert f"--recorded {path}:x: the recording's x is not" in other.err
    assert "1 at step 0, batch item 0, unit 0, this run has" in other.err


def test_a_recording_of_another_shape(rnnspect, case):
    folder, y = case
    np.save(folder / "y.npy", y[:, :4])
    result = rnnspect("check", folder / "model.pt", "--input", folder / "x.npy", "--recorded", folder / "y.npy")
    assert result.status == 2
    assert "(step, unit) = (40, 6)" in result.err


def test_an_engine_beside_a_recording_is_refused(rnnspect):
    assert (
        "--recorded: cannot be combined with --engine"
        in rnnspect("check", "--engine", "torch", "--recorded", "x.npy").err
    )


def test_arrays_in_npy_files_are_mapped(case):
    from rnnspect.files.arrays import read_array

    folder, _ = case
    before = (folder / "x.npy").read_bytes()
    mapped = read_array(folder / "x.npy")
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(folder / "x.npy") in maps.read_text()
    mapped += 1
    assert (folder / "x.npy").read_bytes() == before


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


def test_each_call_of_a_live_model_is_a_row(rnnspect, model):
    result = rnnspect("check", f"{model}:right", "--input", "randn:9", "--batch", "3")
    rows = result.out.split("agree ")[1:]
    assert len(rows) == 3
    assert "rnn, call 0" in " ".join(rows[0].split())
    assert "cell, call 1" in " ".join(rows[2].split())
    assert "differ" not in result.out
    assert "unused was never called" in result.err


def test_a_wrong_number_of_a_live_model_is_found_in_its_module(rnnspect, model):
    result = rnnspect("check", f"{model}:wrong", "--input", "randn:9", "--batch", "3", "--format", "json", "-q")
    assert result.status == 1
    first = next(document for document in json.loads(result.out) if document["verdict"] == "differ")
    assert "rnn, call 0" in first["source"]
    assert (first["first"]["batch"], first["first"]["step"], first["first"]["unit"]) == (1, 2, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rigth", "did you mean 'right'?"),
        ("number", "number"),
        ("raises", "in their code"),
    ],
)
def test_models_that_cannot_be_had(rnnspect, model, name, said):
    result = rnnspect("check", f"{model}:{name}", "--input", "randn:3")
    assert result.status == 2
    assert said in result.err
    assert "Traceback" not in result.err


def test_only_the_command_line_names_code(rnnspect, tmp_path, model):
    (tmp_path / "net.yaml").write_text(f"weights: {model}:right\n")
    assert rnnspect("check", tmp_path / "net.yaml").status == 2


@pytest.mark.parametrize("flag", [("--recorded", "y.npy"), ("--engine", "torch-cell")])
def test_nothing_beside_a_live_model_is_ignored(rnnspect, model, flag):
    result = rnnspect("check", f"{model}:right", "--input", "randn:3", *flag)
    assert result.status == 2
    assert "cannot be used with a live model, which runs itself" in result.err


OWN = [
    ("--cell", "lstm"), ("--hidden-size", "4"), ("--num-layers", "2"), ("--dtype", "float64"), ("--h0", "randn"),
    ("--c0", "randn"), ("--nonlinearity", "relu"), ("--no-bias",), ("--no-batch-first",), ("--bidirectional",),
    ("--head", "2"), ("--weights", "w.npz"), ("--lengths", "3"), ("--dropout", "0"),
]  # fmt: skip


@pytest.mark.parametrize("flag", OWN, ids=lambda flag: flag[0])
def test_what_a_live_model_has_of_its_own_cannot_be_said(rnnspect, model, flag):
    result = rnnspect("check", f"{model}:right", "--input", "randn:3", "--batch", "1", *flag)
    assert result.status == 2
    assert result.out == ""
    flag_said = flag[0].replace("--no-", "--")
    assert flag_said in result.err


def test_all_of_them_are_said_at_once(rnnspect, model):
    err = rnnspect("check", f"{model}:right", "--input", "randn:3", "--hidden-size", "4", "--dtype", "float64").err
    assert "--hidden-size: cannot be used with a live model" in err
    assert "--dtype: cannot be used with a live model" in err


def test_what_makes_an_input_counts_only_for_one_that_is_made(rnnspect, model, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 5), np.float32))
    for flag in ("--batch", "--seed", "--input-size"):
        result = rnnspect("check", f"{model}:right", "--input", tmp_path / "x.npy", flag, "3")
        assert result.status == 2
        assert f"{flag}: has no effect on this input" in result.err
    result = rnnspect("check", f"{model}:right", "--input", "ones:3", "--batch", "2", "--seed", "3")
    assert "--seed: has no effect on this input" in result.err
    said = ("--input", "randn:3", "--batch", "2", "--seed", "3", "--input-size", "5", "--device", "cpu")
    assert rnnspect("check", f"{model}:right", *said).status in (0, 3)


def test_the_device_is_where_a_live_model_runs(rnnspect, model):
    result = rnnspect("check", f"{model}:right", "--input", "randn:3", "--batch", "2", "--device", "cuda:99")
    assert result.status == 2
    assert "this machine has no device 'cuda:99'" in result.err


def test_a_python_file_alone_names_what_it_has(rnnspect, tmp_path, model):
    result = rnnspect("check", model)
    assert result.status == 2
    assert f"expected {model}:Tagger, {model}:wrong, {model}:raises" in result.err
    marker = tmp_path / "was_run"
    (tmp_path / "side.py").write_text(f"open({str(marker)!r}, 'w')\ndef build(): pass\ndef sized(n): pass\n")
    result = rnnspect("check", tmp_path / "side.py")
    assert f"expected {tmp_path / 'side.py'}:build\n" in result.err
    assert not marker.exists(), "it is read, never run"
    (tmp_path / "broken.py").write_text("def build(:\n")
    assert "broken.py:build, a function that gives it" in rnnspect("check", tmp_path / "broken.py").err
    assert "no such file" in rnnspect("check", tmp_path / "nothing.py").err
