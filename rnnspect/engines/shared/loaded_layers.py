"""What a loaded model gives, run one layer at a time so that all of it is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnspect.network.recording import EngineInfo, Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec

    State = tuple[Tensor, ...]
    RunLayer = Callable[[int, Tensor, list[State]], tuple[Tensor, list[State]]]
    """From the layer, x (B, T, I) and for each direction the state that it starts from, h (B, H) and of an LSTM c, to
    output (B, T, D·H) and the states that they end with."""


def recording_of(spec: Spec, sequence: Sequence, info: EngineInfo, run_layer: RunLayer) -> Recording:
    """Each layer on what the one below gave. The sequence has no lengths."""
    layers: dict[tuple[int, str], Tensor] = {}
    finals: list[State] = []
    x = sequence.x.transpose(0, 1).contiguous()
    for layer in range(spec.num_layers):
        first = layer * spec.num_directions
        places = range(first, first + spec.num_directions)
        x, ended = run_layer(layer, x, [tuple(initial[at] for initial in sequence.state) for at in places])
        halves = x.transpose(0, 1).chunk(spec.num_directions, -1)
        layers |= {(layer, direction): h for direction, h in zip(spec.directions, halves, strict=True)}
        finals += ended
    h_n, *c_n = (torch.stack(state) for state in zip(*finals, strict=True))
    return Recording(info, x.transpose(0, 1), h_n, c_n[0] if c_n else None, layers, 0.0)
