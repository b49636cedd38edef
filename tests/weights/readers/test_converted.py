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


@pytest.mark.parametrize("target", ["onnx", "keras"])
def test_another_direction_than_that_of_its_layers_is_refused(rnnspect, tmp_path, target):
    path = tmp_path / FILES[target]
    shown(rnnspect, "convert", "--cell", "lstm", "--to", target, "-o", path)
    result = rnnspect("trace", path, "--reverse")
    assert result.status == 2
    assert "unknown parameter 'weight_ih_l0'; did you mean 'weight_ih_l0_reverse'?" in result.err


EDITS = {
    "reset": (["--cell", "gru"], {"linear_before_reset": 0}, "has reset before, not after"),
    "clip": (["--cell", "lstm"], {"clip": 0.5}, "has clip 0.5, not None"),
    "tanh": (["--cell", "rnn", "--nonlinearity", "relu"], {"activations": ["Tanh"]}, "has nonlinearity tanh, not relu"),
    "no function": (["--cell", "rnn", "--nonlinearity", "relu"], {"activations": None}, "nonlinearity tanh, not relu"),
    "relu": (["--cell", "rnn"], {"activations": ["Relu"]}, "has nonlinearity relu, not tanh"),
    "functions": (["--cell", "lstm"], {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "has activations ['hard_"),
    "reverse": (["--cell", "lstm"], {"direction": "reverse"}, "has reverse true, not false"),
    "coupled": (["--cell", "lstm"], {"input_forget": 1}, "has input_forget true, not false"),
}


@pytest.mark.parametrize(("network", "change", "said"), EDITS.values(), ids=EDITS)
def test_a_node_that_was_edited_is_not_what_the_metadata_says(rnnspect, tmp_path, network, change, said):
    path = tmp_path / "net.onnx"
    shown(rnnspect, "convert", *network, "--input-size", "4", "--hidden-size", "6", "--to", "onnx", "-o", path)
    model = onnx.load(path)
    node = next(one for one in model.graph.node if one.op_type in ("RNN", "GRU", "LSTM"))
    kept = [one for one in node.attribute if one.name not in change]
    del node.attribute[:]
    made = [onnx.helper.make_attribute(name, value) for name, value in change.items() if value is not None]
    node.attribute.extend([*kept, *made])
    onnx.save(model, path)
    for command in ("shapes", "trace"):
        result = rnnspect(command, path)
        assert result.status == 2
        assert "the layers do not fit the network of 1 layer in" in result.err
        assert said in result.err
    name = node.name or node.output[0]
    layer, _ = shown(rnnspect, "shapes", path, "--module", name)
    assert layer["spec"]["num_layers"] == 1
