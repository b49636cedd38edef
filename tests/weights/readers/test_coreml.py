"""Core ML models: what is read of them, against the numbers that coremltools wrote into them.

Core ML itself runs on Apple's systems only. So the equations are held against those of NeuralNetwork.proto, and against
the loops in numpy of coremltools' own tests, which hold the runtime to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rnnspect.errors import FileError
from rnnspect.network.spec import Spec
from rnnspect.weights import readers
from tests.weights.readers import coreml_files as made
from tests.weights.readers.coreml_files import FOLDER, GRU, LSTM, UNITS, drawn, gates, one_matrix
from tests.weights.readers.test_mobile_hostile import model, program
from tests.wire_format import field

if TYPE_CHECKING:
    from pathlib import Path

ONES = ("i", "f", "o", "g")
"""The order of coremltools' builder and of MIL."""
BITS = {"both_8.mlmodel": 8, "both_5.mlmodel": 5, "both_3_table.mlmodel": 3}


def read(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray], tuple[str, ...]]:
    """The keys, the parameters and the notes of the only module."""
    module = readers.module_in(FOLDER / name, {}, None)
    told = module.tell()
    parameters = module.read(Spec(**told.keys)).parameters
    return told.keys, {key: one.numpy() for key, one in parameters.items()}, told.notes


def in_pytorchs_order(values: Any, order: tuple[str, ...], wanted: str) -> np.ndarray:
    """Blocks one a gate, in a file's order, as one array with the gates in the wanted order."""
    by_gate = dict(zip(order, values, strict=True))
    return np.concatenate([by_gate[gate] for gate in wanted])


@pytest.mark.parametrize("name", ["both.mlmodel", "both_half.mlmodel"])
def test_a_layer_of_both_directions(name: str):
    keys, parameters, notes = read(name)
    for way, end in (("forward ", ""), ("backward ", "_reverse")):
        own = gates(LSTM, way)
        for key, theirs in (("weight_ih_l0", "W_x"), ("weight_hh_l0", "W_h"), ("bias_ih_l0", "b")):
            expected = in_pytorchs_order(own[theirs], ONES, "ifgo")
            np.testing.assert_array_equal(parameters[key + end], expected.astype(parameters[key].dtype))
    assert keys["dtype"] == ("float16" if "half" in name else "float32")
    assert (keys["bidirectional"], keys["batch_first"], notes) == (True, False, ())


@pytest.mark.parametrize(("name", "bits"), BITS.items())
def test_weights_in_fewer_bits_are_within_half_a_step_of_the_floats(name: str, bits: int):
    """coremltools divides the range of each row, or with a table that of the whole array, into 2^bits − 1 steps."""
    _, parameters, notes = read(name)
    assert f"has weights in {bits}-bit integers; here they are shown as float32" in notes[0]
    own = gates(LSTM, "forward ")
    for key, theirs in (("weight_ih_l0", "W_x"), ("weight_hh_l0", "W_h")):
        found = dict(zip("ifgo", np.split(parameters[key], 4), strict=True))
        for gate, exact in zip(ONES, own[theirs], strict=True):
            parts = [exact] if "table" in name else list(exact)
            steps = [np.ptp(part) / (2**bits - 1) for part in parts]
            for ours, part, step in zip([found[gate]] if "table" in name else found[gate], parts, steps, strict=True):
                # half a step, and a few roundings of numbers below 2
                assert np.abs(ours - part).max() <= step / 2 + 4 * 2.0**-23


def test_a_layer_with_peepholes_and_what_is_added_to_f():
    keys, parameters, notes = read("lstm.mlmodel")
    own = gates(LSTM)
    bias = dict(zip(ONES, own["b"], strict=True)) | {"f": own["b"][1] + np.float32(1)}
    np.testing.assert_array_equal(parameters["bias_ih_l0"], np.concatenate([bias[gate] for gate in "ifgo"]))
    peepholes = [drawn(f"{gate} p", UNITS) for gate in ("inputGate", "forgetGate", "outputGate")]
    np.testing.assert_array_equal(parameters["weight_ch_l0"], np.concatenate(peepholes))
    assert (keys["peepholes"], keys["activations"]) == (True, ["hard_sigmoid(0.2, 0.5)", "tanh", "tanh"])
    assert "adds 1 to the forget gate's bias" in notes[1]
    assert "clips c to ±20" in notes[0]


def test_coupled_gates_and_the_reverse_direction():
    keys, parameters, _ = read("coupled.mlmodel")
    expected = in_pytorchs_order(gates(LSTM)["W_x"], ONES, "igo")
    np.testing.assert_array_equal(parameters["weight_ih_l0_reverse"], expected)
    assert (keys["reverse"], keys["input_forget"]) == (True, True)


def test_the_inputs_of_relu_are_limited_as_its_schema_says():
    keys, parameters, _ = read("rnn.mlmodel")
    np.testing.assert_array_equal(parameters["weight_ih_l0"], gates(("only",))["W_x"][0])
    assert (keys["nonlinearity"], keys["clip"]) == ("relu", 50.0)


def gru_loop(x: np.ndarray, w: dict[str, list[np.ndarray]]) -> np.ndarray:
    """The GRU of NeuralNetwork.proto and of coremltools' test_recurrent.py, in float64: gates z, r, o."""
    wide = {key: [one.astype(np.float64) for one in values] for key, values in w.items()}

    def sums(gate: int, x: np.ndarray, h: np.ndarray) -> np.ndarray:
        return wide["W_x"][gate] @ x + wide["W_h"][gate] @ h + wide["b"][gate]

    h, found = np.zeros(UNITS), []
    for one in x.astype(np.float64):
        z, r = (1 / (1 + np.exp(-sums(gate, one, h))) for gate in (0, 1))
        h = (1 - z) * np.tanh(sums(2, one, r * h)) + z * h
        found.append(h)
    return np.array(found)


@pytest.mark.parametrize("name", ["gru.mlmodel", "gru.mlpackage"])
def test_a_gru_resets_before_the_product(rnnspect, tmp_path: Path, name: str):
    w = gates(GRU)
    if name == "gru.mlpackage":
        r, o, z = ({key: np.split(one, 3)[at] for key, one in one_matrix(GRU).items()} for at in range(3))
        names = {"W_x": "weight_ih", "W_h": "weight_hh", "b": "bias"}
        w = {key: [gate[theirs] for gate in (z, r, o)] for key, theirs in names.items()}
    x = drawn("x", 6, made.INPUTS)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", gru_loop(x, w).astype(np.float32))
    result = rnnspect("check", FOLDER / name, "-i", tmp_path / "x.npy", "--recorded", tmp_path / "y.npy")
    assert (result.status, "AGREE" in result.out) == (0, True), result.out


def test_an_operator_of_both_directions():
    keys, parameters, notes = read("lstm.mlpackage")
    for end, own in (("", one_matrix(LSTM)), ("_back", made.BACKWARD)):
        ours = "_reverse" if end else ""
        for key, theirs in (("weight_ih_l0", "weight_ih"), ("weight_hh_l0", "weight_hh"), ("bias_ih_l0", "bias")):
            expected = in_pytorchs_order(np.split(own[theirs + end], 4), ONES, "ifgo")
            np.testing.assert_array_equal(parameters[key + ours], expected)
        peepholes = (own | made.PEEPHOLE)["peephole" + end]
        np.testing.assert_array_equal(parameters["weight_ch_l0" + ours], peepholes)
    assert "clips c to ±3; not clipped here, which is the same while |c| is smaller" in notes[0]
    assert (keys["bidirectional"], keys["peepholes"]) == (True, True)


def test_an_operator_in_float16():
    keys, parameters, _ = read("lstm_half.mlpackage")
    expected = in_pytorchs_order(np.split(one_matrix(LSTM)["weight_hh"], 4), ONES, "ifgo").astype(np.float16)
    np.testing.assert_array_equal(parameters["weight_hh_l0_reverse"], expected)
    assert (keys["reverse"], keys["dtype"]) == (True, "float32")  # no engine on a CPU runs it reversed in float16


def test_an_operator_in_8_bits_is_within_half_a_step_of_the_floats():
    """coremltools scales each row by its largest magnitude over 127 and keeps the scales in float16."""
    keys, parameters, notes = read("lstm_int8.mlpackage")
    exact = in_pytorchs_order(np.split(one_matrix(LSTM)["weight_hh"], 4), ONES, "ifgo")
    steps = np.abs(exact).max(1, keepdims=True) / 127
    # half a step, and a scale and a product below 1 that are rounded to float16
    assert (np.abs(parameters["weight_hh_l0"].astype(np.float32) - exact) <= steps / 2 + 3 * 2.0**-11).all()
    assert len(np.unique(parameters["weight_hh_l0"])) > 10
    assert "has weights in 8-bit integers; here they are shown as float16" in notes[0]
    assert keys["dtype"] == "float16"


@pytest.mark.parametrize("name", ["two_layers.mlmodel", "two_layers.mlpackage"])
def test_layers_of_which_each_takes_the_steps_of_the_one_below_are_one_network(rnnspect, tmp_path: Path, name: str):
    batch_first = name.endswith("package")
    network = torch.nn.RNN(made.INPUTS, UNITS, 2, batch_first=batch_first)
    with torch.no_grad():
        for at, arrays in enumerate(made.TWO_LAYERS.values()):
            for ours, theirs in (("weight_ih", "weight_ih"), ("weight_hh", "weight_hh"), ("bias_ih", "bias")):
                getattr(network, f"{ours}_l{at}").copy_(torch.from_numpy(arrays[theirs]))
            getattr(network, f"bias_hh_l{at}").zero_()
        y = network(torch.from_numpy(drawn("x", 5, 2, made.INPUTS)))[0]
    np.save(tmp_path / "x.npy", drawn("x", 5, 2, made.INPUTS))
    np.save(tmp_path / "y.npy", y.numpy())
    result = rnnspect("check", FOLDER / name, "-i", tmp_path / "x.npy", "--recorded", tmp_path / "y.npy")
    assert (result.status, "AGREE" in result.out) == (0, True), result.out
    assert list(readers.modules_in(FOLDER / name, {})) == ["network"]
    for layer, inputs in (("lower", made.INPUTS), ("upper", UNITS)):
        keys = readers.module_in(FOLDER / name, {}, layer).tell().keys
        assert (keys["input_size"], keys["batch_first"]) == (inputs, batch_first)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_network_turns_its_input_and_widens_it(rnnspect, tmp_path: Path, batch_first: bool):
    """As coremltools writes one of torch: a transpose around it all, and around each layer two axes of size 1."""
    network = torch.nn.RNN(made.INPUTS, UNITS, 2, batch_first=batch_first)
    layers, x = b"", "x"
    if batch_first:
        layers, x = made.layer("turn", ["x"], "turned", 985, field(1, bytes([1, 0, 2]))), "turned"
    with torch.no_grad():
        for at, (name, arrays) in enumerate(made.TWO_LAYERS.items()):
            layers += made.layer(f"expand{at}", [x], f"wide{at}", 1125, field(1, bytes([3, 4])))
            layers += made.plain_layer(name, [f"wide{at}"], f"h{at}", arrays)
            layers += made.layer(f"squeeze{at}", [f"h{at}"], x := f"y{at}", 1120, field(1, bytes([3, 4])))
            for ours in ("weight_ih", "weight_hh", "bias"):
                values = torch.from_numpy(arrays[ours])
                getattr(network, f"{'bias_ih' if ours == 'bias' else ours}_l{at}").copy_(values)
            getattr(network, f"bias_hh_l{at}").zero_()
        y = network(torch.from_numpy(drawn("x", 5, 2, made.INPUTS)))[0]
    (tmp_path / "m.mlmodel").write_bytes(model(500, layers))
    np.save(tmp_path / "x.npy", drawn("x", 5, 2, made.INPUTS))
    np.save(tmp_path / "y.npy", y.numpy())
    paths = ("-i", tmp_path / "x.npy", "--recorded", tmp_path / "y.npy")
    result = rnnspect("check", tmp_path / "m.mlmodel", *paths)
    assert (result.status, "AGREE" in result.out) == (0, True), result.out
    told = {name: one.tell().keys for name, one in readers.modules_in(tmp_path / "m.mlmodel", {}).items()}
    assert [(keys["num_layers"], keys["batch_first"]) for keys in told.values()] == [(2, batch_first)]


def test_an_input_that_is_turned_twice_is_as_it_was(tmp_path: Path):
    turns = [made.layer(end, [start], end, 985, field(1, bytes([1, 0, 2]))) for start, end in ("xa", "ab", "bc")]
    for count in (2, 3):
        read = made.plain_layer("rnn", ["xabc"[count]], "y", made.TWO_LAYERS["lower"])
        (tmp_path / "m").write_bytes(model(500, b"".join(turns[:count]) + read))
        told = readers.module_in(tmp_path / "m", {}, None).tell()
        assert told.keys["batch_first"] == (count == 3)


@pytest.mark.parametrize("kind", ["while_loop", "tanh"])
def test_a_program_without_recurrent_operators_may_hold_a_cell_that_is_written_out(rnnspect, tmp_path: Path, kind: str):
    (tmp_path / "m").write_bytes(program(field(3, field(1, kind.encode()) + field(3, field(1, b"y")))))
    result = rnnspect("about", tmp_path / "m")
    assert result.status == 2
    assert ("but 1 while_loop, as coremltools writes a GRU of PyTorch out" in result.err) == (kind == "while_loop")
    assert "rnnspect check WEIGHTS --input x.npy --recorded y.npy" in result.err


def test_a_loop_beside_a_layer_is_no_layer(tmp_path: Path):
    loop, layer = field(3, field(1, b"while_loop")), field(3, field(1, b"rnn") + field(3, field(1, b"y")))
    (tmp_path / "m").write_bytes(program(loop + layer))
    assert list(readers.modules_in(tmp_path / "m", {})) == ["y"]


@pytest.mark.each_value_once
@pytest.mark.parametrize("command", ["shapes", "check", "trace", "report"])
@pytest.mark.parametrize("name", ["lstm.mlmodel", "both_5.mlmodel", "gru.mlpackage", "lstm_half.mlpackage"])
def test_commands_answer_with_nothing_but_the_name(rnnspect, tmp_path: Path, name: str, command: str):
    result = rnnspect(command, FOLDER / name, *(["-o", tmp_path / "x.html"] if command == "report" else []))
    assert result.status == 0, result.err


@pytest.mark.filterwarnings("ignore")  # what coremltools itself does as it writes
@pytest.mark.parametrize("name", made.WRITTEN)
def test_coremltools_writes_the_same_today(tmp_path: Path, name: str):
    pytest.importorskip("coremltools", reason="coremltools is not installed")
    made.WRITTEN[name](tmp_path / name)
    module = readers.module_in(tmp_path / name, {}, None)
    keys, parameters, _ = read(name)
    now = module.read(Spec(**keys)).parameters
    assert now.keys() == parameters.keys()
    assert all(np.array_equal(now[key].numpy(), parameters[key]) for key in parameters)


def test_folders_that_are_no_model(tmp_path: Path):
    (tmp_path / "m.mlmodelc").mkdir()
    (tmp_path / "m.mlmodelc/coremldata.bin").write_bytes(b"x")
    (tmp_path / "m.mlpackage/Data/x").mkdir(parents=True)
    (tmp_path / "m.mlpackage/model.mlmodel").write_bytes(b"x")
    with pytest.raises(FileError, match="a compiled Core ML model; use the"):
        readers.modules_in(tmp_path / "m.mlmodelc", {})
    with pytest.raises(FileError, match=r"this folder has 0 \.mlmodel files under Data; expected exactly one"):
        readers.modules_in(tmp_path / "m.mlpackage", {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch_first", [True, False])
def test_an_input_that_is_turned_before_the_operator_is_batch_first(tmp_path: Path, batch_first: bool):
    """torch's batch_first becomes a transpose before and after the operator, which itself takes steps first."""
    ct = pytest.importorskip("coremltools")
    module = torch.nn.LSTM(6, 8, batch_first=batch_first)
    x = torch.randn(2, 10, 6)
    traced = torch.jit.trace(Outputs(module), x)
    made = ct.convert(traced, inputs=[ct.TensorType("x", shape=x.shape)], convert_to="mlprogram")
    made.save(str(tmp_path / "m.mlpackage"))
    (one,) = readers.modules_in(tmp_path / "m.mlpackage", {}).values()
    assert one.tell().keys["batch_first"] == batch_first


class Outputs(torch.nn.Module):
    def __init__(self, module: torch.nn.LSTM) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)[0]
