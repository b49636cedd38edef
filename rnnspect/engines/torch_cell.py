"""A Python loop over torch.nn.RNNCell, LSTMCell or GRUCell, as it is written where something happens between steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from rnnspect.engines.interface import GoesBack, cannot, check_spec
from rnnspect.engines.own.loading import evaluating
from rnnspect.engines.shared.autograd import Leaves, trained
from rnnspect.engines.shared.layers import Place, Returned, StateTensors, layers_backward, run_layers, run_steps
from rnnspect.engines.shared.live_modules import GOING_BACK, on_x, states_returned, their_code, told
from rnnspect.errors import listed
from rnnspect.network.device import precision_switches
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.parameters import recurrent_parameters
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.network.torch_modules import ONE_RUN


class TorchCellEngine:
    """Each layer and direction is one cell, called step by step."""

    name = "torch-cell"
    piece: int | None = 1 << 12

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        return run_layers(spec, parameters, sequence, self._info(spec, sequence), self._run_one)

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        """The loop, and one pass of autograd over it."""
        info = self._info(spec, sequence)
        return layers_backward(spec, Leaves.of(sequence, parameters), info, self._run_one, upstream)

    def _info(self, spec: Spec, sequence: Sequence) -> EngineInfo:
        """Raises `EngineError` for what no cell of torch.nn computes."""
        check_spec(self.name, spec, (), projection="torch.nn.LSTMCell has none")
        device = sequence.x.device
        switches = precision_switches(device, sequence.x.dtype, "cells")
        return EngineInfo(self.name, torch.__version__, str(device), spec.dtype, switches)

    def _run_one(self, place: Place, x: Tensor) -> Returned:
        return _stepped(self.name, _cell_at(place), place, x)


class LiveCellEngine(TorchCellEngine):
    """Calls a live nn.RNNCell, nn.LSTMCell or nn.GRUCell step by step, in eval mode."""

    piece = None

    def __init__(self, cell: nn.RNNCellBase) -> None:
        self._cell = cell

    def _run_one(self, place: Place, x: Tensor) -> Returned:
        with ONE_RUN, evaluating(self._cell), told(self.name, "this module"):
            return _stepped(self.name, self._cell, place, x)

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        """Of the cell's own parameters, whose `.grad` stays as it is."""
        del parameters
        info, names = self._info(spec, sequence), [one.name for one in recurrent_parameters(spec)]
        with ONE_RUN, trained(self._cell, self.name):
            inside = {name: name.removesuffix("_l0") for name in names}
            if renewed := [one for one in inside.values() if not _is_constant(self._cell, one)]:
                why = f"each call of it makes {listed(renewed)} anew, as torch.nn.utils.weight_norm does"
                raise cannot(
                    self.name, "the backward pass of this cell", why, "use torch.nn.utils.parametrizations.weight_norm"
                )
            own = {name: getattr(self._cell, one) for name, one in inside.items()}
            leaves = replace(Leaves.of(sequence, {}), parameters=own)
            with their_code(self.name, self._cell, GOING_BACK):
                found = layers_backward(spec, leaves, info, self._run_one, upstream)
            return leaves.with_zeros(found)

    def handed(self) -> GoesBack:
        return TorchCellEngine()


def _is_constant(cell: nn.RNNCellBase, name: str) -> bool:
    """Whether all calls, inside of `trained`, take the same tensor."""
    return name in cell._parameters or is_parametrized(cell, name)


def _cell_at(place: Place) -> nn.RNNCellBase:
    """The cell of one layer and direction, with its parameters."""
    spec = place.spec
    options: dict[str, Any] = {"nonlinearity": spec.nonlinearity} if spec.nonlinearity else {}
    kind = getattr(nn, spec.cell_type.torch_name + "Cell")
    width = spec.layer_input_size(place.layer)
    cell: nn.RNNCellBase = kind(width, spec.hidden_size, spec.bias, device="meta", **options)
    for name, values in place.arrays.items():  # as they are: load_state_dict would take them out of autograd
        delattr(cell, name)
        setattr(cell, name, values)
    return cell


def _stepped(engine: str, cell: nn.RNNCellBase, place: Place, x: Tensor) -> Returned:
    def step(x_t: Tensor, state: StateTensors) -> StateTensors:
        with their_code(engine, cell, on_x(x_t)):
            given = cell(x_t, state if len(state) > 1 else state[0])
        return states_returned(engine, cell, given, state)

    return run_steps(place, x, step)


ENGINE = TorchCellEngine
