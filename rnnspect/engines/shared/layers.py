"""A stack for engines that run one layer and direction at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rnnspect.engines.torch import run_head
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.recording import Recording
from rnnspect.network.spec import form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts.packing import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Place:
    """One layer and direction of a network, and what it starts from: h0 (B, P), and c0 (B, H) of an LSTM."""

    spec: Spec
    layer: int
    direction: str
    arrays: Mapping[str, Tensor]
    """The parameters as the engine's layout has them."""
    state: tuple[Tensor, ...]
    lengths: tuple[int, ...] | None

    @property
    def reverse(self) -> bool:
        return self.direction == "reverse"

    def __str__(self) -> str:
        return f"layer {self.layer} {self.direction}"


Ran = tuple["Tensor", tuple["Tensor", ...]]
"""h (T, B, P) by the step of the input, and the state that each item ended with: h (B, P), and c (B, H)."""


def run_layers(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    info: EngineInfo,
    run_one: Callable[[Place, Tensor], Ran],
    layout: str = "pytorch",
) -> Recording:
    """Each layer runs on what the layers below gave, zero beyond an item's length, whatever the engine leaves there.

    `layout` is what the engine's arrays are called and how they lie; what has no place there goes into the notes.
    """
    valid = sequence.valid()
    inside = None if valid is None else valid.to(sequence.x.device)[..., None]
    layers: dict[tuple[int, str], Tensor] = {}
    finals: list[tuple[Tensor, ...]] = []
    notes: list[str] = []
    x = sequence.x
    with torch.no_grad():
        for layer in range(spec.num_layers):
            for index, direction in enumerate(spec.directions):
                at = layer * spec.num_directions + index
                p = LayerParameters.of(parameters, layer, direction)
                state = tuple(initial[at] for initial in sequence.state)
                packed = pack(layouts.find(layout), form_of(spec), p)
                place = Place(spec, layer, direction, packed.arrays, state, sequence.lengths)
                h, final = run_one(place, x)
                layers[layer, direction] = h if inside is None else torch.where(inside, h, 0)
                finals.append(final)
                notes += [f"{place}: {one}" for one in packed.lost]
            x = torch.cat([layers[layer, direction] for direction in spec.directions], -1)
    h_n, *c_n = (torch.stack(state) for state in zip(*finals, strict=True))
    head = run_head(spec, parameters, h_n)
    return Recording(info, x, h_n, c_n[0] if c_n else None, layers, 0.0, head, tuple(notes))
