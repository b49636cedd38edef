"""rnnspect layouts, and files in other frameworks' layouts as the source of a command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rnnspect.network.parameters import LayerParameters
from rnnspect.weights import layouts
from rnnspect.weights.layouts.packing import pack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The command


def test_all_of_them(rnnspect):
    result = rnnspect("layouts")
    assert result.status == 0
    assert all(name in result.out for name in layouts.names())
    assert " onnx              i o f g  fused           out×in     two, joined\n" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    document = json.loads(rnnspect("layouts", "--format", "json").out)
    assert (document["format"], document["version"]) == ("rnnspect.layouts", 1)
    assert [layout["name"] for layout in document["layouts"]] == layouts.names()


def test_one_of_them(rnnspect):
    out = rnnspect("layouts", "haiku").out
    assert " linear/w  W_ii W_ig W_if W_io ; W_hi W_hg W_hf W_ho\n" in out
    assert "adds 1 to the forget gate's bias at run time (not stored)" in out
    assert "Haiku has no GRU with reset after the matrix product" in out


@pytest.mark.parametrize("columns", ["80", "200"])
def test_two_side_by_side(rnnspect, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    result = rnnspect("layouts", "onnx", "keras")
    assert "  1. gates: i o f g → i f g o: put the blocks of H rows in the order 0, 2, 3, 1\n" in result.out
    assert max(map(len, result.out.splitlines())) <= int(columns)
    steps = json.loads(rnnspect("layouts", "onnx", "keras", "--format", "json").out)["steps"]
    assert list(steps) == ["rnn", "lstm", "gru", "gru-before"]


def test_a_name_that_there_is_not(rnnspect):
    result = rnnspect("layouts", "kears")
    assert (result.status, result.out) == (2, "")
    assert result.err == "error: layouts: unknown layout 'kears'; did you mean 'keras'?\n"
    for name in ("xyzzy", "nope"):
        assert rnnspect("layouts", name).err.startswith(f"error: layouts: unknown layout {name!r}; expected burn, ")
    assert rnnspect("layouts", "onnx", "keras", "mlx").err == "error: layouts: 3 names; expected none, one or two\n"


# Files


def drawn(gates: int, width: int, *, hidden: int = 5, seed: int = 0) -> LayerParameters:
    made = torch.Generator().manual_seed(seed)
    rows = gates * hidden
    shapes = [(rows, width), (rows, hidden), (rows,), (rows,)]
    return LayerParameters(*(torch.randn(*shape, generator=made) for shape in shapes), None)


def packed(name: str, form: str, p: LayerParameters, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in pack(layouts.find(name), form, p).items()}


def save(path: Path, arrays: Mapping[str, torch.Tensor]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in arrays.items()})
    elif path.suffix == ".safetensors":
        save_file(dict(arrays), path)
    else:
        torch.save({"params": dict(arrays)}, path)
    return path


def output_of(rnnspect: Any, *argv: object) -> np.ndarray:
    result = rnnspect("run", *argv, "--input", "sine:4", "--format", "json", "-q")
    assert result.status == 0, result.err
    return np.array(json.loads(result.out)["output"], float)


def as_pytorch(tmp_path: Path, *directions: list[LayerParameters]) -> Path:
    """The same parameters in a file of PyTorch's names: what the numbers are held against."""
    arrays = {}
    for end, layers in zip(["", "_reverse"], directions, strict=False):
        for at, p in enumerate(layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                arrays[f"{name}_l{at}{end}"] = getattr(p, name)
    return save(tmp_path / "pytorch.npz", arrays)


FILES = [
    ("keras", "lstm", 4),
    ("keras", "rnn", 1),
    ("keras", "gru", 3),
    ("onnx", "lstm", 4),
    ("onnx", "gru", 3),
    ("flax-linen", "gru", 3),
    ("flax-nnx", "lstm", 4),
    ("equinox", "gru", 3),
    ("mlx", "lstm", 4),
    ("haiku", "lstm", 4),
    ("openvino", "gru", 3),
    ("tflite", "lstm", 4),
    ("tf1", "lstm", 4),
    ("burn", "gru", 3),
    ("cudnn", "lstm", 4),
    ("webnn", "lstm", 4),
]


@pytest.mark.each_value_once
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize("prefix", ["", "model/cell_7/"])
@pytest.mark.parametrize(("name", "form", "gates"), FILES)
def test_a_file_in_that_layout_runs_as_the_same_network(rnnspect, tmp_path, name, form, gates, prefix, suffix):
    p = drawn(gates, 3)
    path = save(tmp_path / f"x{suffix}", packed(name, form, p, prefix))
    found = output_of(rnnspect, path, "--layout", name)
    expected = output_of(rnnspect, as_pytorch(tmp_path, [p]))
    # One rounding of the sum of two biases (2⁻²⁴ of 4) through four steps of an h below 1.
    assert np.abs(found - expected).max() < 2e-6
    assert rnnspect("check", path, "--layout", name, "--input", "sine:4", "-q").status == 0


def test_a_stack_and_what_is_said_of_it(rnnspect, tmp_path):
    layers = [drawn(4, 3), drawn(4, 5, seed=1)]
    arrays = packed("keras", "lstm", layers[0], "lstm/lstm_cell/") | packed(
        "keras", "lstm", layers[1], "lstm_1/lstm_cell/"
    )
    path = save(tmp_path / "x.npz", arrays | {"dense/w": torch.ones(2)})
    result = rnnspect("shapes", path)
    assert "LSTM(3, 5, num_layers=2, batch_first=True)" in result.out
    assert result.err.splitlines() == [
        f"note: {path}:lstm/lstm_cell read as keras (keras.layers.LSTM): kernel = W_ii W_if W_ig W_io, "
        "recurrent_kernel = W_hi W_hf W_hg W_ho, bias = b_i b_f b_g b_o, 2 layers from 'lstm_1/lstm_cell'",
        f"note: {path}:lstm/lstm_cell does not store batch_first, dropout; assuming --batch-first --dropout 0",
        "note: ignored 1 unrelated tensor in the file",
    ]
    assert np.abs(output_of(rnnspect, path) - output_of(rnnspect, as_pytorch(tmp_path, layers))).max() < 2e-6
    one = rnnspect("shapes", path, "--module", "lstm_1/lstm_cell")
    assert "LSTM(5, 5, batch_first=True)" in one.out
    assert "LSTM(3, 5, batch_first=True)" in rnnspect("shapes", path, "--num-layers", "1").out


@pytest.mark.parametrize("between", ["lstm_1/kernel", "dense_1/kernel"])
def test_layers_that_another_of_their_count_stands_between_are_no_stack(rnnspect, tmp_path, between):
    """lstm_1 is some other layer, of which nobody knows what it does with what it takes from lstm_0."""
    arrays = packed("keras", "lstm", drawn(4, 5), "lstm_0/") | packed("keras", "lstm", drawn(4, 5, seed=1), "lstm_2/")
    path = save(tmp_path / "x.npz", arrays | {between: torch.ones(5, 5)})
    layers = "" if between.startswith("lstm") else "num_layers=2, "
    assert f"LSTM(5, 5, {layers}batch_first=True)" in rnnspect("shapes", path, "--module", "lstm_0").out


@pytest.mark.parametrize("name", ["onnx", "keras"])
def test_two_directions(rnnspect, tmp_path, name):
    both = [drawn(3, 3), drawn(3, 3, seed=1)]
    if name == "onnx":
        one, other = (packed(name, "gru", p) for p in both)
        arrays = {f"gru_{key}": torch.stack([one[key], other[key]]) for key in one}
    else:
        arrays = packed(name, "gru", both[0], "bi/forward_gru/") | packed(name, "gru", both[1], "bi/backward_gru/")
    path = save(tmp_path / "x.npz", arrays)
    expected = output_of(rnnspect, as_pytorch(tmp_path, *([p] for p in both)))
    assert np.abs(output_of(rnnspect, path, "--layout", name) - expected).max() < 2e-6


def test_one_onnx_direction_with_its_leading_axis(rnnspect, tmp_path):
    path = save(tmp_path / "x.npz", {key: value[None] for key, value in packed("onnx", "lstm", drawn(4, 3)).items()})
    assert "LSTM(3, 5, batch_first=True)" in rnnspect("shapes", path).out


def test_which_gru_is_said(rnnspect, tmp_path):
    path = save(tmp_path / "x.npz", packed("onnx", "gru", drawn(3, 3)))
    err = rnnspect("shapes", path, "--layout", "onnx").err
    assert (
        f"note: {path} does not store where the GRU applies its reset gate; "
        "assuming after the matrix product (--reset after)\n" in err
    )


def test_a_recurrent_kernel_is_no_kernel(rnnspect, tmp_path):
    """(4, 12) alone would be a stacked kernel of TensorFlow 1, of 3 units and 1 feature."""
    path = save(tmp_path / "x.npz", {"kernel": torch.ones(3, 12), "recurrent_kernel": torch.ones(4, 12)})
    result = rnnspect("shapes", path)
    assert "GRU(3, 4, bias=False, batch_first=True)" in result.out
    assert f"note: {path} read as keras (keras.layers.GRU, reset_after=True): kernel = " in result.err
    assert (
        "does not store where the GRU applies its reset gate; assuming after the matrix product (--reset after)"
        in result.err
    )


def test_a_gru_that_resets_before_is_never_read_as_one_that_resets_after(rnnspect, tmp_path):
    p = drawn(3, 3)
    path = save(tmp_path / "x.npz", packed("keras", "gru-before", p))
    result = rnnspect("shapes", path, "--format", "json", "-q")
    assert result.status == 0
    assert json.loads(result.out)["spec"]["reset"] == "before"
    assert rnnspect("check", path, "-i", "randn:5", "--engine", "onnxruntime", "-q").status == 0
    result = rnnspect("check", path, "-i", "randn:5")
    assert result.status == 2
    assert "torch.nn.GRU applies the reset gate after the matrix product; --engine onnxruntime" in result.err
    against = rnnspect("shapes", path, "--reset", "after")
    assert against.status == 2
    assert "--reset: after, but" in against.err


def test_where_arrays_do_not_tell_the_form_of_a_gru_a_flag_does(rnnspect, tmp_path):
    """ONNX packs both forms alike. The numbers are right only in the form that they were made for."""
    p = drawn(3, 3)
    path = save(tmp_path / "x.npz", packed("onnx", "gru-before", p))
    flags = ["--layout", "onnx", "--cell", "gru", "-i", "randn:5", "--h0", "randn"]
    made = tmp_path / "made.npz"
    result = rnnspect("run", path, *flags, "--reset", "before", "-o", made)
    assert (result.status, "note: only the equations were computed: torch.nn.GRU applies" in result.err) == (0, True)
    result = rnnspect("trace", path, *flags, "--reset", "before", "--engine", "onnxruntime", "-o", made)
    assert (result.status, "does not say whether the GRU resets" in result.err) == (0, False)
    recorded = {"output": torch.from_numpy(np.load(made)["engine.output"])}
    given = save(tmp_path / "given.npz", recorded)
    for reset, status in (("before", 0), ("after", 1)):
        assert rnnspect("check", path, *flags, "--reset", reset, "--recorded", given, "-q").status == status
    left_out = rnnspect("check", path, *flags, "--recorded", given)
    assert left_out.status == 1
    assert (
        "does not store where the GRU applies its reset gate; assuming after the matrix product (--reset after)"
        in left_out.err
    )


def test_several_layouts_fit(rnnspect, tmp_path):
    """Equinox and Core ML have the same names and shapes. (What they are not is PyTorch's cell without biases.)"""
    path = save(tmp_path / "x.npz", packed("equinox", "lstm", drawn(4, 3), "cell."))
    result = rnnspect("shapes", path)
    assert result.status == 2
    said = "the arrays fit several layouts: coreml, equinox; choose one with --layout"
    assert result.err == f"error: {path}:cell: {said}\n"


@pytest.mark.parametrize(
    ("arrays", "flags", "said"),
    [
        ({"a": (2, 2)}, ["--layout", "keras"], ": no parameters with the names of the layout keras; expected kernel, "),
        ({"a": (2, 2)}, [], ": no recurrent parameters found; expected names such as weight_ih"),
        (
            {"kernel": (3, 20), "recurrent_kernel": (5, 19)},
            ["--layout", "keras"],
            "recurrent_kernel (5, 19)",
        ),
        ({"kernel": (3, 20), "recurrent_kernel": (5, 20)}, ["--layout", "kears"], "unknown layout 'kears'"),
        ({"kernel": (3, 20), "recurrent_kernel": (5, 20)}, ["--module", "x"], "there is no module 'x'"),
        ({"kernel": (3, 20), "recurrent_kernel": (5, 20)}, ["--cell", "gru"], "--cell: gru, but "),
    ],
)
def test_files_that_do_not_fit(rnnspect, tmp_path, arrays, flags, said):
    path = save(tmp_path / "x.npz", {name: torch.ones(*shape) for name, shape in arrays.items()})
    result = rnnspect("shapes", path, *flags)
    assert (result.status, result.out) == (2, "")
    assert said in result.err
    assert len(result.err.splitlines()) == 1


def test_a_layout_in_a_spec_file(rnnspect, tmp_path):
    p = drawn(4, 3)
    save(tmp_path / "w.npz", packed("keras", "lstm", p))
    spec = tmp_path / "net.yaml"
    spec.write_text("cell: lstm\ninput_size: 3\nhidden_size: 5\nweights: w.npz\nlayout: keras\n")
    assert np.abs(output_of(rnnspect, spec) - output_of(rnnspect, as_pytorch(tmp_path, [p]))).max() < 2e-6
    spec.write_text("cell: lstm\nlayout: keras\n")
    assert (
        "layout says how a weights file is packed, and there is none; add weights: FILE" in rnnspect("shapes", spec).err
    )


def test_mixed_dtypes(rnnspect, tmp_path):
    arrays = packed("keras", "lstm", drawn(4, 3))
    path = save(tmp_path / "x.npz", arrays | {"bias": arrays["bias"].half()})
    assert "parameters of several dtypes: float32 and float16; choose one with --dtype" in rnnspect("shapes", path).err
    assert rnnspect("run", path, "--dtype", "float32", "-q").status == 0


def test_pytorch_beside_another_framework(rnnspect, tmp_path):
    """What reads as PyTorch goes on reading so; of the rest one has to say the layout."""
    arrays = packed("equinox", "lstm", drawn(4, 3), "cell.")
    path = save(
        tmp_path / "x.npz", arrays | {f"rnn.{key}": one for key, one in torch.nn.GRU(2, 4).state_dict().items()}
    )
    assert "GRU(2, 4, batch_first=True)" in rnnspect("shapes", path).out
    assert "LSTM(3, 5, batch_first=True)" in rnnspect("shapes", path, "--layout", "equinox", "-q").out
    said = rnnspect("shapes", path, "--layout", "pytorch", "--module", "cell").out
    assert "LSTM(3, 5, bias=False, batch_first=True)" in said
