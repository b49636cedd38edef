"""`rnnspect FILE`: what it is, what is in it, what to ask next."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file


def lstm(inputs=3, hidden=4, seed=0):
    torch.manual_seed(seed)
    return torch.nn.LSTM(inputs, hidden, batch_first=True)


def translator():
    return torch.nn.ModuleDict(
        {"encoder": torch.nn.GRU(3, 4), "decoder": torch.nn.LSTM(5, 4), "fc": torch.nn.Linear(4, 2)}
    )


def test_a_file_alone_says_what_it_is(rnnspect, tmp_path):
    path = tmp_path / "m.weights"
    torch.save(translator().state_dict(), path)
    shown = rnnspect(path)
    assert shown.status == 0
    for said in ("a file of torch.save", "10 tensors", "encoder", "GRU(3, 4", "decoder", "LSTM(5, 4", "float32"):
        assert said in shown.out.replace("\n", " ")
    for command in ("shapes", "check", "trace"):
        assert f"rnnspect {command}" in shown.out
    assert rnnspect("about", path).out == shown.out
    found = json.loads(rnnspect("about", path, "--format", "json").out)
    assert (found["format"], found["tensors"]) == ("rnnspect.about", 10)
    assert [one["name"] for one in found["modules"]] == ["encoder", "decoder"]


def test_without_a_file_it_is_asked_for(rnnspect):
    said = rnnspect("about").err
    assert said.startswith("error: FILE is missing: A file of weights")
    assert "rnnspect about --help" in said


def test_a_command_for_a_long_path_stays_whole(rnnspect, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "a_long_name_of_a_folder" / "that_goes_on_for_a_while"
    folder.mkdir(parents=True)
    torch.save(lstm().state_dict(), folder / "m.pt")
    lines = rnnspect(folder / "m.pt").out.splitlines()
    assert any(line.endswith(f"check   {folder / 'm.pt'}") for line in lines)
    assert "      whether PyTorch or your code computes it" in lines


def test_an_onnx_model_is_run_by_onnx_runtime(rnnspect, tmp_path):
    pytest.importorskip("onnx", reason="skipped: onnx is not installed")
    assert rnnspect("convert", "--cell", "lstm", "--to", "onnx", "-o", tmp_path / "m.onnx").status == 0
    assert "whether ONNX Runtime or your code computes it" in rnnspect(tmp_path / "m.onnx").out


def test_a_stack_is_said(rnnspect, tmp_path):
    layers = torch.nn.ModuleDict({"lstm_1": lstm(3, 4), "lstm_2": lstm(4, 6), "lstm_7": lstm(5, 6)})
    save_file(layers.state_dict(), tmp_path / "m.safetensors")
    found = json.loads(rnnspect("about", tmp_path / "m.safetensors", "--format", "json").out)
    assert [(one["name"], one["reads_from"]) for one in found["modules"]] == [
        ("lstm_1", ""),
        ("lstm_2", "lstm_1"),
        ("lstm_7", ""),
    ]
    assert "lstm_2, which reads lstm_1: LSTM(4, 6" in rnnspect("shapes", tmp_path / "m.safetensors").out
    found = json.loads(rnnspect("shapes", tmp_path / "m.safetensors", "--format", "json").out)
    assert [one["reads_from"] for one in found] == ["", "lstm_1", ""]


def test_a_spec_and_a_file_of_nothing(rnnspect, tmp_path):
    assert "read as a spec in YAML" in rnnspect("configs/lstm.yaml").out
    np.savez(tmp_path / "m.npz", w=np.ones((2, 2)))
    shown = rnnspect(tmp_path / "m.npz")
    assert shown.status == 2
    assert "no recurrent parameters found" in shown.err
    (tmp_path / "x.7z").write_bytes(b"7z\xbc\xaf" + bytes(50))
    assert "a 7z archive; unpack it and give one of its files" in rnnspect(tmp_path / "x.7z").err
    assert "did you mean" in rnnspect("chekc").err.lower()
    assert rnnspect("none.pt").err == "error: none.pt: no such file\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "this is not a spec"),
        ("cell: lstn\n", "cell"),
        (
            '{"format": "layers-model", "modelTopology": {}}',
            "a TensorFlow.js model; convert it to Keras",
        ),
        ("7767517\n3 3\n", "an ncnn network"),
    ],
)
def test_a_text_that_is_no_spec(rnnspect, tmp_path, text, said):
    (tmp_path / "x").write_text(text)
    for command in ((), ("shapes",)):
        shown = rnnspect(*command, tmp_path / "x")
        assert (shown.status, shown.out) == (2, "")
        assert said in shown.err


@pytest.fixture
def folder(tmp_path):
    """A checkpoint in two files, as Hugging Face lays one out."""
    state = {f"model.rnn.{name}": one for name, one in lstm().state_dict().items()} | {"fc.weight": torch.ones(2, 4)}
    names = list(state)
    files = {"model-00001-of-00002.safetensors": names[:2], "model-00002-of-00002.safetensors": names[2:]}
    for file, held in files.items():
        save_file({name: state[name] for name in held}, tmp_path / file)
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, held in files.items() for name in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_a_checkpoint_in_several_files(rnnspect, folder):
    for path in (folder, folder / "model.safetensors.index.json"):
        assert "LSTM(3, 4" in rnnspect("shapes", path).out
        shown = rnnspect("check", path)
        assert (shown.status, "agree" in shown.out.lower()) == (0, True)
    spec = folder / "spec.yaml"
    spec.write_text("cell: lstm\ninput_size: 3\nhidden_size: 4\nweights: model.safetensors.index.json:model.rnn\n")
    assert rnnspect("check", spec).status == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index["weight_map"].update(w="../x.safetensors"), "a .safetensors file in the same folder"),
        (lambda index: index["weight_map"].update(w="model-00001-of-00002.safetensors"), "the tensor w is not in"),
        (lambda index: index["weight_map"].update(w="none.safetensors"), "no such file"),
        (lambda index: index["weight_map"].update(w=3), "this is not the index of a sharded checkpoint"),
        (lambda index: index.update(weight_map=[]), "this is not the index of a sharded checkpoint"),
    ],
)
def test_an_index_that_lies(rnnspect, folder, change, said):
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    shown = rnnspect("shapes", path)
    assert (shown.status, said in shown.err) == (2, True), shown.err


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "this is an empty folder; give a weights file"),
        (("readme",), "this is a folder of 1 file; give one of them, or check each: rnnspect check {}/*"),
        (("a.pt", "b.pt"), "this is a folder of 2 files; give one of them, or check each: rnnspect check {}/*"),
    ],
)
def test_a_folder_that_is_no_model(rnnspect, tmp_path, names, said):
    for name in names:
        (tmp_path / name).write_text("x")
    for command in ((), ("check",)):
        shown = rnnspect(*command, tmp_path)
        assert (shown.status, shown.err) == (2, f"error: {tmp_path}: {said.format(tmp_path)}\n")
