"""A Python loop over torch.nn.RNNCell, LSTMCell or GRUCell, as it is written where something happens between steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rnnspect.engines.interface import check_spec
from rnnspect.engines.own.loading import evaluating
from rnnspect.engines.shared.layers import Place, Ran, State, run_layers, run_steps
from rnnspect.network.device import precision_switches
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.network.torch_modules import ONE_RUN


class TorchCellEngine:
    """Each layer and direction is one cell, called step by step."""

    name = "torch-cell"
    piece: int | None = 1 << 12

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        check_spec(self.name, spec, (), projection="torch.nn.LSTMCell has none")
        device = sequence.x.device
        switches = precision_switches(device, sequence.x.dtype, "cells")
        info = EngineInfo(self.name, torch.__version__, str(device), spec.dtype, switches)
        return run_layers(spec, parameters, sequence, info, self._run_one)

    def _run_one(self, place: Place, x: Tensor) -> Ran:
        return _stepped(_cell_at(place), place, x)


class CellEngine(TorchCellEngine):
    """Calls a live nn.RNNCell, nn.LSTMCell or nn.GRUCell step by step, in eval mode."""

    piece = None

    def __init__(self, cell: nn.RNNCellBase) -> None:
        self._cell = cell

    def _run_one(self, place: Place, x: Tensor) -> Ran:
        with ONE_RUN, evaluating(self._cell):
            return _stepped(self._cell, place, x)


def _cell_at(place: Place) -> nn.RNNCellBase:
    """The cell of one layer and direction, with its parameters."""
    spec = place.spec
    options: dict[str, Any] = {"nonlinearity": spec.nonlinearity} if spec.nonlinearity else {}
    kind = getattr(nn, spec.cell_type.torch_name + "Cell")
    width = spec.layer_input_size(place.layer)
    cell: nn.RNNCellBase = kind(width, spec.hidden_size, spec.bias, device="meta", **options)
    cell.load_state_dict(dict(place.arrays), assign=True)
    return cell


def _stepped(cell: nn.RNNCellBase, place: Place, x: Tensor) -> Ran:
    def step(x_t: Tensor, state: State) -> State:
        given = cell(x_t, state if len(state) > 1 else state[0])
        return given if isinstance(given, tuple) else (given,)

    return run_steps(place, x, step)


ENGINE = TorchCellEngine
