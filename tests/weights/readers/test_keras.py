"""Keras files that h5py alone wrote, through the command line: what is read is what Keras' equations compute."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from rnnspect.cli import main
from rnnspect.weights.readers.keras_layer import read_layer
from tests.marks import sampled
from tests.weights.readers import keras_files as made
from tests.weights.readers.keras_files import Layer

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(3).normal(0, 1, (2, 7, made.INPUTS)).astype(np.float32)
LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("lstm", {}),
    "LSTM without bias": ("lstm", {"use_bias": False}),
    "LSTM relu": ("lstm", {"activation": "relu"}),
    "LSTM hard_sigmoid": ("lstm", {"recurrent_activation": "hard_sigmoid"}),
    "GRU after": ("gru", {"reset_after": True}),
    "GRU before": ("gru", {"reset_after": False}),
    "GRU after without bias": ("gru", {"reset_after": True, "use_bias": False}),
    "GRU before without bias": ("gru", {"reset_after": False, "use_bias": False}),
    "GRU softsign": ("gru", {"reset_after": True, "activation": "softsign", "recurrent_activation": "hard_sigmoid"}),
    "SimpleRNN": ("rnn", {}),
    "SimpleRNN relu": ("rnn", {"activation": "relu"}),
    **{f"SimpleRNN {name}": ("rnn", {"activation": name}) for name in ("linear", "elu", "softplus", "leaky_relu")},
    "LSTM that goes backwards": ("lstm", {"go_backwards": True}),
}


def check(path: Path, layer: Layer, output: np.ndarray, *argv: str) -> int:
    """Whether a recorded output is that of the layer in the file. Exit status 0: it agrees in float32, whose bound is
    the checker's; the loops run in float64 and are rounded once, which is less than that."""
    folder = path.parent
    np.save(folder / "x.npy", X)
    np.save(folder / "out.npy", output.astype(np.float32))
    return main(["check", str(path), "--input", str(folder / "x.npy"), "--recorded", str(folder / "out.npy"), *argv])


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("bidirectional", [False, True], ids=["", "Bidirectional"])
@pytest.mark.parametrize(("cell", "config"), sampled(LAYERS.values(), 40), ids=LAYERS.keys())
@pytest.mark.parametrize("major", [2, 3])
def test_the_equations_of_keras(
    tmp_path: Path, capsys: Any, major: int, cell: str, config: dict[str, Any], bidirectional: bool
):
    layer = Layer(cell, "one", config, bidirectional and "go_backwards" not in config)
    path = made.keras_2(tmp_path / "m.h5", [layer]) if major == 2 else made.keras_3(tmp_path / "m.keras", [layer])
    right = layer.output(X, major)
    assert check(path, layer, right) == 0, capsys.readouterr()
    for weights in layer.weights:
        weights[1][:] = np.roll(weights[1], 1, axis=1)
    assert check(path, layer, layer.output(X, major)) == 1


@pytest.mark.usefixtures("no_causes")
def test_what_two_versions_call_hard_sigmoid(tmp_path: Path, capsys: Any):
    """The same layer, the same weights: x/5 in Keras 2, x/6 in Keras 3."""
    layer = Layer("lstm", "one", {"recurrent_activation": "hard_sigmoid"})
    old = made.keras_2(tmp_path / "m.h5", [layer])
    assert check(old, layer, layer.output(X, 2)) == 0
    assert "hard_sigmoid as in Keras 2, 0.2 x + 0.5; Keras 3 would compute x/6 + 0.5" in capsys.readouterr().err
    assert check(old, layer, layer.output(X, 3)) == 1
    assert check(made.keras_2(tmp_path / "n.h5", [layer], "3.15.1"), layer, layer.output(X, 3)) == 0
    missing = Layer("lstm", "one", {"recurrent_activation": "hard_sigmoid"})
    entry = missing.entry
    missing.entry = lambda: without(entry(), "recurrent_activation")  # type: ignore[method-assign]
    older = made.keras_2(tmp_path / "o.h5", [missing], "2.2.4-tf")
    assert check(older, missing, layer.output(X, 2)) == 0, "before 2.3 it was what was taken"


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return entry | {"config": {name: value for name, value in entry["config"].items() if name != key}}


STACK = [
    Layer("lstm", "lower", seed=1),
    Layer("gru", "both", {"reset_after": True}, True, made.UNITS, seed=2),
    Layer("lstm", "upper", {}, False, 2 * made.UNITS, seed=3),
]


@pytest.mark.parametrize("form", ["keras", "deflated", "h5", "hdf5"])
def test_the_layers_of_a_stack_are_modules(tmp_path: Path, capsys: Any, form: str):
    path = tmp_path / f"m.{'keras' if form == 'deflated' else form}"
    if path.suffix == ".keras":
        made.keras_3(path, STACK, zipfile.ZIP_DEFLATED if form == "deflated" else zipfile.ZIP_STORED)
    else:
        made.keras_2(path, STACK)
    assert check(path, STACK[0], STACK[0].output(X), "--module", "lower") == 0
    capsys.readouterr()
    assert main(["shapes", str(path), "--module", "both", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["module"] == "GRU(4, 4, batch_first=True, bidirectional=True)"
    assert main(["shapes", str(path), "--format", "json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["lower", "both", "upper"]
    assert main(["shapes", str(path), "--module", "uper"]) == 2
    assert capsys.readouterr().err.endswith("did you mean 'upper'?\n")


def nested_3(path: Path) -> Path:
    """Sequential in a functional model, beside a layer of the same name and one of a wrapper."""
    inner = made.model([layer.entry() for layer in STACK])
    inner["config"]["name"] = "encoder"
    wrapped = {"class_name": "TimeDistributed", "config": {"name": "each", "layer": STACK[0].entry()}}
    config = made.model([inner, STACK[0].entry(), wrapped], "Functional")
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        made.write_vars(file, STACK[0], "layers/sequential/layers/lstm")
        made.write_vars(file, STACK[1], "layers/sequential/layers/bidirectional")
        made.write_vars(file, STACK[2], "layers/sequential/layers/lstm_1")
        made.write_vars(file, Layer("lstm", "lower", seed=9), "layers/lstm")
        made.write_vars(file, STACK[0], "layers/time_distributed/layer")
        file["optimizer/vars/0"] = np.zeros(3)
    return made.zipped(path, json.dumps(config), memory.getvalue())


def nested_2(path: Path) -> Path:
    inner = made.model([layer.entry() for layer in STACK])
    inner["config"]["name"] = "encoder"
    config = made.model([inner, STACK[0].entry()], "Functional")
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"
        encoder = file.create_group("model_weights/encoder")
        for layer in STACK:
            made.write_named(encoder, layer)
        made.write_named(file.create_group("model_weights/lower"), Layer("lstm", "lower", seed=9))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("write", [nested_2, nested_3])
def test_nested_models(tmp_path: Path, capsys: Any, write: Any):
    path = write(tmp_path / ("m.keras" if write is nested_3 else "m.h5"))
    outside = Layer("lstm", "lower", seed=9)
    assert check(path, STACK[0], STACK[0].output(X), "--module", "encoder/lower") == 0
    assert check(path, outside, outside.output(X), "--module", "lower") == 0
    assert check(path, outside, outside.output(X), "--module", "encoder/lower") == 1
    assert main(["shapes", str(path), "--module", "encoder/upper"]) == 0
    if write is nested_3:
        assert check(path, STACK[0], STACK[0].output(X), "--module", "each/lower") == 0


@pytest.mark.parametrize("names", [True, False])
def test_weights_alone(tmp_path: Path, capsys: Any, names: bool):
    """No config: what shapes allow, and what was taken is said. Older files have no names of layers either."""
    path = tmp_path / "m.weights.h5"
    before, bare = Layer("gru", "old"), Layer("gru", "bare", {"use_bias": False, "reset_after": True})
    with h5py.File(path, "w") as file:
        made.write_vars(file, STACK[0], "layers/lstm", names)
        made.write_vars(file, STACK[1], "layers/bidirectional", names)
        made.write_vars(file, before, "layers/gru", names)
        made.write_vars(file, bare, "_layer_checkpoint_dependencies/gru_1", names)
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = np.ones((4, 4)), np.ones(4)
    known = ["lower", "both", "old", "bare"] if names else ["lstm", "bidirectional", "gru", "gru_1"]
    for layer, name in zip([STACK[0], None, before, bare], known, strict=True):
        if layer:
            assert check(path, layer, layer.output(X), "--module", name) == 0
    err = capsys.readouterr().err
    assert f"{path}:{known[0]} does not store activation, recurrent_activation, go_backwards; assuming tanh" in err
    assert f"{path}:{known[3]} does not store activation, recurrent_activation, go_backwards, reset_after; " in err
    assert main(["shapes", str(path), "--module", known[1]]) == 0
    shown = capsys.readouterr()
    assert shown.err == (
        f"note: {path}:{known[1]} does not store activation, recurrent_activation; assuming tanh, sigmoid\n"
    )
    assert "bidirectional=True" in shown.out
    assert main(["shapes", str(path), "--module", known[2], "--format", "json"]) == 0
    assert "reset=before" in json.loads(capsys.readouterr().out)["module"]


def test_weights_alone_as_keras_2_wrote_them(tmp_path: Path, capsys: Any):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        for layer in STACK[:2]:
            made.write_named(file.create_group(layer.name), layer)
    assert check(path, STACK[0], STACK[0].output(X), "--module", "lower") == 0
    assert main(["shapes", str(path), "--module", "both"]) == 0
    assert "bidirectional=True" in capsys.readouterr().out


def test_a_custom_model_is_read_by_shapes(tmp_path: Path, capsys: Any):
    """A model of somebody's own class has no layers in its config, and its weights under its attributes."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        made.write_vars(file, STACK[0], "encoder")
    config = {"module": "mine", "class_name": "Mine", "config": {}, "registered_name": "Mine"}
    path = made.zipped(tmp_path / "m.keras", json.dumps(config), memory.getvalue())
    assert check(path, STACK[0], STACK[0].output(X)) == 0
    assert "does not store activation" in capsys.readouterr().err


@pytest.mark.parametrize("of_both", [False, True])
def test_each_direction_of_a_bidirectional_has_functions_of_its_own(of_both: bool):
    forward, backward = ({"class_name": "LSTM", "config": {"units": 4, "activation": name}} for name in ("elu", "relu"))
    first = backward if of_both else forward
    keys = read_layer(("both",), "", first, {"layer": first, "backward_layer": backward}, (3,)).keys
    assert keys["bidirectional"]
    relu = ["sigmoid", "relu", "relu"]
    assert keys["activations"] == (relu if of_both else ["sigmoid", "elu", "elu", *relu])


def entry(**config: Any) -> dict[str, Any]:
    return Layer("lstm", "one", config).entry()


BOTH = Layer("lstm", "one", {}, True).entry()
BACK = {"class_name": "LSTM", "config": {"units": 5, "use_bias": True}}
REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "gelu": (
        entry(activation="gelu"),
        "unsupported activation gelu; a cell of your own can have it: rnnspect init --cell mine.py",
    ),
    "own function": (
        entry(activation={"class_name": "function", "module": "builtins", "config": "mine", "registered_name": "mine"}),
        "unsupported activation mine",
    ),
    "own class": (entry() | {"module": "mine.layers"}, "LSTM is a class of mine.layers, not of Keras"),
    "convolution": ({"class_name": "ConvLSTM2D", "config": {"name": "one"}}, "computes convolutions"),
    "stacked cells": (
        {"class_name": "RNN", "config": {"name": "one", "cell": {"class_name": "StackedRNNCells", "config": {}}}},
        "the cell of its RNN is StackedRNNCells",
    ),
    "two sizes": (
        BOTH | {"config": BOTH["config"] | {"backward_layer": BACK}},
        "its two directions differ in units",
    ),
    "backwards first": (
        Layer("lstm", "one", {"go_backwards": True}, True).entry(),
        "its forward layer has go_backwards=True",
    ),
    "units of text": (entry(units="many"), "units is 'many'"),
    "no weights": (entry() | {"config": {"name": "two", "units": 4}}, "its weights are not where its config says"),
}


@pytest.mark.parametrize(("said", "reason"), REASONS.values(), ids=REASONS.keys())
def test_what_a_spec_cannot_say_is_said(tmp_path: Path, capsys: Any, said: dict[str, Any], reason: str):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(made.model([said]))
        made.write_named(file.create_group("model_weights/one"), Layer("lstm", "one"))
    name = "two" if reason.startswith("its weights") else "one"
    assert main(["shapes", str(path), "--module", name]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith(f"error: {path}:{name}: ")
    assert reason in shown.err


@pytest.mark.parametrize(
    ("config", "note"),
    [
        (
            {"dropout": 0.2, "recurrent_dropout": 0.1},
            "has dropout 0.2 and recurrent_dropout 0.1, which acts only in training",
        ),
        ({"stateful": True}, "is stateful: Keras carries the state from batch to batch"),
        ({"go_backwards": True}, "has go_backwards=True and returns its last step first"),
        ({"unit_forget_bias": True, "return_sequences": False, "unroll": True}, None),
    ],
)
def test_what_keras_does_beside_the_equations_is_noted(
    tmp_path: Path, capsys: Any, config: dict[str, Any], note: str | None
):
    path = made.keras_3(tmp_path / "m.keras", [Layer("lstm", "one", config)])
    assert main(["shapes", str(path)]) == 0
    err = capsys.readouterr().err
    assert err.startswith(f"note: {path}:one {note}") if note else err == ""


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"units": 5}, "hidden_size is 5 in its config and 4 in its weights"),
        ({"use_bias": False}, "bias is False in its config and True in its weights"),
    ],
)
def test_a_config_beside_other_weights(tmp_path: Path, capsys: Any, config: dict[str, Any], found: str):
    layer = Layer("lstm", "one")
    layer.config = config
    assert main(["shapes", str(made.keras_3(tmp_path / "m.keras", [layer]))]) == 2
    assert found in capsys.readouterr().err


@pytest.mark.parametrize("write", [made.keras_3, made.keras_2], ids=["3", "2"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"])
def test_a_policy_says_in_what_it_runs(tmp_path: Path, capsys: Any, write: Any, policy: str):
    """Also one whose weights are stored in float32; --dtype goes before."""
    said = policy if write is made.keras_2 else {"class_name": "DTypePolicy", "config": {"name": policy}}
    path = write(tmp_path / ("m.keras" if write is made.keras_3 else "m.h5"), [Layer("lstm", "one", {"dtype": said})])
    half = policy.removeprefix("mixed_")
    for asked, dtype, note in (
        ([], half, f", so it runs in {half}; --dtype chooses another"),
        (["--dtype", "float32"], "float32", "; here it runs in float32, as --dtype says"),
        (["--dtype", half], half, None),
    ):
        assert main(["shapes", str(path), *asked, "--format", "json"]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["spec"]["dtype"] == dtype
        assert shown.err == (f"note: {path}:one has the dtype policy {policy}{note}\n" if note else "")


def test_a_policy_rounds_no_weights_that_are_converted(tmp_path: Path, capsys: Any):
    path = made.keras_3(tmp_path / "m.keras", [Layer("lstm", "one", {"dtype": "mixed_bfloat16"})])
    assert main(["convert", str(path), "--to", "pytorch", "-o", str(tmp_path / "m.safetensors")]) == 0
    assert "dtype policy" not in capsys.readouterr().err
    assert main(["shapes", str(tmp_path / "m.safetensors"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["dtype"] == "float32"


def test_flags_beside_a_file(tmp_path: Path, capsys: Any):
    path = made.keras_3(tmp_path / "m.keras", [Layer("lstm", "one")])
    assert main(["shapes", str(path), "--hidden-size", "8"]) == 2
    assert f"--hidden-size: 8, but {path}:one has 4" in capsys.readouterr().err
    assert main(["shapes", str(path), "--layout", "onnx"]) == 2
    assert f"--layout: onnx, but {path}:one has keras" in capsys.readouterr().err
    assert main(["shapes", str(path), "--dtype", "float64", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["dtype"] == "float64"


def test_as_the_weights_of_a_spec(tmp_path: Path, capsys: Any):
    """`weights: m.keras:lower`; the two forms of a GRU have the same shapes and are told apart."""
    path = made.keras_3(tmp_path / "m.keras", [STACK[0], Layer("gru", "old", {"reset_after": False})])
    shape = ["--input-size", "3", "--hidden-size", "4", "--weights"]
    assert main(["check", "--cell", "lstm", *shape, f"{path}:lower"]) == 0
    assert main(["check", "--cell", "gru", *shape, f"{path}:old"]) == 2
    assert (
        f"{path}:old: this GRU applies the reset gate before the matrix product; use reset: before"
        in capsys.readouterr().err
    )


def test_bfloat16(tmp_path: Path, capsys: Any):
    """Keras writes its two bytes as opaque, with an attribute that says what they are."""
    layer, memory = Layer("lstm", "one"), io.BytesIO()
    with h5py.File(memory, "w") as file:
        for at, values in enumerate(layer.weights[0]):
            upper = (values.view(np.uint32) >> 16).astype(np.uint16)
            place = file.create_dataset(f"layers/lstm/cell/vars/{at}", data=upper.view("V2"))
            place.attrs["dtype"] = "bfloat16"
            values[:] = (upper.astype(np.uint32) << 16).view(np.float32)
    config = json.dumps(made.model([layer.entry()]))
    path = made.zipped(tmp_path / "m.keras", config, memory.getvalue())
    assert main(["shapes", str(path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["dtype"] == "bfloat16"
    assert check(path, layer, layer.output(X), "--dtype", "float32") == 0


def test_big_endian(tmp_path: Path):
    layer = Layer("lstm", "one")
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        for at, values in enumerate(layer.weights[0]):
            file.create_dataset(f"layers/lstm/cell/vars/{at}", data=values.astype(">f4"), compression="gzip")
    assert check(path, layer, layer.output(X)) == 0


def test_shapes_loads_no_torch_and_no_keras(tmp_path: Path):
    path = made.keras_3(tmp_path / "m.keras", [Layer("lstm", "one")])
    code = (
        "import sys; from rnnspect.cli import main; main(sys.argv[1:]); "
        "print(sorted({'torch', 'keras', 'pickle5'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code, "shapes", str(path)], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "[]\n")
