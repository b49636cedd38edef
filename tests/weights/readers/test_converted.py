"""A file that `convert` wrote is read back as the network that it was written of, not as its layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

h5py = pytest.importorskip("h5py", reason="skipped: h5py is not installed")
onnx = pytest.importorskip("onnx", reason="skipped: onnx is not installed")

FILES = {"onnx": "net.onnx", "keras": "net.weights.h5", "pytorch": "net.safetensors"}
SAME = ("cell", "input_size", "hidden_size", "num_layers", "nonlinearity", "batch_first", "dropout", "bidirectional")
NETWORKS = {
    "rnn": (torch.nn.RNN(4, 6, nonlinearity="relu"), ["--nonlinearity", "relu", "--no-batch-first"]),
    "lstm": (torch.nn.LSTM(4, 6, 2, bidirectional=True, dropout=0.25), ["--dropout", "0.25", "--no-batch-first"]),
    "gru": (torch.nn.GRU(4, 6, 3, batch_first=True), ["--batch-first"]),
}


def shown(rnnspect, *argv):
    result = rnnspect(*argv, "--format", "json")
    assert result.status == 0, result.err
    return json.loads(result.out), result.err


@pytest.mark.each_value_once
@pytest.mark.parametrize("target", FILES)
@pytest.mark.parametrize(("module", "flags"), NETWORKS.values(), ids=NETWORKS)
def test_it_computes_what_it_was_written_of(rnnspect, tmp_path, target, module, flags):
    torch.save(module.state_dict(), tmp_path / "net.pt")
    path = tmp_path / FILES[target]
    written, _ = shown(rnnspect, "convert", tmp_path / "net.pt", *flags, "--to", target, "-o", path)
    x = torch.randn(5, 9, 4, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "x.npy", x.numpy())
    with torch.no_grad():
        y = module.eval()(x)[0]
    read, said = shown(rnnspect, "run", path, "--input", tmp_path / "x.npy")
    assert said == "", "nothing is assumed"
    assert {key: read["spec"][key] for key in SAME} == {key: written["spec"][key] for key in SAME}
    # Keras has the sum of two biases, which is rounded once more: |h| < 10, some ten roundings of 6e-8 in each layer.
    expected = (y if module.batch_first else y.transpose(0, 1)).numpy()
    np.testing.assert_allclose(read["output"], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("target", FILES)
def test_layers_of_ten_and_more_stand_in_their_order(rnnspect, tmp_path, target):
    """A file may list lstm_10 before lstm_2."""
    module = torch.nn.LSTM(6, 6, 12, batch_first=True)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    shown(rnnspect, "convert", tmp_path / "net.pt", "--batch-first", "--to", target, "-o", tmp_path / FILES[target])
    x = torch.randn(2, 9, 6)
    np.save(tmp_path / "x.npy", x.numpy())
    read, _ = shown(rnnspect, "run", tmp_path / FILES[target], "--input", tmp_path / "x.npy")
    with torch.no_grad():
        expected = module(x)[0].numpy()
    # As above; the order of layers of their own weights changes the output by more than 1e-2.
    np.testing.assert_allclose(read["output"], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("target", "name"), [("onnx", "lstm_l1"), ("keras", "lstm_1")])
def test_a_layer_is_there_where_it_is_named(rnnspect, tmp_path, target, name):
    path = tmp_path / FILES[target]
    sizes = ("--input-size", "4", "--hidden-size", "6", "--num-layers", "2")
    shown(rnnspect, "convert", "--cell", "lstm", *sizes, "--to", target, "-o", path)
    layer, _ = shown(rnnspect, "shapes", path, "--module", name)
    assert (layer["spec"]["input_size"], layer["spec"]["num_layers"]) == (6, 1)


def spoil(path, text):
    """Puts another text in the place of what the file says of itself."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        model.metadata_props[0].value = text
        onnx.save(model, path)
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["rnnspect"] = text


WRONG = {
    "no JSON": "{",
    "a list": "[1]",
    "deep": "[" * 9000 + "]" * 9000,
    "other layers": '{"cell": "lstm", "input_size": 4, "hidden_size": 6, "num_layers": 3}',
    "another cell": '{"cell": "gru", "input_size": 4, "hidden_size": 6, "num_layers": 2}',
    "another size": '{"cell": "lstm", "input_size": 4, "hidden_size": 7, "num_layers": 2}',
    "a type": '{"cell": "lstm", "input_size": "4", "hidden_size": 6, "num_layers": 2}',
    "too many layers": '{"cell": "lstm", "num_layers": 1000000000}',
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("target", ["onnx", "keras"])
def test_what_its_metadata_says_has_to_be_its_layers(rnnspect, tmp_path, target, text):
    path = tmp_path / FILES[target]
    sizes = ("--input-size", "4", "--hidden-size", "6", "--num-layers", "2")
    shown(rnnspect, "convert", "--cell", "lstm", *sizes, "--to", target, "-o", path)
    spoil(path, text)
    for command in ("shapes", "trace"):
        result = rnnspect(command, path)
        assert result.status == 2
        assert str(path) in result.err


@pytest.mark.parametrize("target", ["onnx", "keras"])
def test_a_network_that_torch_does_not_have_stays_its_layers(rnnspect, tmp_path, target):
    (tmp_path / "net.yaml").write_text("{cell: gru, reset: before, input_size: 4, hidden_size: 6, num_layers: 2}\n")
    path = tmp_path / FILES[target]
    shown(rnnspect, "convert", tmp_path / "net.yaml", "--to", target, "-o", path)
    assert b"num_layers" not in path.read_bytes()
