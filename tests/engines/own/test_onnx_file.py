"""An .onnx file as the engine of a check: what was exported runs, against the equations with a checkpoint's weights."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

MODULES: dict[str, Any] = {
    "two layers": lambda: nn.LSTM(3, 4, 2, batch_first=True),
    "both directions": lambda: nn.GRU(3, 4, 2, bidirectional=True),
    "relu": lambda: nn.RNN(3, 4, nonlinearity="relu", bias=False),
}


def saved(module: nn.Module, folder: Path) -> tuple[Path, Path]:
    """The weights of a module, and the .onnx file that torch exports of it."""
    torch.save(module.state_dict(), folder / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        to = str(folder / "file.onnx")
        torch.onnx.export(module.eval(), (torch.randn(5, 5, 3),), to, dynamo=False, opset_version=17)
    return folder / "model.pt", folder / "file.onnx"


def edited(path: Path, change: Any) -> None:
    """Changes the first recurrent node of a file, or its weights by the names of the operator."""
    model = onnx.load(path)
    node = next(one for one in model.graph.node if one.op_type in ("LSTM", "GRU", "RNN"))
    by_name = {tensor.name: tensor for tensor in model.graph.initializer}
    held = {name: by_name[of] for name, of in zip("WRB", node.input[1:4], strict=True)}
    change(node, held)
    onnx.save(model, path)


def by_name(attributes: Any, name: str) -> Any:
    return next(one for one in attributes if one.name == name)


@pytest.mark.parametrize("name", MODULES)
def test_what_was_exported_agrees_with_the_checkpoint(rnnspect, tmp_path, name):
    torch.manual_seed(0)
    model, file = saved(MODULES[name](), tmp_path)
    flags = ["--nonlinearity", "relu"] if name == "relu" else []
    result = rnnspect("check", model, "--engine", file, *flags, "-f", "json")
    found = json.loads(result.out)
    assert (result.status, found["verdict"], found["engine"]["name"]) == (0, "agree", "file.onnx in onnxruntime")
    assert any("with the weights in it" in note for note in found["notes"])


def test_the_files_own_weights_run(rnnspect, tmp_path):
    """One recurrent weight of the second of four gates is another one: the checkpoint's equations disagree."""
    torch.manual_seed(0)
    model, file = saved(nn.LSTM(3, 4), tmp_path)

    def change(_node, held):
        values = numpy_helper.to_array(held["R"]).copy()
        values[0, 5, 2] += 0.25
        held["R"].CopyFrom(numpy_helper.from_array(values, held["R"].name))

    edited(file, change)
    result = rnnspect("check", model, "--engine", file, "--explain", "0", "-f", "json")
    found = json.loads(result.out)
    assert (result.status, found["verdict"], found["first"]["unit"]) == (1, "differ", 1)


def test_an_export_that_lost_an_attribute_is_explained(rnnspect, tmp_path):
    """linear_before_reset is what makes ONNX's GRU that of PyTorch."""
    torch.manual_seed(0)
    model, file = saved(nn.GRU(3, 4), tmp_path)
    edited(file, lambda node, _: node.attribute.remove(by_name(node.attribute, "linear_before_reset")))
    result = rnnspect("check", model, "--engine", file, "-f", "json")
    found = json.loads(result.out)
    assert result.status == 1
    assert [cause["name"] for cause in found["causes"]] == ["gru-reset-before"]
    assert any("has reset: before; the checked network has reset: after" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.GRU(3, 4), "the file has /LSTM: LSTM(3, 4); expected GRU(3, 4), the network that is checked"),
        (nn.LSTM(3, 5), "the file has /LSTM: LSTM(3, 4); expected LSTM(3, 5), the network that is checked"),
        (
            nn.LSTM(3, 4).double(),
            "in float64, the network that is checked; check in the dtype of the file: --dtype float32",
        ),
    ],
)
def test_what_does_not_fit_is_said_of_both(rnnspect, tmp_path, module, said):
    _, file = saved(nn.LSTM(3, 4), tmp_path)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    result = rnnspect("check", tmp_path / "model.pt", "--engine", file)
    assert (result.status, result.out) == (2, "")
    assert said in result.err
    assert "file.onnx" in result.err


def test_of_several_nodes_one_is_named(rnnspect, tmp_path):
    torch.manual_seed(0)
    model, file = saved(nn.Sequential(nn.RNN(3, 3)), tmp_path)
    made = onnx.load(file)
    again = made.graph.node.add()
    again.CopyFrom(next(one for one in made.graph.node if one.op_type == "RNN"))
    again.name = "other"
    again.output[:] = ["y2", "h2"]
    onnx.save(made, file)
    result = rnnspect("check", model, "--engine", file)
    assert (result.status, "2 nodes fit RNN(3, 3): " in result.err, "FILE.onnx:NODE" in result.err) == (2, True, True)
    assert rnnspect("check", model, "--engine", f"{file}:other").status == 0
    result = rnnspect("check", model, "--engine", f"{file}:othr")
    assert (result.status, "did you mean 'other'?" in result.err) == (2, True)


@pytest.mark.parametrize("content", [b"", b"\x08\x01 no model", b"[[1, 2]]"])
def test_damaged_files_are_named(rnnspect, tmp_path, content):
    model, file = saved(nn.GRU(3, 4), tmp_path)
    file.write_bytes(content)
    result = rnnspect("check", model, "--engine", file, "-q")
    assert (result.status, "file.onnx" in result.err, len(result.err.splitlines())) == (2, True, 1)
    file.unlink()
    assert "no such file" in rnnspect("check", model, "--engine", file).err


def test_weights_that_are_computed_are_said(rnnspect, tmp_path):
    torch.manual_seed(0)
    model, file = saved(nn.GRU(3, 4), tmp_path)

    def change(node, _held):
        node.input[2] = "computed elsewhere"

    edited(file, change)
    result = rnnspect("check", model, "--engine", file)
    assert (result.status, "unusable: the model computes R when it runs" in result.err) == (2, True)


def test_the_wrong_way_round_is_said(rnnspect, tmp_path):
    model, file = saved(nn.RNN(3, 4), tmp_path)
    result = rnnspect("check", file, "--engine", model)
    assert (result.status, f"rnnspect check model.safetensors --engine {file}" in result.err) == (2, True)


def test_its_numbers_are_derived_and_traced(rnnspect, tmp_path):
    torch.manual_seed(0)
    model, file = saved(nn.GRU(3, 4), tmp_path)
    np.save(tmp_path / "x.npy", torch.randn(6, 3).numpy())
    given = [model, "--input", tmp_path / "x.npy", "--engine", file]
    assert "file.onnx in onnxruntime" in rnnspect("trace", *given).out
    assert "file.onnx in onnxruntime: " in rnnspect("derive", *given, "--step", 2, "--unit", 1).out
