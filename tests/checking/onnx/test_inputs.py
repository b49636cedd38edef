"""What --input says of a model's inputs by name, and what is drawn of those that it leaves out."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from rnnspect.checking.onnx.inputs import feeds_of
from rnnspect.cli import main
from rnnspect.errors import SequenceError
from rnnspect.weights.readers.onnx import parts_in
from rnnspect.weights.readers.onnx_rnn_nodes import spec_of
from tests import onnx_models as made

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 7
INT32 = onnx.TensorProto.INT32


def model(time: Any = "time", batch: Any = "batch") -> onnx.ModelProto:
    """Words through an embedding, and beside it numbers; lengths, a state, and a rate that nothing uses."""
    table = np.random.default_rng(1).normal(size=(ROWS, made.INPUTS)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["words"], ["places"], to=made.I64),
        helper.make_node("Gather", ["table", "places"], ["looked up"]),
        helper.make_node("Add", ["looked up", "beside"], ["x"]),
        helper.make_node("LSTM", ["x", "W", "R", "B", "lens", "h"], ["y"], name="the node", hidden_size=made.HIDDEN),
        helper.make_node("Identity", ["rate"], ["rate again"]),
    ]
    inputs = [
        made.value("words", INT32, [time, batch]),
        made.value("beside", made.F, [time, batch, made.INPUTS]),
        made.value("lens", INT32, [batch]),
        made.value("h", made.F, None),
        made.value("rate", made.I64, []),
    ]
    return made.model(nodes, {**made.weights("LSTM"), "table": table}, inputs)


def drawn(given: Any, one: onnx.ModelProto, batch: int | None = None) -> dict[str, np.ndarray]:
    layers = [(part, spec_of(part)) for part in parts_in(one, "m.onnx").values()]
    return next(feeds_of(one, given, layers, batch, 1)).arrays


def test_what_is_not_said_fits_what_is(tmp_path: Path):
    np.save(tmp_path / "w.npy", np.arange(30).reshape(10, 3) % ROWS)
    feed = drawn(f"words={tmp_path / 'w.npy'},rate=16000", model())
    assert {name: values.shape for name, values in feed.items()} == {
        "words": (10, 3), "beside": (10, 3, made.INPUTS), "lens": (3,), "h": (1, 3, made.HIDDEN), "rate": (),
    }  # fmt: skip
    assert (feed["rate"].item(), feed["rate"].dtype, feed["lens"].tolist()) == (16000, np.int64, [10, 10, 10])


def test_integers_are_below_the_rows_of_their_table():
    words = drawn("words=randint:200", model())["words"]
    assert (words.shape, words.dtype, words.min(), words.max()) == ((200, 1), np.int32, 0, ROWS - 1)
    assert drawn("words=randint:200:2", model())["words"].max() == 1
    assert drawn(None, model(), batch=50)["words"].max() == ROWS - 1


def test_generators_by_name_and_for_all():
    feed = drawn("beside=zeros,words=randn:5,lens=[4]", model())
    assert not feed["beside"].any()
    assert (feed["beside"].shape, feed["words"].shape, feed["lens"].tolist()) == ((5, 1, 3), (5, 1), [4])
    feed = drawn("zeros:6", model(), batch=2)
    assert (feed["beside"].shape, feed["beside"].any(), feed["lens"].tolist()) == ((6, 2, 3), np.False_, [6, 6])


def test_axes_without_names():
    """A graph that names no axis: those that the node takes are what it takes them for."""
    one = made.of_node("LSTM")
    for shape in ([None, None, None], None):
        one.graph.input[0].CopyFrom(made.value("x", made.F, shape))
        assert drawn("x=randn:9", one, batch=2)["x"].shape == (9, 2, made.INPUTS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("wordz=randn:3", "the model has no input 'wordz'; expected words int32 [time, batch], beside float"),
        ("words=sine:3", "sine cannot draw an input of a model; expected randn, randint, ones, zeros"),
        ("beside=[1, 2]", "beside has the shape (2,); expected beside float [time, batch, 3]"),
        ("words=nowhere.npy", "nowhere.npy: no such file"),
        ("words=-", "expected NAME=x.npy,NAME=randn:20"),
        ("beside=randn:99999999999", "drawing beside"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, capsys: Any, given: str, said: str):
    onnx.save(model(), tmp_path / "m.onnx")
    assert main(["check", str(tmp_path / "m.onnx"), "--input", given]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_what_cannot_be_drawn_is_named():
    one = model()
    one.graph.input.append(made.value("text", onnx.TensorProto.STRING, [1]))
    with pytest.raises(SequenceError, match=r"cannot draw numbers for the input text string \[1\].*--input text=x"):
        drawn("randn:3", one)
    one = model()
    one.graph.input[1].type.tensor_type.ClearField("shape")
    with pytest.raises(SequenceError, match=r"cannot draw numbers for the input beside float"):
        drawn(None, one)


def test_a_model_runs_on_what_was_said_and_a_note_says_what_was_drawn(tmp_path: Path, capsys: Any):
    onnx.save(model(), tmp_path / "m.onnx")
    np.savez(tmp_path / "w.npz", some=np.arange(30).reshape(10, 3) % ROWS)
    assert main(["check", str(tmp_path / "m.onnx"), "--input", f"words={tmp_path}/w.npz:some", "-f", "json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["verdict"], json.loads(out)["checked"]["values"]) == ("agree", 10 * 3 * made.HIDDEN)
    assert "not all inputs were given: drew beside float32 (10, 3, 3), lens int32 (3,), h float32" in err
    assert "(time = 10, batch = 3); give others with --input beside=x.npy" in err


@pytest.mark.parametrize("layout", [0, 1])
def test_a_node_is_traced_on_what_it_received(tmp_path: Path, capsys: Any, layout: int):
    """The x of the trace is what the embedding gives, which numpy looks up here; as are the lengths."""
    one, words = model(), np.arange(20).reshape(10, 2) % ROWS
    if layout:
        one = made.of_node("LSTM", layout=1)
        x = np.random.default_rng(0).normal(size=(2, 10, made.INPUTS)).astype(np.float32)
        given = {"x": x}
    else:
        beside = np.random.default_rng(0).normal(size=(10, 2, made.INPUTS)).astype(np.float32)
        given = {"words": words, "beside": beside, "lens": np.array([10, 7])}
        table = next(numpy_helper.to_array(one) for one in one.graph.initializer if one.name == "table")
        x = (table[words] + beside).transpose(1, 0, 2)
    onnx.save(one, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", **given)
    said = ",".join(f"{name}={tmp_path}/x.npz:{name}" for name in given)
    path = str(tmp_path / "m.onnx")
    assert main(["trace", path, "--input", said, "-o", str(tmp_path / "t.npz")]) == 0
    assert "received in the run of its model: 10 steps, batch of 2" in capsys.readouterr().err
    assert np.array_equal(np.load(tmp_path / "t.npz")["x"], x)
    assert main(["derive", path, "--input", said, "--step", "2", "--unit", "1"]) == 0
    assert main(["report", path, "--input", said, "-o", str(tmp_path / "r.html")]) == 0
    assert main(["trace", path, "--input", "nobody=ones"]) == 2
    assert "the model has no input 'nobody'" in capsys.readouterr().err


def test_a_model_of_onnxruntime_itself_is_named(tmp_path: Path, capsys: Any):
    """What the message says gives an .onnx of the same node."""
    onnx.save(made.of_node("GRU"), tmp_path / "m.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(tmp_path / "m.onnx", options)
    for command in ("shapes", "check", "trace", "report"):
        assert main([command, str(tmp_path / "m.ort"), *(["-o", "r.html"] if command == "report" else [])]) == 2
        assert "a model in onnxruntime's own format (.ort); write it as .onnx" in capsys.readouterr().err
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "again.onnx")
    onnxruntime.InferenceSession(tmp_path / "m.ort", options)
    assert main(["shapes", str(tmp_path / "again.onnx")]) == 0
    assert "GRU(3, 4, reset=before)" in capsys.readouterr().out


def test_loops_inside_of_each_other_share_the_steps():
    """Two free axes of steps in one input: 256 steps are 16 times 16, not 256 times 256."""
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["S", "T", "N", 3])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    nested = helper.make_model(graph)
    sizes = [feed.arrays["x"].shape for feed in feeds_of(nested, None, (), 1, 1)]
    assert all(math.prod(shape[:3]) <= 4096 for shape in sizes), sizes
