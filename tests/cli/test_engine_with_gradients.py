"""Which engine goes back where none is named: never silently another one than that which runs the network forwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rnnspect import Spec, engines
from rnnspect.engines.interface import BEYOND_TORCH, GO_BACK, Choosy
from rnnspect.errors import EngineError
from tests import onnx_models
from tests.engines.test_engines import find
from tests.weights.readers.keras_files import Layer, keras_3

if TYPE_CHECKING:
    from pathlib import Path

onnx = pytest.importorskip("onnx", reason="skipped: onnx is not installed")
LOADED = "cannot load keras: keras is not installed; run pip install 'rnnspect[keras]'"


@pytest.fixture
def without_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> None:
        raise EngineError(LOADED)

    monkeypatch.setattr(engines, "find", find)


@pytest.fixture
def with_keras() -> None:
    pytest.importorskip("onnxruntime", reason="skipped: onnxruntime is not installed")
    find("keras")


def saved(folder: Path, op: str, **attributes: object) -> Path:
    onnx.save(onnx_models.of_node(op, **attributes), folder / "model.onnx")
    return folder / "model.onnx"


def test_torch_goes_back_with_the_weights_of_an_onnx_file(rnnspect, tmp_path) -> None:
    result = rnnspect("check", saved(tmp_path, "LSTM"), "--backward", "--input", "randn:9", "-f", "json")
    assert result.status == 0
    assert json.loads(result.out)["engine"]["name"] == "torch"
    file = tmp_path / "model.onnx"
    assert result.err == f"note: onnxruntime has no gradients, so torch runs the weights of {file}:the node\n"


def test_one_that_is_named_is_taken(rnnspect, tmp_path) -> None:
    file = saved(tmp_path, "LSTM")
    result = rnnspect("check", file, "--backward", "--input", "randn:9", "--engine", "torch-cell", "-f", "json")
    assert json.loads(result.out)["engine"]["name"] == "torch-cell"
    assert result.err == ""
    result = rnnspect("check", file, "--backward", "--engine", "onnxruntime")
    assert result.status == 2
    assert "onnxruntime has no backward pass; choose torch, torch-cell" in result.err


def test_keras_goes_back_where_torch_has_no_such_network(rnnspect, tmp_path, with_keras) -> None:
    file = saved(tmp_path, "GRU")
    result = rnnspect("check", file, "--backward", "-f", "json")
    assert (result.status, json.loads(result.out)["engine"]["name"]) == (0, "keras")
    assert result.err == f"note: onnxruntime has no gradients, so keras runs the weights of {file}:the node\n"
    for command in (("trace", "--backward"), ("derive", "--gradient", "weight_hh_l0[1,1]")):
        result = rnnspect(*command, file, "--input", "randn:3")
        assert result.status == 0
        assert "\nkeras " in result.out
        assert result.err.startswith("note: ")
        assert result.err.endswith(f", so keras runs the weights of {file}:the node\n")


def test_keras_goes_back_over_its_own_hard_sigmoid(rnnspect, tmp_path, with_keras) -> None:
    file = keras_3(tmp_path / "lstm.keras", [Layer("lstm", "lstm", {"recurrent_activation": "hard_sigmoid"})])
    result = rnnspect("check", file, "--backward", "-f", "json")
    assert (result.status, json.loads(result.out)["engine"]["name"], result.err) == (0, "keras", "")


def test_where_none_can_the_message_says_who_has_gradients_and_what_to_type(rnnspect, tmp_path) -> None:
    file = saved(tmp_path, "LSTM", peepholes=True)
    result = rnnspect("check", file, "--backward")
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        f"error: {file}:the node: no engine with gradients can run this network: torch.nn.LSTM has no peepholes; "
        "--engine path/to/mine.py:backward checks your own code; "
        "rnnspect trace … --backward shows the gradients by the equations\n"
    )
    result = rnnspect("trace", file, "--backward", "--input", "randn:3")
    assert result.status == 0
    said = (
        "no engine with gradients can run this network: torch.nn.LSTM has no peepholes: only the equations' are shown"
    )
    assert said in " ".join(result.out.split())


def test_a_page_of_gradients_needs_no_engine(rnnspect, tmp_path, without_keras) -> None:
    page = tmp_path / "report.html"
    result = rnnspect("report", "--cell", "gru", "--reset", "before", "--backward", "-o", page)
    assert result.status == 0
    assert "How far the gradient reaches" in page.read_text()
    first, *_, last = result.err.splitlines()
    assert first.startswith("note: no engine with gradients can run this network: torch.nn.GRU applies the reset gate")
    assert first.endswith("only the equations' are shown")
    assert last == "cannot tell whether an engine matches this GRU: only the equations were computed"


def test_a_page_of_gradients_is_of_keras_where_torch_has_no_such_network(rnnspect, tmp_path, with_keras) -> None:
    result = rnnspect("report", "--cell", "gru", "--reset", "before", "--backward", "-o", tmp_path / "report.html")
    assert result.status == 0
    assert "so keras runs this network" in result.err
    assert "agree: keras matches this GRU" in result.err


def test_what_can_be_installed_is_said(without_keras) -> None:
    with pytest.raises(EngineError, match=r"reset gate after the matrix product; cannot load keras: .*pip install"):
        engines.first_going_back(Spec(cell="gru", reset="before"))
    with pytest.raises(EngineError) as raised:  # to install it would not help
        engines.first_going_back(Spec(cell="lstm", clip=1.0))
    assert "keras is not installed" not in str(raised.value)


def test_a_network_of_torch_is_torchs() -> None:
    assert engines.first_going_back(Spec(cell="lstm", proj_size=1, num_layers=2, bidirectional=True)) == "torch"


@pytest.mark.parametrize("name", GO_BACK)
def test_the_others_know_what_torch_computes(name: str) -> None:
    """`first_going_back` asks those alone that may know more."""
    assert name not in BEYOND_TORCH or isinstance(find(name), Choosy)
