"""Initial states and lengths that a file holds are not used by themselves: a note says so, and how to give them."""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.weights.readers.coreml_files import FOLDER, INPUTS, UNITS, floats, layer, one_matrix, plain_layer
from tests.weights.readers.test_mobile_hostile import MODEL, WEIGHTS, model
from tests.wire_format import field, varint

if TYPE_CHECKING:
    from pathlib import Path

SAID = "starts from a state in the file that is not zero; here it starts from zeros unless you give --h0"
STEPS, BATCH = 6, 2
LSTM = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c")


def node(path: Path, how: str = "held", **given: np.ndarray) -> None:
    """An LSTM node of ONNX with initial states or lengths that are constants; "spread": over the batch."""
    onnx = pytest.importorskip("onnx", reason="skipped: onnx is not installed")
    helper, draw = onnx.helper, np.random.default_rng(0)
    shapes = {"W": (1, 4 * UNITS, INPUTS), "R": (1, 4 * UNITS, UNITS), "B": (1, 8 * UNITS)}
    arrays = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} | given
    nodes = []
    if how == "spread":
        arrays["one"] = arrays.pop("initial_h")[:, :1]
        arrays["shape"] = np.array([1, BATCH, UNITS])
        nodes = [helper.make_node("Expand", ["one", "shape"], ["initial_h"])]
    inputs = [name if name == "X" or name in {*shapes, *given} else "" for name in LSTM]
    nodes.append(helper.make_node("LSTM", inputs, ["Y"], name="rnn", hidden_size=UNITS))
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in (("X", [STEPS, BATCH, INPUTS]), ("Y", None))
    ]
    held = [onnx.numpy_helper.from_array(values, name) for name, values in arrays.items()]
    graph = helper.make_graph(nodes, "g", *ends, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


ONES, ZEROS = (np.full((1, BATCH, UNITS), value, np.float32) for value in (1, 0))
NODES: dict[str, tuple[dict[str, Any], str]] = {
    "h": ({"initial_h": ONES}, f"{SAID}\n"),
    "c": ({"initial_h": ZEROS, "initial_c": ONES}, f"{SAID.replace('h0', 'c0')}\n"),
    "both": ({"initial_h": ONES, "initial_c": ONES}, f"{SAID} and --c0\n"),
    "spread": ({"initial_h": ONES, "how": "spread"}, f"{SAID}\n"),
    "lengths": ({"sequence_lens": np.array([6, 4], np.int32)}, "unless you give --lengths 6,4\n"),
    "zeros": ({"initial_h": ZEROS, "initial_c": ZEROS}, ""),
}


@pytest.mark.parametrize(("given", "said"), NODES.values(), ids=NODES)
def test_a_node_that_starts_elsewhere(rnnspect, tmp_path: Path, given: dict[str, Any], said: str):
    node(tmp_path / "m.onnx", **given)
    result = rnnspect("shapes", tmp_path / "m.onnx")
    assert result.status == 0, result.err
    assert (f"note: {tmp_path}/m.onnx:rnn " in result.err) == bool(said)
    assert said in result.err


def test_what_is_given_needs_no_note(rnnspect, tmp_path: Path):
    """Nor does a run of the whole model."""
    node(tmp_path / "m.onnx", initial_h=ONES)
    np.save(tmp_path / "h0.npy", ONES)
    size = ("--input", "randn:6", "--batch", str(BATCH))
    result = rnnspect("run", tmp_path / "m.onnx", "--h0", tmp_path / "h0.npy", *size, "--no-batch-first")
    assert (result.status, SAID in result.err) == (0, False), result.err
    pytest.importorskip("onnxruntime", reason="skipped: onnxruntime is not installed")
    result = rnnspect("trace", tmp_path / "m.onnx", "--input", "X=randn")
    assert (result.status, SAID in result.err) == (0, False), result.err


def test_the_network_of_a_converted_file_says_it_too(rnnspect, tmp_path: Path):
    onnx = pytest.importorskip("onnx", reason="skipped: onnx is not installed")
    path = tmp_path / "m.onnx"
    assert rnnspect("convert", "--cell", "gru", "--to", "onnx", "-o", path).status == 0
    made = onnx.load(path)
    (gru,) = (one for one in made.graph.node if one.op_type == "GRU")
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 1, 2), np.float32), "held"))
    gru.input[5] = "held"
    onnx.save(made, path)
    result = rnnspect("shapes", path)
    assert result.status == 0, result.err
    assert SAID in result.err


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("copied", [False, True])
def test_a_layer_of_core_ml_that_starts_elsewhere(rnnspect, tmp_path: Path, value: float, copied: bool):
    """A simpleRecurrent layer whose second input is a constant, perhaps with further axes of size 1."""

    held = varint(8) + varint(UNITS) + field(2, floats(np.full(UNITS, value)))
    layers = layer("h0", [], "h0", 1070, held)
    layers += layer("wide", ["h0"], "wide", 1125, field(1, bytes([3, 4]))) if copied else b""
    layers += plain_layer("rnn", ["x", "wide" if copied else "h0"], "y", one_matrix(("only",)))
    (tmp_path / "m.mlmodel").write_bytes(model(500, layers))
    result = rnnspect("shapes", tmp_path / "m.mlmodel")
    assert result.status == 0, result.err
    assert (SAID in result.err) == bool(value)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("inside", [True, False])
def test_an_operator_of_core_ml_that_starts_elsewhere(rnnspect, tmp_path: Path, value: float, inside: bool):
    """A program whose initial h, in the program or in its file of weights, is changed."""
    path = tmp_path / "m.mlpackage"
    shutil.copytree(FOLDER / ("rnn.mlpackage" if inside else "lstm.mlpackage"), path)
    data, weights = bytearray((path / MODEL).read_bytes()), bytearray((path / WEIGHTS).read_bytes())
    after = data.index(b"rnn_initial_h_0")
    if inside:
        struct.pack_into("<f", data, data.index(bytes(4 * BATCH * UNITS), after) + 4, value)
    else:
        name = b"@model_path/weights/weight.bin\x10"  # and then the place, a number of one byte or two
        at = data.index(name, after) + len(name)
        place = data[at] if data[at] < 128 else (data[at] & 127) + (data[at + 1] << 7)
        (start,) = struct.unpack_from("<Q", weights, place + 16)
        struct.pack_into("<f", weights, start + 4, value)
    (path / MODEL).write_bytes(data)
    (path / WEIGHTS).write_bytes(weights)
    result = rnnspect("shapes", path)
    assert result.status == 0, result.err
    assert (SAID in result.err) == bool(value)
