"""Files of torch.jit.freeze: parameters are numbered constants, and the code says of which call."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnspect.files.torch_frozen import frozen_modules
from rnnspect.weights import readers
from rnnspect.weights.readers.interface import spec_with


class Model(nn.Module):
    """What the module gives, in a model, as torch freezes nothing that is called by itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.rnn = module

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.rnn(x)[0]
        return found


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.LSTMCell(3, 4), nn.RNNCell(4, 5, bias=False, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(self.a(x)[0])
        return found


def frozen(
    model: nn.Module, path: Path, optimized: bool = False
) -> dict[str, tuple[dict[str, Any], dict[str, Tensor]]]:
    """The keys and the parameters of each module that is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        scripted = torch.jit.script(model.eval())
        made = torch.jit.optimize_for_inference(scripted) if optimized else torch.jit.freeze(scripted)
        made.save(str(path))
    found = {}
    for name, module in readers.modules_in(path, {}).items():
        keys = {key: value for key, value in module.tell().keys.items() if key != "weights"}
        found[name] = keys, module.read(spec_with(module.tell().keys, "a file")).parameters
    return found


STACKS: dict[str, dict[str, Any]] = {
    "LSTM": {"num_layers": 2, "batch_first": True, "bidirectional": True, "proj_size": 3, "dropout": 0.25},
    "GRU": {"num_layers": 2},
    "RNN": {"bias": False, "nonlinearity": "relu"},
}


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("kind", STACKS)
def test_a_stack(tmp_path: Path, kind: str, optimized: bool) -> None:
    torch.manual_seed(0)
    module, keys = getattr(nn, kind)(6, 9, **STACKS[kind]), STACKS[kind]
    ((told, parameters),) = frozen(Model(module), tmp_path / "model.pt", optimized).values()
    assert told["cell"] == kind.lower()
    assert {key: told.get(key, False if key == "batch_first" else value) for key, value in keys.items()} == keys
    assert parameters.keys() == dict(module.named_parameters()).keys()
    assert all(torch.equal(parameters[name], p) for name, p in module.named_parameters())


def test_cells(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Cells()
    found = frozen(model, tmp_path / "cells.pt")
    assert [(name, keys["cell"], keys.get("nonlinearity")) for name, (keys, _) in found.items()] == [
        ("lstm_cell", "lstm", None),
        ("rnn_relu_cell", "rnn", "relu"),
    ]
    for (_, parameters), cell in zip(found.values(), (model.a, model.b), strict=True):
        assert all(torch.equal(parameters[f"{name}_l0"], p) for name, p in cell.named_parameters())


CALL = "    a, b, c = torch.lstm(x, [h, h], [CONSTANTS.c0, CONSTANTS.c1], False, 1, 0., False, False, True)"


@pytest.mark.parametrize(
    "code",
    [
        CALL.replace("False, 1", "False, 99999"),
        CALL.replace("False, 1", "False, 0"),
        CALL.replace("False, 1", "False, one"),
        CALL.replace("CONSTANTS.c1", "w"),
        CALL.replace("[CONSTANTS.c0, CONSTANTS.c1]", "weights"),
        CALL.partition(", False")[0],
        "torch.lstm(",
        "torch.gru_cell(x, h, CONSTANTS.c1)",
        CALL + " " * 20_000 + CALL,
    ],
)
def test_code_that_says_no_parameters(code: str) -> None:
    assert frozen_modules(code) == []


def test_a_call_that_is_there_twice_is_one_module() -> None:
    (module,) = frozen_modules(f"{CALL}\n{CALL}")
    assert module.parameters == {"weight_ih_l0": 0, "weight_hh_l0": 1}


def test_a_packed_sequence_says_no_batch_first() -> None:
    call = "torch.rnn_relu(data, sizes, h, [CONSTANTS.c0, CONSTANTS.c1], False, 1, 0.5, False, False)"
    (module,) = frozen_modules(call)
    assert module.attributes == {"mode": "RNN_RELU", "dropout": 0.5}


def test_equal_parameters_that_torch_keeps_once_are_those_of_each(tmp_path: Path) -> None:
    modules = nn.LSTM(3, 4), nn.LSTM(4, 4)
    with torch.no_grad():
        for name in ("bias_ih_l0", "bias_hh_l0"):
            modules[0].get_parameter(name).zero_()
            modules[1].get_parameter(name).copy_(torch.arange(16))
        modules[1].weight_hh_l0.copy_(modules[0].weight_hh_l0)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = modules

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.second(self.first(x)[0])[0]
            return found

    found = [parameters for _, parameters in frozen(Both(), tmp_path / "both.pt").values()]
    assert len(found) == 2
    for one, module in zip(found, modules, strict=True):
        for name, values in module.state_dict().items():
            assert torch.equal(one[name], values)
