"""Files of older Keras: of Keras 1, of layers for cuDNN, of weights without a config. Each is held against Keras'
equations over the arrays that Keras would have made of them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from rnnspect.cli import main
from tests.marks import sampled
from tests.weights.readers import keras_files as made
from tests.weights.readers.keras_files import Layer
from tests.weights.readers.test_keras import X, check

if TYPE_CHECKING:
    from pathlib import Path

HARD = {"recurrent_activation": "hard_sigmoid"}
AFTER = {"reset_after": True}


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("config", sampled([True, False], 2), ids=["config", "weights alone"])
@pytest.mark.parametrize("bidirectional", sampled([False, True], 2), ids=["", "Bidirectional"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_for_cudnn(tmp_path: Path, capsys: Any, cell: str, bidirectional: bool, config: bool):
    """A cuDNN layer has sigmoid in every version, and what it computes is what LSTM and GRU compute of its arrays after
    Keras has turned them."""
    layer = Layer(cell, "one", AFTER if cell == "gru" else {}, bidirectional)
    right, path = layer.output(X), tmp_path / "m.h5"
    entry = made.cudnn(layer)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.1.5"
        if config:
            file.attrs["model_config"] = json.dumps(made.model([entry]))
        made.write_named(file.create_group("model_weights/one" if config else "one"), layer, cell="")
    assert check(path, layer, right) == 0, capsys.readouterr()
    if not config:
        assert f"is read as a CuDNN{cell.upper()}, because it has two biases in one array" in capsys.readouterr().err
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, one: exchange_gates(one))
    assert check(path, layer, right) == 1


def exchange_gates(one: Any) -> None:
    if isinstance(one, h5py.Dataset) and one.ndim == 2:
        one[...] = np.roll(one[...], made.UNITS, axis=1)


def test_the_layout_of_a_layer_for_cudnn_is_told(tmp_path: Path, capsys: Any):
    layer, path = Layer("gru", "one", AFTER), tmp_path / "m.h5"
    made.cudnn(layer)
    with h5py.File(path, "w") as file:
        made.write_named(file, layer)
    assert main(["shapes", str(path), "--format", "json"]) == 0
    spec = json.loads(capsys.readouterr().out)["spec"]
    assert (spec["layout"], spec["reset"], spec["bias"]) == ("keras-cudnn", "after", True)


FORMS = [("lstm", False), ("lstm", True), ("gru", False), ("gru", True), ("rnn", False)]


@pytest.mark.each_value_once
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("config", [True, False], ids=["config", "weights alone"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["", "Bidirectional"])
@pytest.mark.parametrize(("cell", "fused"), FORMS)
def test_keras_1(tmp_path: Path, capsys: Any, cell: str, fused: bool, bidirectional: bool, config: bool):
    """Its gates are hard_sigmoid where nothing else was asked for, and its GRU resets before the product. Neither its
    weights nor its first versions say which version wrote them."""
    layer = Layer(cell, "lstm_1", {} if cell == "rnn" else HARD, bidirectional)
    path = tmp_path / "m.h5"
    entry = {"class_name": made.CLASSES[cell], "config": {"name": "lstm_1", "output_dim": made.UNITS}}
    both = {"class_name": "Bidirectional", "config": {"name": "lstm_1", "layer": entry}}
    with h5py.File(path, "w") as file:
        weights = file.create_group("model_weights") if config else file
        made.write_keras_1(weights, layer, fused, ":0" if bidirectional else "")
        if config:
            file.attrs["model_config"] = json.dumps(
                {"class_name": "Sequential", "config": [both if bidirectional else entry]}
            )
        else:
            file.attrs["keras_version"] = "1.2.2"
    assert check(path, layer, layer.output(X, 2)) == 0, capsys.readouterr()
    said = capsys.readouterr().err
    if cell != "rnn":
        assert "assuming hard_sigmoid, the default before Keras 2.3" in said if config else "hard_sigmoid" in said
        layer.config = {}
        assert check(path, layer, layer.output(X, 2)) == 1, "sigmoid is something else"


def test_what_keras_1_says_in_other_words(tmp_path: Path, capsys: Any):
    layer = Layer("gru", "gru_1", {"activation": "relu"})
    said = {"name": "gru_1", "output_dim": 4, "inner_activation": "sigmoid", "activation": "relu", "dropout_U": 0.5}
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "1.1.0"
        file.attrs["model_config"] = json.dumps(made.model([{"class_name": "GRU", "config": said}]))
        made.write_keras_1(file.create_group("model_weights"), layer)
    assert check(path, layer, layer.output(X, 2)) == 0, capsys.readouterr()
    assert "has recurrent_dropout 0.5, which acts only in training" in capsys.readouterr().err


@pytest.mark.each_value_once
@pytest.mark.parametrize(("version", "major"), [("2.1.5", 2), ("2.2.4-tf", 2), ("2.3.0", 0), ("3.1.0", 0), (None, 0)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_alone_have_the_gates_of_their_version(
    tmp_path: Path, capsys: Any, cell: str, version: str | None, major: int
):
    layer, path = Layer(cell, "one", HARD if major else {}), tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        if version:
            file.attrs["keras_version"] = version
        made.write_named(file, layer)
    assert check(path, layer, layer.output(X, 2)) == 0, capsys.readouterr()
    said = capsys.readouterr().err
    gates = "hard_sigmoid, false, the default before Keras 2.3" if major else "sigmoid, false\n"
    assert f"recurrent_activation, go_backwards; assuming tanh, {gates}" in said
    assert ("sigmoid in TensorFlow 2.0 and 2.1, which also report 2.2.4" in said) == (version == "2.2.4-tf")
    assert ("; change it with --activations\n" in said) == bool(major)
    layer.config = {}
    other = ["--activations", "sigmoid,tanh" + (",tanh" if cell == "lstm" else "")]
    assert check(path, layer, layer.output(X, 2), *other) == 0, capsys.readouterr()
    assert "recurrent_activation" not in capsys.readouterr().err


def network(*entries: dict[str, Any], kind: str = "Sequential") -> dict[str, Any]:
    return made.model(list(entries), kind)


def steps(name: str, cell: str = "lstm", **config: Any) -> dict[str, Any]:
    return Layer(cell, name, {"return_sequences": True, **config}).entry()


def reads(entry: dict[str, Any], *names: str, keras: int = 2) -> dict[str, Any]:
    """The entry in a functional model, with the layers that it reads."""
    history = [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}} for name in names]
    nodes = [[[name, 0, 0, {}] for name in names]] if keras == 2 else [{"args": history, "kwargs": {}}]
    return entry | {"inbound_nodes": nodes}


DROP = {"class_name": "Dropout", "config": {"name": "drop", "rate": 0.5}}
DENSE = {"class_name": "Dense", "config": {"name": "dense", "units": 4}}
WHO_READS_WHOM: dict[str, tuple[dict[str, Any], str]] = {
    "the layer before": (network(steps("a"), steps("b")), "a"),
    "through dropout": (network(steps("a"), DROP, steps("b")), "a"),
    "not through a layer of weights": (network(steps("a"), DENSE, steps("b")), ""),
    "not the last step alone": (network(steps("a", return_sequences=False), steps("b")), ""),
    "not backwards": (network(steps("a", go_backwards=True), steps("b")), ""),
    "Keras 2's nodes": (network(reads(steps("b"), "a"), reads(steps("a")), kind="Model"), ""),
    "Keras 2's nodes in order": (
        network(reads(steps("a")), reads(DENSE, "a"), reads(steps("b"), "a"), kind="Model"),
        "a",
    ),
    "Keras 3's nodes": (network(steps("a"), DENSE, reads(steps("b"), "a", keras=3), kind="Functional"), "a"),
    "two inputs": (network(steps("a"), reads(steps("b"), "a", "dense", keras=3), kind="Functional"), ""),
}


@pytest.mark.parametrize(("config", "lower"), WHO_READS_WHOM.values(), ids=WHO_READS_WHOM.keys())
def test_who_reads_whose_output(tmp_path: Path, config: dict[str, Any], lower: str):
    from rnnspect.weights import readers

    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.4.0"
        file.attrs["model_config"] = json.dumps(config)
        for name in "ab":
            made.write_named(file.create_group(f"model_weights/{name}"), Layer("lstm", name, inputs=made.UNITS))
    modules = readers.modules_in(path, {})
    assert modules["b"].tell().reads_from == lower
    assert modules["a"].tell().reads_from == ""


def test_a_file_without_a_recurrent_layer_says_what_is_in_it(tmp_path: Path, capsys: Any):
    path = tmp_path / "m.h5"
    conv = {"class_name": "Conv2D", "config": {"name": "conv"}}
    with h5py.File(path, "w") as file:
        file["model_weights/conv_1/conv_1/kernel:0"] = np.zeros((3, 3, 1, 2))
        file["model_weights/dense/kernel:0"] = np.zeros((3, 2))
    for kinds in ("conv, dense", "Conv2D, Dense"):
        assert main(["shapes", str(path)]) == 2
        found = f"error: {path}: this Keras file has no LSTM, GRU or SimpleRNN layer; its layers: {kinds}\n"
        assert capsys.readouterr().err.startswith(found)
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(network(conv, network(DENSE, conv)))


def test_a_config_longer_than_an_attribute_of_old_may_be(tmp_path: Path, capsys: Any):
    """Beyond 64 kB the text lies in a heap of the file's own."""
    path = tmp_path / "m.h5"
    layer = Layer("lstm", "one", {"about": "x" * 300_000})
    assert check(made.keras_2(path, [layer]), layer, layer.output(X)) == 0, capsys.readouterr()


def test_an_engine_that_can_run_it_is_taken(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    """Keras itself knows no other functions here, whether it is installed or not; ONNX Runtime does."""
    layer = Layer("lstm", "one", HARD)
    path = made.keras_2(tmp_path / "m.h5", [layer])
    for command in ("check", "trace"):
        assert main([command, str(path)]) == 0, capsys.readouterr()
        assert "onnxruntime" in capsys.readouterr().out
    assert main(["check", str(path), "--dtype", "float64"]) == 2
    assert "onnxruntime cannot run float64" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "rnnspect.engines.onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["check", str(path)]) == 2
    assert "onnxruntime is not installed; run pip install 'rnnspect[onnxruntime]'" in capsys.readouterr().err
    assert check(path, layer, layer.output(X, 2)) == 0, "what was recorded takes no engine"
    capsys.readouterr()
    assert main(["trace", str(path), "-o", str(tmp_path / "run.npz")]) == 0
    with np.load(tmp_path / "run.npz") as kept:
        assert {"l0.forward.h", "manual.output", "manual.h_n"} <= set(kept)
        assert not any("engine" in name for name in kept)
    assert main(["trace", str(path)]) == 0
    shown = capsys.readouterr().out
    assert (
        "only the equations were computed: no engine here can run this network: " in shown,
        "difference" in shown,
    ) == (True, False)
    assert "equations only, nothing to compare with" in shown
    assert main(["trace", str(path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"]["engine"] is None
    assert main(["derive", str(path), "--step", "1", "--unit", "0"]) == 0
    assert main(["report", str(path), "-o", str(tmp_path / "run.html")]) == 0
    assert (
        "cannot tell whether an engine matches this LSTM: only the equations were computed" in capsys.readouterr().err
    )
    given = ["--input", str(tmp_path / "x.npy"), "--recorded", str(tmp_path / "out.npy")]
    assert main(["report", str(path), *given, "-o", str(tmp_path / "given.html")]) == 0
    assert "agree: out.npy matches this LSTM" in capsys.readouterr().err


def test_another_hdf5_file_is_read_by_its_names(tmp_path: Path, capsys: Any):
    """PyTorch's parameters in HDF5, and some under names that only the user knows."""
    path, drawn = tmp_path / "m.h5", np.random.default_rng(0)
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            file[f"encoder.{name}"] = drawn.normal(size=shape).astype(np.float32)
            file[f"other/{name[:9]}"] = drawn.normal(size=shape).astype(np.float32)
    assert main(["check", str(path), "--module", "encoder"]) == 0, capsys.readouterr()
    names = ",".join(f"{name}=other/{name[:9]}" for name in shapes)
    assert main(["check", str(path), "--names", names]) == 0, capsys.readouterr()
    with h5py.File(path, "w") as file:
        file["table"] = np.zeros((2, 3))
    assert main(["shapes", str(path)]) == 2
    assert "no recurrent parameters found" in capsys.readouterr().err
