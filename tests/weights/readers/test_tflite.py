"""Models in .tflite: what is read of them, against the numbers put in and against what LiteRT itself computes.

The models of `mobile/` and what the runtime gave for them are files, so that this needs no framework. The evidence is a
check of the runtime's numbers against the equations with the weights that were read, within the bound of float32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rnnspect.errors import FileError
from rnnspect.files import tflite_file
from rnnspect.files import tflite_graph as files_loops
from rnnspect.network.spec import Spec
from rnnspect.weights import readers
from rnnspect.weights.readers import tflite
from tests.marks import sampled
from tests.weights.readers import tflite_files as made
from tests.weights.readers.coreml_files import FOLDER, drawn

if TYPE_CHECKING:
    from pathlib import Path

RUNS = np.load(made.RUNS)
REFUSED = {"normed"}
ROUNDED = "keras_int8"
"""The runtime rounds its x and h to 8 bits."""
RUN = sorted({key.partition(".")[0] for key in RUNS.files} - REFUSED - {ROUNDED, "keras_stack"})
ANSWERED = [
    *("keras_lstm", "keras3_gru", "keras3_gru_half", "keras3_lstm_half", "keras_stack", "keras_half"),
    "coupled_peepholes",
]


def model(name: str) -> Path:
    return FOLDER / f"{name}.tflite"


def read(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The keys and the parameters of the only module."""
    module = readers.module_in(model(name), {}, None)
    keys = module.tell().keys
    return keys, {key: one.numpy() for key, one in module.read(Spec(**keys)).parameters.items()}


@pytest.mark.parametrize("name", sampled(RUN, 3))
def test_the_runtimes_own_numbers_are_those_of_the_equations(rnnspect, tmp_path: Path, name: str):
    np.save(tmp_path / "x.npy", RUNS[f"{name}.x"])
    np.save(tmp_path / "y.npy", RUNS[f"{name}.y"])
    result = rnnspect("check", model(name), "-i", tmp_path / "x.npy", "--recorded", tmp_path / "y.npy")
    assert (result.status, "AGREE" in result.out) == (0, True)
    np.save(tmp_path / "y.npy", RUNS[f"{name}.y"] + np.float32(1e-4))
    wrong = ("--recorded", tmp_path / "y.npy", "--explain", "0")
    assert rnnspect("check", model(name), "-i", tmp_path / "x.npy", *wrong).status == 1


@pytest.mark.parametrize("name", made.WRITTEN)
def test_litert_writes_and_computes_the_same_today(name: str):
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    data = made.model(made.WRITTEN[name])
    assert data == model(name).read_bytes()
    # Two runs of the same sums, each within a few roundings (2⁻²⁴) of sums below 8 in magnitude, on another CPU.
    np.testing.assert_allclose(made.run(data, RUNS[f"{name}.x"]), RUNS[f"{name}.y"], rtol=0, atol=1e-5)


@pytest.mark.each_value_once
@pytest.mark.parametrize("command", ["shapes", "check", "trace", "report"])
@pytest.mark.parametrize("name", ANSWERED)
def test_commands_answer_with_nothing_but_the_name(rnnspect, tmp_path: Path, name: str, command: str):
    result = rnnspect(command, model(name), *(["-o", tmp_path / "x.html"] if command == "report" else []))
    assert result.status == 0, result.err


def test_the_parameters_are_the_numbers_put_in():
    keys, parameters = read("both")
    for way, end in (("forward", ""), ("backward", "_reverse")):
        own = made.lstm(way)
        for key, start in (("weight_ih_l0", "input_to_{}_weights"), ("weight_hh_l0", "recurrent_to_{}_weights")):
            expected = np.concatenate([own[start.format(gate)] for gate in made.GATES])
            np.testing.assert_array_equal(parameters[key + end], expected)
        bias = np.concatenate([own[f"{gate}_gate_bias"] for gate in made.GATES])
        np.testing.assert_array_equal(parameters["bias_ih_l0" + end], bias)
        assert not parameters["bias_hh_l0" + end].any()
    assert (keys["cell"], keys["bidirectional"], keys["batch_first"]) == ("lstm", True, False)


def test_weights_in_8_bits_are_within_half_a_step_of_the_floats(rnnspect):
    """TensorFlow's converter scales each matrix by its largest magnitude over 127."""
    _, parameters = read(ROUNDED)
    for key, at in (("weight_ih_l0", 0), ("weight_hh_l0", 1)):
        expected = drawn(f"{ROUNDED} {at}", 32, 128).T
        for ours, exact in zip(np.split(parameters[key], 4), np.split(expected, 4), strict=True):
            # half a step, and three roundings of a product below 1
            assert np.abs(ours - exact).max() <= np.abs(exact).max() / 254 + 3 * 2.0**-24
            assert len(np.unique(ours)) < 256
    assert "has weights in 8-bit integers; here they are shown as float32" in rnnspect("shapes", model(ROUNDED)).err


def test_a_stack_of_keras_is_listed_in_order():
    modules = readers.modules_in(model("keras_stack"), {})
    first, second = (module.tell() for module in modules.values())
    assert (first.keys["hidden_size"], second.keys["input_size"], second.keys["hidden_size"]) == (4, 4, 3)
    assert second.reads_from == next(iter(modules))
    assert any("clips c to ±10" in note for note in first.notes)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("normed", "the LSTM has input_layer_norm_coefficients, .*, which is not supported"),
    ],
)
def test_what_no_spec_describes_is_refused_by_name(name: str, said: str):
    with pytest.raises(FileError, match=said):
        read(name)


def test_settings_beyond_a_spec_are_refused():
    """An options table is changed in place: the float of proj_clip, and the byte of the activation."""
    model_ = tflite_file.read_model(model("lstm"))
    assert model_.operators[0].settings["cell_clip"] == 20.0
    one = model_.operators[0]
    for key, value, said in (
        ("proj_clip", 3.0, "the LSTM has proj_clip"),
        ("kernel_type", 1, "the LSTM has kernel_type"),
        ("diagonal_recurrent_tensors", True, "the LSTM has diagonal_recurrent_tensors"),
        ("fused_activation_function", 3, "unsupported activation RELU6; expected NONE, RELU or TANH"),
    ):
        changed = type(one)(one.kind, one.name, one.arrays, {**one.settings, key: value})
        with pytest.raises(FileError, match=said):
            tflite._describe(changed, "m.tflite:y")


def test_main_says_which_file_is_damaged(tmp_path: Path, rnnspect):
    (tmp_path / "m.tflite").write_bytes(model("lstm").read_bytes()[:200])
    result = rnnspect("shapes", tmp_path / "m.tflite")
    assert result.status == 2
    assert "m.tflite: the file is damaged or cut short: a table lies outside it" in result.err


@pytest.mark.parametrize(
    ("equations", "cell"),
    [
        (("tanh((U h[s0]+W x))",), "rnn"),
        (("tanh((U h[s0]+W x)')",), "rnn"),
        (("sigmoid((U h[s0]+W x))",), "rnn"),
        (("tanh((U h[s1]+W x))",), None),  # of another state than its own
        (("tanh((U h[s0]-W x))",), None),
        (("tanh((U h[s0].0+W x.0))",), None),
        (("?", "s1"), None),
    ],
)
def test_a_loop_is_known_by_its_equations(equations: tuple[str, ...], cell: str | None):
    one = tflite_file.read_model(model("keras3_rnn")).operators[0]
    found = tflite.loop_described(replace(one, settings={"equations": equations}))
    assert (found.form if found else None) == cell


def test_a_bias_that_is_added_in_one_place_alone_is_no_bias():
    one = tflite_file.read_model(model("keras3_lstm")).operators[0]
    h, c = one.settings["equations"][3:5]
    assert tflite.loop_described(one)
    odd = ("?", "?", "?", h.replace("'", "", 1), c)
    assert tflite.loop_described(replace(one, settings={"equations": odd})) is None


def test_other_loops_are_counted(monkeypatch: pytest.MonkeyPatch):
    """A loop with an operator in it that is not known."""
    monkeypatch.delitem(files_loops._FUNCTIONS, 28)
    with pytest.raises(
        FileError, match="the model has no LSTM or RNN operator, but 1 WHILE, 2 FULLY_CONNECTED, which may"
    ):
        readers.modules_in(model("keras3_rnn"), {})


def test_who_gives_x_may_say_its_axes(rnnspect, tmp_path: Path):
    """What a model does to its input before the operator gets it is not read of every model."""
    np.save(tmp_path / "x.npy", RUNS["keras3_lstm.x"].swapaxes(0, 1))
    np.save(tmp_path / "y.npy", RUNS["keras3_lstm.y"].swapaxes(0, 1))
    given = (model("keras3_lstm"), "-i", tmp_path / "x.npy", "--recorded", tmp_path / "y.npy")
    assert rnnspect("check", *given, "--no-batch-first").status == 0
    assert rnnspect("check", *given).status == 1
