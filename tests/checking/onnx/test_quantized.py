"""DynamicQuantizeLSTM: what onnxruntime.quantization makes of an LSTM, judged by the numbers its integers stand for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession
from onnxruntime.quantization import QuantType, quantize_dynamic

from rnnspect.checking.onnx import nodes, quantized
from rnnspect.cli import main
from rnnspect.files.onnx_file import Constants, read_model
from rnnspect.weights.readers import module_in
from rnnspect.weights.readers.onnx_rnn_nodes import nodes_in, parameters_of_node, spec_of
from tests import onnx_models as made

if TYPE_CHECKING:
    from pathlib import Path

INPUTS, H = 8, 16
KINDS = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


def quantised(
    folder: Path, direction: str = "forward", kind: str = "int8", per_channel: bool = False, **attributes: Any
) -> Path:
    """An LSTM with biases and lengths, quantised by onnxruntime's own tool."""
    rng, each = np.random.default_rng(0), 2 if direction == "bidirectional" else 1
    held = {"W": (each, 4 * H, INPUTS), "R": (each, 4 * H, H), "B": (each, 8 * H)}
    weights = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in held.items()}
    given = ["x", "W", "R", "B", "lens"]
    node = helper.make_node("LSTM", given, ["y"], name="n", hidden_size=H, direction=direction, **attributes)
    taken = [made.value("x", made.F, ["T", "N", INPUTS]), made.value("lens", onnx.TensorProto.INT32, ["N"])]
    onnx.save(made.model([node], weights, taken), folder / "float.onnx")
    quantize_dynamic(folder / "float.onnx", folder / "q.onnx", weight_type=KINDS[kind], per_channel=per_channel)
    assert [node.op_type for node in onnx.load(folder / "q.onnx").graph.node] == ["DynamicQuantizeLSTM"]
    return folder / "q.onnx"


def given(folder: Path, lengths: list[int], steps: int = 30) -> dict[str, Any]:
    x = np.random.default_rng(1).normal(0.3, 1, (steps, len(lengths), INPUTS)).astype(np.float32)
    arrays = {"x": x, "lens": np.array(lengths, np.int32)}
    np.savez(folder / "x.npz", **arrays)
    return arrays


def checked(path: Path, capsys: Any, *flags: str) -> tuple[int, Any]:
    status = main(["check", str(path), "--input", str(path.parent / "x.npz"), "--format", "json", *flags])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.each_value_once
@pytest.mark.parametrize("lengths", [[30, 30, 30], [30, 11, 0], [7]], ids=str)
@pytest.mark.parametrize("per_channel", [False, True], ids=["a tensor's scale", "a row's scale"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_it_agrees(tmp_path: Path, capsys: Any, direction: str, kind: str, per_channel: bool, lengths: list[int]):
    path = quantised(tmp_path, direction, kind, per_channel)
    given(tmp_path, lengths)
    status, found = checked(path, capsys)
    assert (status, found["verdict"], found["arithmetic"]) == (0, "agree", "float32, 8-bit products"), found
    assert any("quantized" in note for note in found["notes"])


@pytest.mark.parametrize("attributes", [{"input_forget": 1}, {"activations": ["HardSigmoid", "Tanh", "Softsign"]}])
def test_a_variant_agrees_too(tmp_path: Path, capsys: Any, attributes: dict[str, Any]):
    path = quantised(tmp_path, **attributes)
    given(tmp_path, [30, 30])
    assert checked(path, capsys)[0] == 0


def integers(path: Path) -> dict[str, Any]:
    model = onnx.load(path)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    node = model.graph.node[0]
    names = ("X", "W", "R", "B", "lens", "h", "c", "P", "W_scale", "W_zero_point", "R_scale", "R_zero_point")
    return {name: held[tensor] for name, tensor in zip(names, node.input, strict=True) if tensor in held}


def test_the_operator_is_a_loop_over_integers(tmp_path: Path):
    """Integers multiplied as integers, once more in numpy: 30 steps of float32, each of which errs by some 1e-7."""
    path = quantised(tmp_path)
    arrays = given(tmp_path, [30, 30, 30])
    held = integers(path)

    def product(v: Any, name: str) -> Any:
        low, high = min(v.min(), np.float32(0)), max(v.max(), np.float32(0))
        scale = (high - low) / np.float32(255) if high != low else np.float32(1)
        zero = int(np.rint(-low / scale))
        q = np.clip(np.rint(v / scale).astype(np.int64) + zero, 0, 255)
        w = held[name][0].astype(np.int64) - held[f"{name}_zero_point"].astype(np.int64)
        return ((q - zero) @ w) * (np.float64(scale) * held[f"{name}_scale"].astype(np.float64))

    w_b, r_b = held["B"][0].astype(np.float64).reshape(2, -1)
    x = arrays["x"]
    sums = product(x.reshape(-1, INPUTS), "W").reshape(*x.shape[:2], -1)
    h, c = np.zeros((3, H), np.float32), np.zeros((3, H))
    expected = []
    for row in sums:
        i, o, f, g = np.split(row + product(h, "R") + w_b + r_b, 4, -1)
        i, o, f = (1 / (1 + np.exp(-v)) for v in (i, o, f))
        c = f * c + i * np.tanh(g)
        h = (o * np.tanh(c)).astype(np.float32)
        expected.append(h)
    y = InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["y"], arrays)[0][:, 0]
    first = np.abs(y - np.stack(expected))[0]
    assert first.max() < 1e-6
    # Later steps may round one number of h to the other side, a 255th of its range away from there.
    assert np.abs(y - np.stack(expected)).max() < 2e-2


def test_what_integers_stand_for_is_never_further_than_half_a_step():
    rng = np.random.default_rng(2)
    for values in (rng.normal(0, 1, (5, 7)), rng.uniform(1, 2, (3, 4)), -rng.uniform(1, 2, (3, 4)), np.zeros((2, 2))):
        v = values.astype(np.float32)
        step = (max(v.max(), 0) - min(v.min(), 0)) / 255
        found = quantized.quantized(v)
        assert np.abs(found - v).max() <= 1.01 * step  # half for the value, half for the zero point
        assert len(np.unique(found)) <= 256
        assert quantized.quantized(np.zeros_like(v)).any() == np.False_


@pytest.mark.each_value_once
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", ["W", "R"])
def test_one_integer_that_is_off_by_one_differs(tmp_path, capsys, monkeypatch, direction: str, name: str):
    path = quantised(tmp_path, direction)
    given(tmp_path, [30, 30, 11])
    right = nodes.dequantized

    def wrong(node: Any, weights: Any) -> Any:
        other = weights[name].copy()
        other[-1, 3, 5] += 1 if other[-1, 3, 5] < 100 else -1
        return right(node, {**weights, name: other})

    monkeypatch.setattr(nodes, "dequantized", wrong)
    status, found = checked(path, capsys)
    assert (status, found["verdict"]) == (1, "differ")
    assert found["first"]["unit"] == 5  # column 5 is a row of gate i


def test_without_lengths_it_differs_in_as_many_words(tmp_path, capsys, monkeypatch):
    """Nothing of what explains other runs is tried on 8-bit products."""
    weights = {"W": np.random.default_rng(0).normal(0, 0.4, (1, 4 * H, INPUTS)).astype(np.float32)}
    weights["R"] = np.random.default_rng(1).normal(0, 0.4, (1, 4 * H, H)).astype(np.float32)
    node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], name="n", hidden_size=H)
    taken = [made.value("x", made.F, ["T", "N", INPUTS])]
    onnx.save(made.model([node], weights, taken), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "q.onnx")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(2).normal(0.3, 1, (10, 3, INPUTS)).astype(np.float32))
    assert checked(tmp_path / "q.onnx", capsys)[0] == 0
    right = nodes.dequantized
    monkeypatch.setattr(nodes, "dequantized", lambda n, w: right(n, {**w, "W": w["W"] // 2}))
    status, found = checked(tmp_path / "q.onnx", capsys)
    assert (status, found["verdict"], found["causes"]) == (1, "differ", [])


def test_the_node_is_not_the_one_in_float(tmp_path, capsys, monkeypatch):
    """With x or h as they are, not as they were quantised, it differs: what is judged is what the products received."""
    path = quantised(tmp_path, "bidirectional")
    given(tmp_path, [30, 30, 11])
    right = quantized.quantized
    as_it_is = lambda values: values.astype(np.float64)  # noqa: E731
    a_step = lambda values: np.stack([right(one) for one in values]) if values.ndim == 3 else right(values)  # noqa: E731
    an_item = lambda values: np.apply_along_axis(right, -1, values)  # noqa: E731
    for wrong in (as_it_is, a_step, an_item):
        monkeypatch.setattr(quantized, "quantized", wrong)
        assert checked(path, capsys)[1]["verdict"] == "differ"


def test_what_would_have_been_seen_is_said(tmp_path: Path, capsys: Any):
    path = quantised(tmp_path)
    given(tmp_path, [30, 30, 30])
    resolution = checked(path, capsys)[1]["resolution"]
    assert list(resolution["layer 0 forward"]) == ["i", "f", "g", "o"]
    assert max(gate["coarsest"] for gate in resolution["layer 0 forward"].values()) < 1e-3


def test_a_single_step_is_told_by_drawn_ones(tmp_path: Path, capsys: Any):
    """From c = 0 nothing shows f; the node alone is run on numbers that do."""
    path = quantised(tmp_path)
    given(tmp_path, [1], steps=1)
    status, found = checked(path, capsys)
    assert (status, found["verdict"]) == (0, "agree")
    assert any("random steps" in note for note in found["notes"])


def test_a_processor_that_cuts_sums_off_is_thought_of(tmp_path, capsys, monkeypatch):
    """Where int8 sums of two fit into 16 bits, and where it agrees, nothing is said of it."""
    rows = {"small": np.full((1, 4, 8), 60, np.int8), "large": np.full((1, 4, 8), 100, np.int8)}
    assert quantized.cut_off({"W": rows["small"], "R": rows["small"]}) == []
    assert "reduce_range" in quantized.cut_off({"W": rows["small"], "R": rows["large"]})[0]
    assert quantized.cut_off({"W": rows["large"].astype(np.uint8), "R": rows["small"]}) == []


def test_within_a_loop_it_is_judged_once_an_iteration(tmp_path: Path, capsys: Any):
    """x grows with the iteration, and with it its scale. The tool leaves a body alone: the node is put there."""
    path = quantised(tmp_path)
    small = onnx.load(path)
    model = made.in_loop("LSTM")
    body = model.graph.node[0].attribute[0].g
    own = next(node for node in body.node if node.op_type == "LSTM")
    own.CopyFrom(small.graph.node[0])
    own.input[0], own.input[4], own.output[0] = "x now", "", "y now"
    del model.graph.initializer[:3]
    model.graph.initializer.extend(small.graph.initializer)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = INPUTS
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    np.savez(tmp_path / "x.npz", x=given(tmp_path, [30, 30])["x"])
    status, found = checked(path, capsys)
    assert (status, [one["verdict"] for one in found]) == (0, ["agree"] * 3)


def test_integers_that_the_file_does_not_hold(tmp_path: Path, capsys: Any):
    path = quantised(tmp_path)
    model = onnx.load(path)
    name = model.graph.node[0].input[1]
    tensor = next(one for one in model.graph.initializer if one.name == name)
    model.graph.input.append(made.value(name, tensor.data_type, list(tensor.dims)))
    onnx.save(model, path)
    given(tmp_path, [30])
    status, found = checked(path, capsys)
    assert status == 3
    assert "its W is not stored in the model" in found[0]["error"]


def test_it_is_shown_as_the_lstm_that_its_integers_stand_for(tmp_path: Path, capsys: Any):
    path = quantised(tmp_path)
    assert main(["shapes", str(path)]) == 0
    shown = capsys.readouterr()
    assert f"LSTM({INPUTS}, {H})" in shown.out
    assert "8-bit weights; here they are shown as floats" in shown.err
    assert main(["trace", str(path), "-f", "json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "rnnspect.trace"
    (node,) = nodes_in(model := read_model(path), str(path), Constants(model)).values()
    exact = nodes.dequantized(node, {name: node.constant(name) for name in "WRB"})
    given = module_in(path, {}, None).read(spec_of(node)).parameters
    for name, values in parameters_of_node(node, exact).items():
        assert torch.equal(given[name], values.float())  # rounded once, to float32


@pytest.mark.parametrize("columns", ["80", "200"])
def test_a_single_call_says_whose_it_is(tmp_path: Path, capsys: Any, monkeypatch: Any, columns: str):
    monkeypatch.setenv("COLUMNS", columns)
    path = quantised(tmp_path)
    given(tmp_path, [30])
    assert main(["check", str(path), "--input", str(tmp_path / "x.npz")]) == 0
    said = capsys.readouterr().out
    assert f"{path}n_quant,call0matchesthisLSTM" in "".join(said.split())
    assert max(map(len, said.splitlines())) <= int(columns)


def test_recorded_numbers_are_not_held_against_8_bit_weights(tmp_path, capsys):
    """What a runtime gave follows from how it quantized x and h, too: held against the weights alone, right ones
    differ."""
    node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], name="n", hidden_size=H)
    rng = np.random.default_rng(0)
    weights = {"W": rng.normal(0, 0.4, (1, 4 * H, INPUTS)), "R": rng.normal(0, 0.4, (1, 4 * H, H))}
    weights = {name: values.astype(np.float32) for name, values in weights.items()}
    taken = [made.value("x", made.F, ["T", "N", INPUTS])]
    onnx.save(made.model([node], weights, taken), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "q.onnx")
    np.save(tmp_path / "y.npy", np.zeros((10, 3, H), np.float32))
    assert main(["check", str(tmp_path / "q.onnx"), "--input", "randn:10", "--recorded", str(tmp_path / "y.npy")]) == 2
    said = capsys.readouterr().err
    assert "--recorded: cannot be used with the 8-bit weights of" in said
    assert f"rnnspect check {tmp_path / 'q.onnx'} runs it, and judges its 8-bit products" in said
