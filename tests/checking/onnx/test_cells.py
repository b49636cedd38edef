"""Cells that an ONNX model writes out in other operators: read, judged, traced; against torch and numbers put in."""

from __future__ import annotations

import itertools
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from rnnspect.cli import main
from rnnspect.files.onnx_file import Constants, read_model
from rnnspect.weights.readers.onnx_written_out import cells_in, described_cell, parameters_of_cell
from tests import onnx_models as made
from tests import written_cells as written

if TYPE_CHECKING:
    from pathlib import Path

FORMS = [
    written.Form("ifgo"),
    written.Form("iofg", turned=True),
    written.Form("figo", gemm=False),
    written.Form("ofgi", gemm=False, turned=True),
    written.Form("fiog", joined=True),
    written.Form("igfo", joined=True, gemm=False, turned=True),
]
CELLS = {
    "lstm": nn.LSTMCell(3, 4),
    "gru": nn.GRUCell(3, 4),
    "rnn": nn.RNNCell(3, 4),
    "relu": nn.RNNCell(3, 4, nonlinearity="relu"),
    "lstm of as many inputs as units": nn.LSTMCell(4, 4),
    "gru without biases": nn.GRUCell(3, 4, bias=False),
}


class Unrolled(nn.Module):
    """Three steps of a cell."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        for step in range(3):
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(x[step], (h, c))
            else:
                h = self.cell(x[step], h)
        return h


def exported(cell: nn.Module, path: Path, opset: int) -> None:
    inputs = torch.randn(3, 2, cell.input_size), torch.randn(2, 4), torch.randn(2, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Unrolled(cell).eval(), inputs, str(path), dynamo=False, opset_version=opset, input_names=["x", "h", "c"]
        )


def read(path: Path) -> dict[str, Any]:
    model = read_model(path)
    return cells_in(model, str(path), Constants(model), [])


def documents(arguments: list[str], capsys: Any) -> tuple[int, list[dict[str, Any]]]:
    status = main(["check", *arguments, "-f", "json", "-q"])
    found = json.loads(capsys.readouterr().out)
    return status, found if isinstance(found, list) else [found]


@pytest.mark.each_value_once
@pytest.mark.parametrize("opset", [17, 18, 20])
@pytest.mark.parametrize("kind", CELLS)
def test_what_torch_exports_is_the_cell_that_it_was(tmp_path: Path, capsys: Any, kind: str, opset: int):
    cell, path = CELLS[kind], tmp_path / "m.onnx"
    exported(cell, path, opset)
    (found,) = read(path).values()
    assert (found.name, len(found.steps), found.guessed) == ("cell", 3, False)
    given = parameters_of_cell(found)
    assert given.keys() == {f"{name}_l0" for name, _ in cell.named_parameters()}
    for name, values in cell.named_parameters():
        assert torch.equal(given[f"{name}_l0"], values.detach())
    status, rows = documents([str(path), "--input", "randn:3"], capsys)
    assert (status, [row["verdict"] for row in rows], rows[0]["checked"]["values"]) == (0, ["agree"], 24), rows


class FromZeros(Unrolled):
    """A cell that begins with the zeros that it takes by itself, which the exporter makes constants of."""

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        h, c = self.cell(x[0])
        for step in range(1, 3):
            h, c = self.cell(x[step], (h, c))
        return h


def test_a_first_step_from_constants_is_said_not_to_be_read(tmp_path: Path, capsys: Any):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, inputs = FromZeros(CELLS["lstm"]).eval(), (torch.randn(3, 2, 3), torch.randn(2, 4), torch.randn(2, 4))
        path = str(tmp_path / "m.onnx")
        torch.onnx.export(module, inputs, path, dynamo=False, opset_version=17, input_names=["x", "h", "c"])
    status = main(["check", path, "--input", "randn:3"])
    captured = capsys.readouterr()
    assert (status, "AGREE" in captured.out) == (0, True)
    assert "built from single operators: 2 steps, each of" in captured.err
    assert "what gives its first h, Mul /cell/Mul_2, is not part of a step" in captured.err


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.order} {form.joined} {form.gemm} {form.turned}")
def test_an_lstm_is_found_by_how_its_gates_are_used(tmp_path: Path, capsys: Any, form: written.Form):
    path = tmp_path / "m.onnx"
    onnx.save(written.unrolled("LSTM", form), path)
    (found,) = read(path).values()
    held, given = written.weights("LSTM"), parameters_of_cell(found)
    assert described_cell(found) | {"cell": "lstm", "input_size": 3, "hidden_size": 4} == described_cell(found)
    assert np.array_equal(given["weight_ih_l0"], written.packed(held, "W", "ifgo"))
    assert np.array_equal(given["weight_hh_l0"], written.packed(held, "U", "ifgo"))
    assert np.array_equal(given["bias_ih_l0"], written.packed(held, "b", "ifgo"))
    status, rows = documents([str(path), "--input", "randn:3"], capsys)
    assert (status, [row["verdict"] for row in rows]) == (0, ["agree"]), rows


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("order", ["rzn", "nzr", "zrn"])
def test_a_gru_is_found_by_how_its_gates_are_used(tmp_path: Path, capsys: Any, order: str, reset: str):
    path = tmp_path / "m.onnx"
    onnx.save(written.unrolled("GRU", written.Form(order, gemm=order != "nzr"), reset=reset), path)
    (found,) = read(path).values()
    held, given = written.weights("GRU"), parameters_of_cell(found)
    assert described_cell(found).get("reset", "after") == reset
    assert np.array_equal(given["weight_ih_l0"], written.packed(held, "W", "rzn"))
    assert np.array_equal(given["weight_hh_l0"], written.packed(held, "U", "rzn"))
    status, rows = documents([str(path), "--input", "randn:3"], capsys)
    assert (status, [row["verdict"] for row in rows]) == (0, ["agree"]), rows


@pytest.mark.parametrize("carried", [False, True])
def test_steps_in_a_loop_are_one_sequence(tmp_path: Path, capsys: Any, carried: bool):
    """Weights may go from iteration to iteration as they are, as tf2onnx writes them."""
    onnx.save(written.in_loop(carried=carried), tmp_path / "m.onnx")
    assert [*read(tmp_path / "m.onnx")] == ["rnn"]
    status, rows = documents([str(tmp_path / "m.onnx"), "--input", "randn:5"], capsys)
    assert (status, [row["verdict"] for row in rows]) == (0, ["agree"]), rows
    assert "5 steps of a cell built from single operators" in rows[0]["notes"]


def test_what_a_loop_changes_is_no_constant(tmp_path: Path, capsys: Any):
    """h and c begin with constants around the loop, which only its weights stay."""
    model = written.in_loop(carried=True)
    del model.graph.input[1:]
    zeros = np.zeros((2, written.HIDDEN), np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(zeros, name) for name in "hc")
    onnx.save(model, tmp_path / "m.onnx")
    (found,) = read(tmp_path / "m.onnx").values()
    assert [found.view.constant(name) is None for name in ("h in", "c in", "W", "U")] == [True, True, False, False]
    status, rows = documents([str(tmp_path / "m.onnx"), "--input", "randn:5", "--batch", "2"], capsys)
    assert (status, [row["verdict"] for row in rows]) == (0, ["agree"]), rows


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(range(4), 2)])
def test_gates_that_are_exchanged_are_seen(tmp_path: Path, capsys: Any, one: int, other: int, monkeypatch: Any):
    """What the check holds the run to are the parameters that were read: with two gates exchanged it differs."""

    def exchanged(cell: Any) -> dict[str, torch.Tensor]:
        order = list(range(4))
        order[one], order[other] = other, one
        return {name: torch.cat([v.chunk(4)[at] for at in order]) for name, v in parameters(cell).items()}

    parameters = parameters_of_cell
    monkeypatch.setattr("rnnspect.checking.onnx.cells.parameters_of_cell", exchanged)
    onnx.save(written.unrolled("LSTM", FORMS[0]), tmp_path / "m.onnx")
    status, rows = documents([str(tmp_path / "m.onnx"), "--input", "randn:3", "--explain", "0"], capsys)
    assert (status, rows[0]["verdict"]) == (1, "differ")


@pytest.mark.parametrize("reset", ["after", "before"])
def test_other_commands_take_it_as_a_node(tmp_path: Path, capsys: Any, reset: str):
    path = str(tmp_path / "m.onnx")
    onnx.save(written.unrolled("GRU", written.Form("zrn"), reset=reset), path)
    assert main(["shapes", path]) == 0
    out, err = capsys.readouterr()
    assert "GRU(3, 4" in out
    assert "is not one node but built from single operators: 3 steps, each of" in err
    assert main(["trace", path, "--input", "randn:6"]) == 0
    engine = "onnxruntime" if reset == "before" else "torch"
    assert engine in capsys.readouterr().out
    assert main(["derive", path, "--step", "1", "--unit", "2"]) == 0
    assert main(["report", path, "-o", str(tmp_path / "r.html")]) == 0


def test_one_gate_that_nobody_uses_so_is_counted(tmp_path: Path, capsys: Any):
    model = written.unrolled("LSTM", FORMS[0], steps=1)
    for node in model.graph.node:
        node.op_type = "Erf" if node.op_type == "Tanh" else node.op_type
    onnx.save(model, tmp_path / "m.onnx")
    for command in ("shapes", "check", "trace"):
        assert main([command, str(tmp_path / "m.onnx")]) == 2
        assert "its 3 Sigmoid, 1 Split could not be read as a cell" in capsys.readouterr().err


def test_sums_beside_themselves_end(tmp_path: Path, capsys: Any):
    """x + x, and that beside itself, a hundred times over; whole numbers times themselves as the ends of a Slice."""
    sums = [helper.make_node("Add", [f"s{at}", f"s{at}"], [f"s{at + 1}"]) for at in range(90)]
    numbers = [helper.make_node("Mul", [f"n{at}", f"n{at}"], [f"n{at + 1}"]) for at in range(90)]
    nodes = [helper.make_node("MatMul", ["x", "W"], ["s0"]), *sums, *numbers]
    nodes += [helper.make_node("Slice", ["s90", "n90", "n90"], ["cut"]), helper.make_node("Sigmoid", ["cut"], ["y"])]
    nodes += [helper.make_node("Tanh", ["s90"], ["t"]), helper.make_node("Mul", ["y", "t"], ["yy"])]
    onnx.save(made.model(nodes, {"W": np.eye(3, dtype=np.float32), "n0": np.array([3])}), tmp_path / "m.onnx")
    assert main(["shapes", str(tmp_path / "m.onnx")]) == 2
    assert "could not be read as a cell" in capsys.readouterr().err


def in_dtype(model: onnx.ModelProto, dtype: str) -> onnx.ModelProto:
    """The model with all its numbers in another dtype."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(dtype), tensor.name))
    for known in (*model.graph.input, *model.graph.output):
        known.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return model


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize(("kind", "order"), [("LSTM", "ifgo"), ("GRU", "rzn")])
def test_other_dtypes(tmp_path: Path, capsys: Any, kind: str, order: str, dtype: str):
    onnx.save(in_dtype(written.unrolled(kind, written.Form(order)), dtype), tmp_path / "m.onnx")
    status, rows = documents([str(tmp_path / "m.onnx"), "--input", "randn:3", "--batch", "8"], capsys)
    assert (status, rows[0]["verdict"], rows[0]["engine"]["dtype"]) == (0, "agree", dtype), rows


def test_constants_in_two_dtypes_are_refused(tmp_path: Path, capsys: Any):
    """Which no runtime may run: onnx.reference would, and its numbers would be of neither."""
    model = written.unrolled("LSTM", FORMS[0])
    tensor = next(one for one in model.graph.initializer if one.name == "U bias")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    onnx.save(model, tmp_path / "m.onnx")
    for command in ("shapes", "check"):
        assert main([command, str(tmp_path / "m.onnx")]) == 2
        assert "constants of dtype float32 and float64; expected one of float32" in capsys.readouterr().err


def rewired(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """One change of an operator, an input, an output or a constant, as a wrong export might have it."""
    graph = model.graph
    names = [name for node in graph.node for name in node.output] + [tensor.name for tensor in graph.initializer]
    node, tensor = graph.node[rng.integers(len(graph.node))], graph.initializer[rng.integers(len(graph.initializer))]
    match rng.integers(6):
        case 0:
            node.op_type = str(rng.choice(["Add", "Mul", "Sub", "Split", "Slice", "Gemm", "MatMul", "Concat", "Shape"]))
        case 1:
            node.input[rng.integers(len(node.input))] = str(rng.choice([*names, ""]))
        case 2:
            del node.input[rng.integers(len(node.input))]
        case 3:
            node.output[0] = str(rng.choice(names))
        case 4:
            values = numpy_helper.to_array(tensor)
            other = rng.choice(4)
            changed = [values.reshape(-1), values[None], values.astype(np.float16), values.astype(np.int64)][other]
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
        case 5:
            tensor.name = str(rng.choice(names))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_graphs_that_are_wired_wrongly_are_refused_or_answered(tmp_path: Path, capsys: Any, kind: str):
    rng, path = np.random.default_rng(1), tmp_path / "m.onnx"
    whole = written.unrolled(kind, written.Form({"LSTM": "fiog", "GRU": "zrn"}[kind], gemm=kind == "GRU"), steps=2)
    for _ in range(60):
        model = onnx.ModelProto()
        model.CopyFrom(whole)
        for _ in range(rng.integers(1, 4)):
            rewired(model, rng)
        path.write_bytes(model.SerializeToString())
        status = main(["check", str(path), "--explain", "0"])
        assert status in (0, 1, 2, 3), (capsys.readouterr().err, model)


def test_a_tensor_that_is_held_and_made_is_the_one_that_is_held(tmp_path: Path, capsys: Any):
    """Identity gives the bias of the file a second time, from a tensor that nobody knows."""
    model = written.unrolled("LSTM", FORMS[0], steps=1)
    model.graph.node.append(helper.make_node("Identity", ["nowhere"], ["W bias"]))
    onnx.save(model, tmp_path / "m.onnx")
    (found,) = read(tmp_path / "m.onnx").values()
    assert np.array_equal(parameters_of_cell(found)["bias_ih_l0"], written.packed(written.weights("LSTM"), "b", "ifgo"))


def test_one_state_for_all_items(tmp_path: Path, capsys: Any):
    """h and c of a single item, which Add and Mul repeat for each item of x."""
    model = written.unrolled("LSTM", FORMS[0])
    for known in model.graph.input[1:]:
        known.CopyFrom(made.value(known.name, made.F, [1, written.HIDDEN]))
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(3, 2, 3)))
    status, rows = documents([str(tmp_path / "m.onnx"), "--input", f"x={tmp_path}/x.npy"], capsys)
    assert (status, rows[0]["verdict"], rows[0]["checked"]["values"]) == (0, "agree", 24), rows


@pytest.mark.slow
def test_damaged_files_are_refused_or_answered(tmp_path: Path, capsys: Any):
    rng, path = np.random.default_rng(0), tmp_path / "m.onnx"
    whole = written.unrolled("LSTM", FORMS[2], steps=2).SerializeToString()
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.1 else data)
        assert main(["shapes", str(path)]) in (0, 2), bytes(data)
        err = capsys.readouterr().err
        assert "Traceback" not in err
