"""A Python loop of torch.nn.RNNCell, LSTMCell or GRUCell, as people write it who need something between steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rnnspect.engines.interface import EngineInfo, Recording
from rnnspect.engines.torch import run_head
from rnnspect.errors import InputError
from rnnspect.parameters import LayerParameters
from rnnspect.precision import precision_switches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.sequence import Sequence
    from rnnspect.spec import Spec


class TorchCellEngine:
    """Each layer and direction is one cell, called step by step. Raises `InputError` for a projection, which
    torch.nn.LSTMCell does not have."""

    name = "torch-cell"

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        if spec.beyond_torch:
            raise InputError(f"{self.name} cannot run this spec: {spec.beyond_torch}", allowed="another engine")
        if spec.proj_size:
            allowed = "proj_size: 0, or another engine"
            raise InputError("torch-cell cannot run a projection: torch.nn.LSTMCell has none", allowed=allowed)
        device = sequence.x.device
        switches = precision_switches(device, sequence.x.dtype, "cells")
        info = EngineInfo(self.name, torch.__version__, str(device), spec.dtype, switches)
        layers: dict[tuple[int, str], Tensor] = {}
        finals: list[tuple[Tensor, ...]] = []
        x = sequence.x
        with torch.no_grad():
            for layer in range(spec.num_layers):
                outputs = []
                for index, direction in enumerate(spec.directions):
                    cell = _cell(spec, LayerParameters.of(parameters, layer, direction), layer)
                    at = layer * spec.num_directions + index
                    state = tuple(initial[at] for initial in sequence.state)
                    h, final = _loop(cell, x, state, sequence.lengths, direction == "reverse")
                    layers[layer, direction] = h
                    outputs.append(h)
                    finals.append(final)
                x = torch.cat(outputs, -1)
        h_n, *c_n = (torch.stack(state) for state in zip(*finals, strict=True))
        return Recording(info, x, h_n, c_n[0] if c_n else None, layers, 0.0, run_head(spec, parameters, h_n))


def _cell(spec: Spec, p: LayerParameters, layer: int) -> nn.RNNCellBase:
    options: dict[str, Any] = {"nonlinearity": spec.nonlinearity} if spec.nonlinearity else {}
    kind = getattr(nn, spec.cell_type.torch_name + "Cell")
    cell: nn.RNNCellBase = kind(spec.layer_input_size(layer), spec.hidden_size, spec.bias, device="meta", **options)
    own = {"weight_ih": p.weight_ih, "weight_hh": p.weight_hh, "bias_ih": p.bias_ih, "bias_hh": p.bias_hh}
    cell.load_state_dict({name: value for name, value in own.items() if value is not None}, assign=True)
    return cell.eval()


def _loop(
    cell: nn.RNNCellBase, x: Tensor, state: tuple[Tensor, ...], lengths: tuple[int, ...] | None, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """h (T, B, H), zero beyond an item's length, and the final state (B, H)."""
    steps, batch = x.shape[:2]
    counts = torch.tensor(lengths or [steps] * batch, device=x.device)
    h = x.new_zeros(steps, batch, cell.hidden_size)
    for t in reversed(range(steps)) if reverse else range(steps):
        given = cell(x[t], state if len(state) > 1 else state[0])
        new = given if isinstance(given, tuple) else (given,)
        inside = (t < counts).unsqueeze(1)
        state = tuple(torch.where(inside, one, other) for one, other in zip(new, state, strict=True))
        h[t] = torch.where(inside, new[0], 0)
    return h, state


ENGINE = TorchCellEngine
