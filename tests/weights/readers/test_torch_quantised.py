"""What torch.ao.quantization.quantize_dynamic makes of LSTM, GRU and their cells: its weights are those that torch
multiplies with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspect.cli import main
from rnnspect.files.pickle_inert import PERSISTENT, Named, Record
from rnnspect.files.rebuilding import rebuilt
from rnnspect.files.safetensors_file import read_safetensors
from rnnspect.network.spec import Spec
from rnnspect.weights import readers

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, torch.quantize_per_channel"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated"),
]
HOW = ("state", "module", "script")


def quantised(module: nn.Module, how: Any) -> nn.Module:
    kinds: Any = {nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell}
    ao: Any = torch.ao.quantization
    if how == "per channel":
        kinds, how = {type(module[0]): ao.per_channel_dynamic_qconfig}, torch.qint8  # type: ignore[index]
    made: nn.Module = ao.quantize_dynamic(module.eval(), kinds, dtype=how)
    return made


def saved(module: nn.Module, path: Path, how: str) -> Path:
    if how == "script":
        torch.jit.script(module).save(str(path))
    else:
        torch.save(module if how == "module" else module.state_dict(), path)
    return path


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("directions", [1, 2])
def test_float16_weights_are_those_that_torch_runs_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, directions: int, how: str
) -> None:
    """It rounds nothing else to float16, so that the recorded run is within the bound of float32."""
    torch.manual_seed(0)
    stack = getattr(nn, kind)(6, 9, 2, batch_first=True, bidirectional=directions == 2)
    module, x = quantised(nn.Sequential(stack), torch.float16), torch.randn(2, 12, 6)
    path = saved(module, tmp_path / "weights.pt", how)
    np.save(tmp_path / "x.npy", x.numpy())
    np.save(tmp_path / "y.npy", module(x)[0].detach().numpy())
    given = ["--input", f"{tmp_path}/x.npy", "--recorded", f"{tmp_path}/y.npy"]
    assert main(["check", str(path), *given, "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["verdict"] == "agree"
    assert "holds quantised weights, which are read as the numbers that they stand for\n" in printed.err


@pytest.mark.parametrize("how", ["8 bits", "per channel"])
def test_weights_of_8_bits_are_the_nearest_ones(tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all numbers of a matrix, or of each of its rows. Biases stay as they are."""
    torch.manual_seed(0)
    stack = nn.Sequential(nn.LSTM(6, 9, 2))
    path = saved(quantised(stack, "per channel" if how == "per channel" else torch.qint8), tmp_path / "w.pt", "state")
    assert main(["shapes", str(path)]) == 0
    assert "x and h as well, as it runs, is not in the equations" in capsys.readouterr().err
    plain = tmp_path / "plain.safetensors"
    assert main(["convert", str(path), "--to", "pytorch", "-o", str(plain)]) == 0
    found, parameters = read_safetensors(plain), dict(stack[0].named_parameters())
    assert found.keys() == parameters.keys()
    for name, own in parameters.items():
        if name.startswith("bias"):
            assert torch.equal(found[name], own)
            continue
        most = own.abs().amax(1, keepdim=True) if how == "per channel" else own.abs().amax()
        off = (found[name] - own).abs()
        assert off.max() > 0
        assert (off <= most / 127).all()  # of 127 or 127.5 steps to the largest, half a step, with some room
        assert (off <= most / 254 * (1 + 1e-5)).float().mean() > 0.99  # the largest may be cut off at 127


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [2, 3])
def test_a_stack_whose_x_is_as_wide_as_h(tmp_path: Path, layers: int, directions: int) -> None:
    """A state does not say its directions; the third of its cells takes h of both where there are two."""
    stack = nn.LSTM(6, 6, layers, bidirectional=directions == 2)
    path = saved(quantised(nn.Sequential(stack), torch.float16), tmp_path / "w.pt", "state")
    (found,) = readers.modules_in(path, {}).values()
    keys = found.tell().keys
    assert (keys["num_layers"], keys["bidirectional"]) == (layers, directions == 2)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
def test_cells(tmp_path: Path, how: str, dtype: torch.dtype) -> None:
    """Those of a whole module hold biases at random, too, which torch does not use."""

    class Cells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.LSTMCell(3, 4), nn.GRUCell(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h: torch.Tensor = self.b(self.a(x)[0])
            return h

    exact = Cells()
    module: Any = quantised(exact, dtype)
    path = tmp_path / "cells.pt"
    if how == "module":
        torch.save(nn.ModuleDict({"a": module.a, "b": module.b}), path)
    else:
        saved(module, path, how)
    one = readers.modules_in(path, {})["a"]
    read = one.read(Spec.model_validate({**one.tell().keys, "weights": f"{path}:a"})).parameters
    assert torch.equal(read["bias_hh_l0"], exact.a.bias_hh)
    assert torch.equal(read["bias_ih_l0"], exact.a.bias_ih)
    told = {name: module.tell().keys for name, module in readers.modules_in(path, {}).items()}
    assert {name: (keys["cell"], keys["input_size"], keys["hidden_size"]) for name, keys in told.items()} == {
        "a": ("lstm", 3, 4),
        "b": ("gru", 4, 5),
    }


def test_scales_that_are_quantised_themselves_are_not_read() -> None:
    """No torch writes them; one inside of another would go on as deep as a file says."""
    numbers = Record("torch._utils._rebuild_qtensor", ())
    for _ in range(5000):
        affine = (Named("torch.per_channel_affine"), numbers, numbers, 0)
        numbers = Record("torch._utils._rebuild_qtensor", (Record(PERSISTENT, 0), 0, (1,), (1,), affine))
    assert rebuilt(numbers, lambda _key: None, "a file") is None
