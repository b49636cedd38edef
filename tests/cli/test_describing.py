"""A checkpoint as the source of a command: found, read off, said, and refused with one message."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rnnspect.errors import listed
from tests.cli.test_process import LOADED, python

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = [".pt", ".pth", ".safetensors", ".npz"]


def save(path: Path, module: torch.nn.Module) -> Path:
    state = module.state_dict()
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    elif path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model_state": state, "epoch": 3}, path)
    return path


def tagger() -> torch.nn.Module:
    torch.manual_seed(0)
    rnn = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    return torch.nn.ModuleDict({"rnn": rnn, "fc": torch.nn.Linear(8, 2)})


def translator() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"encoder": torch.nn.GRU(3, 4), "decoder": torch.nn.LSTMCell(3, 4)})


@pytest.fixture(params=SUFFIXES)
def checkpoint(request, tmp_path):
    return save(tmp_path / f"model{request.param}", tagger())


def prefix_of(path: Path) -> str:
    return "model_state.rnn" if path.suffix.startswith(".pt") else "rnn"


# What is read off


def test_shapes(rnnspect, checkpoint):
    result = rnnspect("shapes", checkpoint, "--format", "json")
    document = json.loads(result.out)
    told = {"cell": "lstm", "input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": True, "bias": True}
    told |= {"proj_size": 0, "dtype": "float32", "batch_first": True, "nonlinearity": None}
    told |= {"weights": f"{checkpoint}:{prefix_of(checkpoint)}"}
    assert told.items() <= document["spec"].items()
    assert document["module"] == "LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True)"


def test_what_shapes_cannot_tell_is_said(rnnspect, checkpoint):
    result = rnnspect("shapes", checkpoint)
    source = f"{checkpoint}:{prefix_of(checkpoint)}"
    assert result.err.splitlines() == [
        f"note: {source} does not store batch_first, dropout; assuming --batch-first --dropout 0",
        "note: ignored 2 unrelated tensors in the file",
    ]
    assert rnnspect("shapes", checkpoint, "--quiet").err == ""
    given = rnnspect("shapes", checkpoint, "--no-batch-first", "--dropout", "0.5")
    assert given.err == "note: ignored 2 unrelated tensors in the file\n"
    assert "LSTM(3, 4, num_layers=2, dropout=0.5, bidirectional=True)" in given.out


def test_the_nonlinearity_is_said_and_can_be_given(rnnspect, tmp_path):
    path = save(tmp_path / "rnn.npz", torch.nn.RNN(3, 2, nonlinearity="relu", batch_first=True))
    result = rnnspect("trace", path)
    assert result.err == f"note: {path} does not store nonlinearity; assuming --nonlinearity tanh\n"
    given = rnnspect("run", path, "--nonlinearity", "relu", "--batch-first", "--format", "json")
    assert given.err == ""
    assert json.loads(given.out)["spec"]["nonlinearity"] == "relu"


def test_the_axes_of_a_batch_are_asked_for_where_nobody_said_them(rnnspect, tmp_path):
    path = save(tmp_path / "gru.pt", torch.nn.GRU(3, 2))
    for shape, said in {
        (4, 5, 3): "x (4, 5, 3) is read as (batch, step, feature): 4 sequences of 5 steps",
        (6, 1, 3): "x (6, 1, 3) is read as (batch, step, feature): 6 sequences of 1 step",
        (1, 5, 3): "",  # a batch of one
        (5, 3): "",
    }.items():
        np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
        for command in ("trace", "check"):
            err = rnnspect(command, path, "--input", tmp_path / "x.npy").err
            note = f"note: {said}; if it is (step, batch, feature), add --no-batch-first\n"
            assert err == (note if said else ""), (command, shape)
            assert rnnspect(command, path, "--input", tmp_path / "x.npy", "--no-batch-first").err == ""
    assert rnnspect("trace", path).err == "", "a generator makes no batch"
    assert rnnspect("trace", path, "--batch", 2).err == ""


def test_the_weights_are_the_files(rnnspect, checkpoint, tmp_path):
    x = torch.randn(2, 5, 3)
    np.save(tmp_path / "x.npy", x.numpy())
    with torch.no_grad():
        expected, (h_n, _) = tagger()["rnn"](x)
    for command in ("run", "trace"):
        result = rnnspect(command, checkpoint, "--input", tmp_path / "x.npy", "--format", "json")
        document = json.loads(result.out)
        found = document if command == "run" else {name: document[name]["manual"] for name in ("output", "h_n")}
        # The same sums in another order of a few float32 additions, on numbers below 1.
        torch.testing.assert_close(torch.tensor(found["output"]), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(torch.tensor(found["h_n"]), h_n, rtol=0, atol=1e-6)


def test_the_spec_in_a_result_gives_the_result_again(rnnspect, checkpoint, tmp_path):
    first = rnnspect("run", checkpoint, "--input", "randn:4", "--format", "json").out
    spec = tmp_path / "again.yaml"
    spec.write_text(json.dumps(json.loads(first)["spec"]))  # JSON is YAML
    assert rnnspect("run", spec, "--format", "json").out == first


def test_the_default_input_is_the_ramp(rnnspect, checkpoint):
    x = json.loads(rnnspect("run", checkpoint, "--format", "json").out)["sequence"]["x"]
    assert x == [[[1, 1, 1], [2, 2, 2], [3, 3, 3]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_is_the_files_unless_a_flag_says_another(rnnspect, tmp_path, dtype):
    path = save(tmp_path / "x.safetensors", torch.nn.GRU(3, 2).to(dtype))
    spec = json.loads(rnnspect("shapes", path, "--format", "json").out)["spec"]
    assert spec["dtype"] == str(dtype).removeprefix("torch.")
    result = rnnspect("trace", path, "--dtype", "float64", "--format", "json")
    assert json.loads(result.out)["engine"]["dtype"] == "float64"


def test_a_module_is_chosen(rnnspect, tmp_path):
    path = save(tmp_path / "x.safetensors", translator())
    assert "LSTM(3, 4)" in rnnspect("trace", path, "--module", "decoder").out
    assert "GRU(3, 4)" in rnnspect("trace", path, "--module", "encoder").out


def test_weights_of_a_spec_may_stand_under_a_prefix(rnnspect, tmp_path):
    path = save(tmp_path / "x.pt", translator())
    options = ("--cell", "gru", "--input-size", 3, "--hidden-size", 4, "--batch-first", "--format", "json")
    by_flag = rnnspect("run", *options, "--weights", f"{path}:model_state.encoder")
    by_source = rnnspect("run", path, "--module", "model_state.encoder", "--format", "json")
    assert json.loads(by_flag.out)["output"] == json.loads(by_source.out)["output"]
    only = save(tmp_path / "only.pt", torch.nn.ModuleDict({"rnn": torch.nn.GRU(3, 4)}))
    assert rnnspect("run", *options, "--weights", only).status == 0
    several = rnnspect("run", *options, "--weights", path)
    assert "2 recurrent modules; name it after a colon: 'model_state.encoder' (GRU(3, 4))" in several.err


def test_other_tensors_beside_a_state_dict_are_left_alone(rnnspect, tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, extra=np.ones(2), **{name: t.numpy() for name, t in torch.nn.GRU(3, 4).state_dict().items()})
    result = rnnspect("trace", path, "--no-batch-first", "--format", "json")
    assert result.err == "note: ignored 1 unrelated tensor in the file\n"
    assert json.loads(result.out)["spec"]["weights"] == f"{path}:"
    assert f"lstm, but {path}" in rnnspect("trace", path, "--cell", "lstm").err


# What is refused


def refused(result: Any, *parts: str) -> None:
    assert result.status == 2
    assert result.out == ""
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err


FLAGS = [
    ("--cell", "gru", "gru", "lstm"),
    ("--hidden-size", "8", "8", "4"),
    ("--input-size", "8", "8", "3"),
    ("--num-layers", "3", "3", "2"),
    ("--proj-size", "3", "3", "0"),
    ("--no-bias", None, "false", "true"),
    ("--no-bidirectional", None, "false", "true"),
]


@pytest.mark.parametrize(("flag", "value", "found", "allowed"), FLAGS, ids=[flag for flag, *_ in FLAGS])
@pytest.mark.parametrize("command", ["shapes", "run", "trace"])
def test_a_flag_against_the_file(rnnspect, tmp_path, command, flag, value, found, allowed):
    path = save(tmp_path / "x.safetensors", tagger())
    result = rnnspect(command, path, flag, *([value] if value else []))
    name = "--" + flag.removeprefix("--").removeprefix("no-")
    refused(result, f"error: {name}: {found}, but {path}:rnn has {allowed}")


def test_every_flag_against_the_file_is_said_at_once(rnnspect, tmp_path):
    path = save(tmp_path / "x.npz", tagger())
    result = rnnspect("trace", path, "--hidden-size", 8, "--cell", "rnn", "--weights", "y.pt", "--head", 1)
    refused(
        result, "--cell: ", "--hidden-size: ", "--weights: cannot be combined with", "--head: cannot be combined with"
    )
    assert len(result.err.splitlines()) == 4


def test_flags_that_agree_with_the_file(rnnspect, tmp_path):
    path = save(tmp_path / "x.npz", tagger())
    assert rnnspect("shapes", path, "--hidden-size", 4, "--cell", "lstm", "--bidirectional", "--bias").status == 0


def test_a_flag_for_another_cell(rnnspect, tmp_path):
    path = save(tmp_path / "x.npz", tagger())
    refused(
        rnnspect("trace", path, "--nonlinearity", "relu"), "--nonlinearity: cell lstm has no nonlinearity to choose"
    )


def test_several_modules_and_none_chosen(rnnspect, tmp_path):
    path = save(tmp_path / "x.npz", translator())
    shown = rnnspect("shapes", path)
    assert shown.status == 0
    assert "encoder: GRU(3, 4" in shown.out
    assert "decoder: LSTM(3, 4" in shown.out
    for command in ("trace", "report", "run"):
        shown = rnnspect(command, path, *(["-o", tmp_path / "page.html"] if command == "report" else []))
        assert shown.status == 0
        assert "has 2 recurrent modules; using the first, 'encoder'; --module chooses another: 'decoder'" in shown.err
    shown = rnnspect("check", path, "--format", "json")
    assert shown.status == 0
    assert [one["source"] for one in json.loads(shown.out)] == [f"{path}:encoder", f"{path}:decoder"]
    refused(
        rnnspect("convert", path, "--to", "onnx", "-o", tmp_path / "x.onnx"),
        "choose one with --module: 'encoder' (GRU",
    )


def test_a_module_misspelt(rnnspect, tmp_path):
    path = save(tmp_path / "x.npz", translator())
    refused(rnnspect("shapes", path, "--module", "encodr"), "no module 'encodr'", "did you mean 'encoder'?")


def test_a_module_of_no_checkpoint(rnnspect):
    refused(rnnspect("shapes", "--module", "rnn"), "--module: needs a file of weights")
    refused(rnnspect("shapes", "configs/lstm.yaml", "--module", "rnn"), "--module: needs a file of weights")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("command", ["shapes", "run", "trace"])
def test_a_file_without_recurrent_parameters(rnnspect, tmp_path, command, suffix):
    path = save(tmp_path / f"x{suffix}", torch.nn.Linear(3, 4))
    refused(rnnspect(command, path), f"{path}: no recurrent parameters found; expected names such as weight_ih_l0")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_missing_empty_or_something_else(rnnspect, tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    refused(rnnspect("shapes", path), "no such file")
    path.write_bytes(b"")
    refused(rnnspect("shapes", path), "the file is empty")
    path.write_bytes(b"\0\1\2\3" * 9)
    refused(rnnspect("shapes", path), "not a pickle" if "pt" in suffix else f"not a {suffix} file")


def test_a_pickled_module_is_read_without_its_class(rnnspect, tmp_path):
    torch.save(torch.nn.LSTM(3, 4), tmp_path / "x.pt")
    shown = rnnspect("shapes", tmp_path / "x.pt")
    assert (shown.status, shown.out.startswith("LSTM(3, 4")) == (0, True)


@pytest.mark.parametrize("command", ["shapes", "run", "trace"])
def test_a_missing_layer(rnnspect, tmp_path, command):
    state = {f"rnn.{name}": tensor for name, tensor in torch.nn.GRU(3, 4, 3).state_dict().items() if "_l1" not in name}
    torch.save(state, tmp_path / "x.pt")
    missing = listed(f"{kind}_l1" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    refused(rnnspect(command, tmp_path / "x.pt"), f"x.pt:rnn: missing: {missing} (found rnn.weight_ih_l0")


# What only a fresh process can show


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_shapes_of_a_header_load_no_framework(tmp_path, suffix):
    path = save(tmp_path / f"x{suffix}", tagger())
    assert python(LOADED, "shapes", str(path)).stderr.splitlines()[-1] == "0"


# Somebody else's model


@pytest.mark.slow
def test_the_speaker_encoder_of_resemblyzer(rnnspect, tmp_path):
    """A three-layer LSTM that others trained and published, beside its optimizer's state."""
    argv = ["pip", "download", "--quiet", "--no-deps", "--retries", "0", "--timeout", "20", "Resemblyzer==0.1.4"]
    got = subprocess.run([sys.executable, "-m", *argv, "-d", tmp_path], capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip("skipped: the package Resemblyzer 0.1.4 cannot be had here")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        path = archive.extract("resemblyzer/pretrained.pt", tmp_path)
    shapes = rnnspect("shapes", path)
    assert shapes.status == 0
    assert "LSTM(40, 256, num_layers=3, batch_first=True)" in shapes.out
    result = rnnspect("trace", path, "--input", "randn:160", "--format", "json")
    document = json.loads(result.out)
    assert document["spec"]["weights"] == f"{path}:model_state.lstm"
    lstm = torch.nn.LSTM(40, 256, num_layers=3, batch_first=True)
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    lstm.load_state_dict({name.removeprefix("lstm."): state[name] for name in state if name.startswith("lstm.")})
    with torch.no_grad():
        output, _ = lstm(torch.tensor(document["sequence"]["x"]))
    torch.testing.assert_close(torch.tensor(document["output"]["engine"]), output, rtol=0, atol=0)


def test_modules_that_no_spec_describes_are_told_in_few_lines(rnnspect, tmp_path):
    """A damaged file had a hundred of them, each with the same 400 characters."""
    state = {f"good.{name}": tensor for name, tensor in torch.nn.LSTM(3, 4).state_dict().items()}
    for i in range(6):
        state |= {f"bad{i}.{name}": tensor for name, tensor in torch.nn.LSTM(3, 4).state_dict().items()}
        state[f"bad{i}.weight_hh_l0"] = torch.zeros(7, 4)
    torch.save(state, tmp_path / "many.pt")
    result = rnnspect("shapes", tmp_path / "many.pt")
    assert result.status == 0
    assert result.err.count("skipped: ") == 3
    assert "skipped as well: bad3, bad4, bad5" in result.err


def test_a_module_is_found_by_the_end_of_its_name(rnnspect, tmp_path):
    """Where it is the end of one alone."""
    state = {}
    for name, module in {"encoder.rnn": nn.GRU(3, 4), "decoder.rnn": nn.LSTM(4, 5)}.items():
        state |= {f"model.{name}.{key}": w for key, w in module.state_dict().items()}
    torch.save(state, path := tmp_path / "model.pt")
    assert rnnspect("shapes", path, "--module", "decoder.rnn").out.startswith("LSTM(4, 5")
    found = rnnspect("shapes", path, "--module", "rnn")
    assert found.status == 2
    assert "there is no module 'rnn'; expected 'model.encoder.rnn'" in found.err


def test_a_recording_is_no_file_of_weights(rnnspect, tmp_path):
    np.savez(path := tmp_path / "run.npz", output=np.zeros((3, 2)))
    found = rnnspect(path)
    assert found.status == 2
    assert "this is a recording of a run, without parameters; pass it beside the network" in found.err


def test_a_spec_to_start_from_is_not_written_over_another(rnnspect, tmp_path):
    (path := tmp_path / "net.yaml").write_text("cell: gru")
    found = rnnspect("init", "-o", path)
    assert (found.status, path.read_text()) == (2, "cell: gru")
    assert "nothing is written over" in found.err
