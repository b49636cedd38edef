"""Stacks run one layer at a time, so that h of every layer is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnspect.network.parameters import LayerParameters
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts.packing import lost, pack

RunLayer = Callable[[int, Tensor, list["State"]], tuple[Tensor, list["State"]]]
"""From the layer, x (B, T, I) and for each direction the state that it starts from to output (B, T, D·P) and the
states that the directions end with."""

State = tuple["Tensor", ...]
"""h (B, P), and c (B, H) of an LSTM."""
Ran = tuple["Tensor", State]
"""h (T, B, P) by the step of the input, and the state that each item ended with."""


@dataclass(frozen=True)
class Place:
    """One layer and direction of a network, and what it starts from."""

    spec: Spec
    layer: int
    direction: str
    arrays: Mapping[str, Tensor]
    """The parameters as the engine's layout has them."""
    state: State
    lengths: tuple[int, ...] | None

    @property
    def reverse(self) -> bool:
        return self.direction == "reverse"

    def __str__(self) -> str:
        return f"layer {self.layer} {self.direction}"


def run_layers(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    info: EngineInfo,
    run_one: Callable[[Place, Tensor], Ran],
    layout: str = "pytorch",
) -> Recording:
    """A stack of which `run_one` runs one layer and direction on x (T, B, I).

    Each layer runs on the h of the layer below, which is zero beyond an item's length whatever the engine gives there.
    `layout` says how the engine's arrays are packed; the notes say what has no place in them.
    """
    valid = sequence.valid()
    inside = None if valid is None else valid.to(sequence.x.device)[..., None]
    layers: dict[tuple[int, str], Tensor] = {}
    finals: list[State] = []
    notes: list[str] = []
    x, known, form = sequence.x, layouts.find(layout), form_of(spec)
    with torch.no_grad():
        for layer in range(spec.num_layers):
            for state, direction in zip(_begun(spec, sequence, layer), spec.directions, strict=True):
                p = LayerParameters.of(parameters, layer, direction)
                arrays = pack(known, form, p)
                place = Place(spec, layer, direction, arrays, state, sequence.lengths)
                h, final = run_one(place, x)
                layers[layer, direction] = h if inside is None else torch.where(inside, h, 0)
                finals.append(final)
                notes += [f"{place}: {one}" for one in lost(known, form, p)]
            x = torch.cat([layers[layer, direction] for direction in spec.directions], -1)
    h_n, c_n = _stacked(finals)
    return Recording(info, x, h_n, c_n, layers, 0.0, run_head(spec, parameters, h_n), tuple(notes))


def run_loaded(spec: Spec, sequence: Sequence, info: EngineInfo, run_layer: RunLayer) -> Recording:
    """A model that holds its own parameters, of which `run_layer` runs one layer with all its directions. The sequence
    has no lengths."""
    layers: dict[tuple[int, str], Tensor] = {}
    finals: list[State] = []
    x = sequence.x.transpose(0, 1).contiguous()
    for layer in range(spec.num_layers):
        x, ended = run_layer(layer, x, _begun(spec, sequence, layer))
        halves = x.transpose(0, 1).chunk(spec.num_directions, -1)
        layers |= {(layer, direction): h for direction, h in zip(spec.directions, halves, strict=True)}
        finals += ended
    return Recording(info, x.transpose(0, 1), *_stacked(finals), layers, 0.0)


def _begun(spec: Spec, sequence: Sequence, layer: int) -> list[State]:
    """For each direction of a layer the state that it starts from."""
    first = layer * spec.num_directions
    return [tuple(initial[at] for initial in sequence.state) for at in range(first, first + spec.num_directions)]


def _stacked(finals: list[State]) -> tuple[Tensor, Tensor | None]:
    """h_n and c_n of the whole network, (L·D, B, …)."""
    h_n, *c_n = (torch.stack(state) for state in zip(*finals, strict=True))
    return h_n, c_n[0] if c_n else None


def run_head(spec: Spec, parameters: Mapping[str, Tensor], h_n: Tensor) -> Tensor | None:
    """torch.nn.Linear on the last layer's final hidden state, both directions side by side."""
    if spec.head is None:
        return None
    last = torch.cat([*h_n[-spec.num_directions :]], -1)
    head = nn.Linear(last.shape[1], spec.head.out_features, device="meta")
    own = {name: parameters[f"head.{name}"] for name in ("weight", "bias")}
    head.load_state_dict(own, assign=True)
    with torch.no_grad():
        given: Tensor = head(last)
    return given
