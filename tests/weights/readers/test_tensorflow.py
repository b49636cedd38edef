"""Files that TensorFlow wrote, held against the numbers that TensorFlow computed with them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rnnspect.cli import main
from rnnspect.errors import FileError
from rnnspect.files.reading import Stored
from rnnspect.files.tensorflow.graph import read_graph
from rnnspect.weights import readers
from rnnspect.weights.readers.tensorflow import around, by_graph, by_names
from tests.marks import covered
from tests.tensorflow_files import drawn, names_in, unpacked

if TYPE_CHECKING:
    from pathlib import Path

TOPS = {name.partition("/")[0] for name in names_in()}
RUNS = sorted(name.removesuffix(".npz") for name in TOPS if name.endswith(".npz"))
ENDS = (".pb", "", "_saved", "_weights", "_frozen.pb", "_frozen_while.pb")
FILES = [(run, run + end) for run in RUNS for end in ENDS if run + end in TOPS]
UNTOLD = {
    "keras_lstm_hard_weights": ["--activations", "hard_sigmoid(0.2,0.5),tanh,tanh"],
    "keras_back_weights": ["--reverse"],
    "keras_gru_before_weights": ["--activations", "sigmoid,relu"],
}
"""What weights alone do not say."""
LIMITED = {"lstm_clip", "block_cell_clip"}
"""Files whose cell state is limited, which no spec says."""
SEVERAL = {"lstm_and_dense", "keras_deep", "both_deep_gru"}
"""Files whose output is not that of one recurrent module."""
MERGED = {f"exported_both_{mode}": mode for mode in ("sum", "ave", "mul")}
"""Files that do this with the outputs of two directions, and do not concatenate them."""
REFUSED = "lstm_peepholes_projection"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file, and beside it x and y of the run as .npy."""
    made = unpacked(tmp_path_factory.mktemp("tensorflow"), *TOPS)
    for run in RUNS:
        with np.load(made / f"{run}.npz") as arrays:
            for name in "xy":
                np.save(made / f"{run}.{name}.npy", arrays[name])
    return made


def verdict(folder: Path, run: str, file: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Of the recorded run against the equations with the parameters in the file."""
    recorded = ["-i", f"{folder}/{run}.x.npy", "--recorded", f"{folder}/{run}.y.npy", "--explain", "0"]
    status = main(["check", f"{folder}/{file}", *recorded, "--format", "json", *UNTOLD.get(file, [])])
    found: str = json.loads(capsys.readouterr().out)["verdict"]
    assert status == {"agree": 0, "differ": 1}[found]
    return found


@pytest.mark.parametrize(
    ("run", "file"),
    covered(
        [pair for pair in FILES if pair[0] not in {*LIMITED, *SEVERAL, REFUSED, *MERGED}],
        lambda pair: {pair[0], pair[1].removeprefix(pair[0])},
    ),
)
def test_its_numbers_are_those_of_tensorflow(folder: Path, run: str, file: str, capsys: pytest.CaptureFixture[str]):
    """TensorFlow computed in float32: what that allows is the check's own bound, on any machine."""
    assert verdict(folder, run, file, capsys) == "agree"


@pytest.mark.parametrize("run", sorted(LIMITED))
def test_a_limited_cell_state_is_said(folder: Path, run: str, capsys: pytest.CaptureFixture[str]):
    assert verdict(folder, run, f"{run}.pb", capsys) == "differ"
    main(["shapes", f"{folder}/{run}.pb"])
    assert "clips c to ±0.3 (cell_clip), which is ignored here" in capsys.readouterr().err


@pytest.mark.parametrize("file", [*MERGED, "exported_both_concat"])
def test_what_becomes_of_two_directions_is_said(folder: Path, file: str, capsys: pytest.CaptureFixture[str]):
    main(["shapes", f"{folder}/{file}"])
    said = capsys.readouterr()
    assert "bidirectional=True" in said.out
    assert ("merges" in said.err) == (file in MERGED)
    assert file not in MERGED or f"merges its directions with {MERGED[file]!r}; here they are conc" in said.err


def test_that_a_graph_goes_backwards_is_said(folder: Path, capsys: pytest.CaptureFixture[str]):
    main(["shapes", f"{folder}/exported_back"])
    said = capsys.readouterr()
    assert "reverse=True" in said.out
    assert "goes over x from the last step on, as its graph says" in said.err
    main(["shapes", f"{folder}/exported_gru"])
    assert "last step" not in capsys.readouterr().err


MODULES = {
    "deep_lstm.pb": {"rnn/multi_rnn_cell": (3, 5, 3, False, False)},
    "deep_lstm": {"rnn/multi_rnn_cell": (3, 5, 3, False, False)},
    "both_lstm": {"bidirectional_rnn": (3, 5, 1, True, False)},
    "both_deep_gru.pb": {
        "bidirectional_rnn/fw/multi_rnn_cell": (3, 5, 2, False, False),
        "bidirectional_rnn/bw/multi_rnn_cell": (3, 5, 2, False, True),
    },
    "lstm_and_dense.pb": {"rnn/basic_lstm_cell": (8, 8, 1, False, False)},
    "gru_block_cell.pb": {"rnn/gru_cell": (3, 5, 1, False, False)},
    "keras_deep": {"lstm/lstm_cell": (3, 5, 1, False, False), "gru/gru_cell": (4, 6, 1, False, False)},
    "keras_deep_weights": {"gru/gru_cell": (4, 6, 1, False, False), "lstm/lstm_cell": (3, 5, 1, False, False)},
    "keras_deep_frozen_while.pb": {
        "sequential/lstm": (3, 5, 1, False, False),
        "sequential/gru": (4, 6, 1, False, False),
    },
    "keras_both": {"bidirectional": (3, 5, 1, True, False)},
}
SAID = ("input_size", "hidden_size", "num_layers", "bidirectional", "reverse")


@pytest.mark.parametrize("file", MODULES)
def test_which_modules_there_are(folder: Path, file: str):
    told = {name: module.tell().keys for name, module in readers.modules_in(folder / file, {}).items()}
    assert {name: tuple(keys.get(key, False) for key in SAID) for name, keys in told.items()} == MODULES[file]


FACTS = {
    "basic_lstm_relu.pb": {"activations": ["sigmoid", "relu", "relu"]},
    "basic_lstm.pb": {"layout": "tf1", "peepholes": None},
    "gru_relu.pb": {"activations": ["sigmoid", "relu"], "reset": "before"},
    "rnn_relu": {"nonlinearity": "relu"},
    "lstm_projection.pb": {"proj_size": 2},
    "lstm_peepholes": {"peepholes": True},
    "block_peepholes.pb": {"peepholes": True, "layout": "tf-block-lstm"},
    "block_v2.pb": {"peepholes": None, "layout": "tf-block-lstm-v2"},
    "keras_lstm_hard": {"activations": ["hard_sigmoid(0.2, 0.5)", "tanh", "tanh"], "batch_first": True},
    "keras_lstm_hard_frozen_while.pb": {"activations": ["hard_sigmoid(0.2, 0.5)", "tanh", "tanh"]},
    "keras_gru": {"reset": "after"},
    "keras_gru_before_frozen.pb": {"activations": ["sigmoid", "relu"], "reset": "before"},
    "exported_gru_relu": {"activations": ["sigmoid", "relu"], "reset": None},
}


@pytest.mark.parametrize("file", FACTS)
def test_what_is_said_of_a_cell(folder: Path, file: str):
    (module,) = readers.modules_in(folder / file, {}).values()
    keys = module.tell().keys
    assert {key: keys.get(key) for key in FACTS[file]} == FACTS[file]


FORGET = {
    "basic_lstm": 1,
    "basic_lstm_forget_0": 0,
    "lstm_forget_half": 0.5,
    "block_forget_quarter": 0.25,
    "block_v2": 0,
}


@pytest.mark.parametrize("run", FORGET)
def test_what_the_graph_adds_to_f(folder: Path, run: str):
    from rnnspect.network.spec import Spec

    (module,) = readers.modules_in(folder / f"{run}.pb", {}).values()
    found = module.read(Spec(**module.tell().keys)).parameters
    assert found["bias_hh_l0"].tolist() == 5 * [0] + 5 * [FORGET[run]] + 10 * [0]
    i, *others, f, o = np.split(drawn((8, 20), (20,))[1], 4)
    order = (i, *others, f, o) if run == "block_v2" else (i, f, *others, o)  # i f g o as stored, or i g f o
    assert found["bias_ih_l0"].tolist() == np.concatenate(order).tolist()


def test_without_its_graph_a_checkpoint_says_what_it_assumes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(folder / "lstm_peepholes", tmp_path / "model")
    (tmp_path / "model" / "model.ckpt.meta").unlink()
    assert main(["shapes", str(tmp_path / "model" / "model.ckpt.index")]) == 0
    shown = capsys.readouterr()
    assert "LSTM(3, 5, batch_first=True, peepholes=True)" in shown.out
    said = "does not store the activations in a known form, the forget_bias added at run time; assuming sigmoid, tanh, "
    assert said in " ".join(shown.err.split())


def test_of_several_checkpoints_the_latest(folder: Path, tmp_path: Path):
    for file in (folder / "basic_lstm").iterdir():
        for name in ("model.ckpt-1", "model.ckpt-20"):
            shutil.copy(file, tmp_path / file.name.replace("model.ckpt", name))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-20"\n')
    assert list(readers.modules_in(tmp_path, {})) == ["rnn/basic_lstm_cell"]
    (tmp_path / "model.ckpt-1.index").write_bytes(b"damaged")
    assert list(readers.modules_in(tmp_path, {})) == ["rnn/basic_lstm_cell"]
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(FileError, match=r"2 checkpoints, .*; name one of model.ckpt-1.index, model.ckpt-20.index"):
        readers.modules_in(tmp_path, {})


def test_any_file_of_a_checkpoint_is_the_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]):
    stem = folder / "basic_lstm" / "model.ckpt"
    for end in (".index", ".meta", ".data-00000-of-00001"):
        assert list(readers.modules_in(stem.with_name(stem.name + end), {})) == ["rnn/basic_lstm_cell"]
    assert main(["shapes", str(stem)]) == 2
    assert capsys.readouterr().err.endswith(f"no such file; did you mean '{stem}.index'?\n")


def test_a_gru_of_tensorflow_1_in_any_file_is_one_module(tmp_path: Path):
    shapes = {"gates/kernel": (8, 10), "gates/bias": (10,), "candidate/kernel": (8, 5), "candidate/bias": (5,)}
    np.savez(tmp_path / "x.npz", **{f"rnn/gru_cell/{name}": np.ones(shape) for name, shape in shapes.items()})
    (module,) = readers.modules_in(tmp_path / "x.npz", {}).values()
    keys = module.tell().keys
    assert (keys["cell"], keys["reset"], keys["hidden_size"]) == ("gru", "before", 5)


NAMES = {
    "BasicLSTMCell before 1.2": ({"rnn/basic_lstm_cell/weights": (8, 20), "rnn/basic_lstm_cell/biases": (20,)}, "lstm"),
    "no cell by its name": ({"dense/kernel": (8, 20), "dense/bias": (20,)}, None),
    "a Dense beside an RNN": ({"rnn/dense/kernel": (8, 5), "rnn/dense/bias": (5,)}, None),
    "by its name another cell": ({"rnn/gru_cell/kernel": (8, 20), "rnn/gru_cell/bias": (20,)}, None),
    "BasicRNNCell": ({"rnn/basic_rnn_cell/kernel": (8, 5), "rnn/basic_rnn_cell/bias": (5,)}, "rnn"),
    "without a scope": ({"kernel": (3, 20), "recurrent_kernel": (5, 20)}, "lstm"),
    "CuDNNLSTM": ({"l/kernel": (3, 20), "l/recurrent_kernel": (5, 20), "l/bias": (40,)}, "lstm"),
    "CuDNNGRU": ({"l/kernel": (3, 15), "l/recurrent_kernel": (5, 15), "l/bias": (30,)}, "gru"),
    "CudnnCompatibleGRUCell": (
        {f"c/gates/{name}": shape for name, shape in {"kernel": (8, 10), "bias": (10,)}.items()}
        | {f"c/candidate/{side}_projection/bias": (5,) for side in ("input", "hidden")}
        | {"c/candidate/input_projection/kernel": (3, 5), "c/candidate/hidden_projection/kernel": (5, 5)},
        "gru",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_cells_by_their_names(name: str):
    shapes, form = NAMES[name]
    cells = by_names.cells_in({known: Stored(shape, "float32") for known, shape in shapes.items()})
    assert [(cell.form, cell.sizes.input_size, cell.sizes.hidden_size) for cell in cells] == (
        [(form, 3, 5)] if form else []
    )
    assert {known for cell in cells for known in cell.names} == (set(shapes) if form else set())


@pytest.mark.parametrize("name", ["layer_gru", "keras_lstm_hard_frozen_while", "keras_gru_before_frozen_while"])
def test_nodes_with_fewer_inputs_than_their_operator_takes(folder: Path, name: str):
    """Each node of a graph in turn, cut off after each of its inputs, as in a damaged file: nothing is raised."""
    graph = read_graph(folder / f"{name}.pb")
    for node in graph.nodes.values():
        for count in range(len(node.inputs)):
            damaged = replace(graph, nodes={**graph.nodes, node.name: replace(node, inputs=node.inputs[:count])})
            around.in_time(damaged, around.with_functions(damaged, by_graph.cells_in(damaged, damaged.stored)))


def test_a_graph_without_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "dense.pb"
    path.write_bytes(b"\x0a\x10\x0a\x01x\x12\x0bPlaceholder")
    assert main(["shapes", str(path)]) == 2
    assert "no recurrent parameters found" in capsys.readouterr().err


def test_peepholes_beside_a_projection_are_more_than_a_spec_says(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check", f"{folder}/{REFUSED}.pb"]) == 2
    assert "peepholes and proj_size exclude each other" in capsys.readouterr().err
