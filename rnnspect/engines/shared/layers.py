"""Runs a stack layer by layer, so that h of every layer is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnspect.engines.shared.autograd import Leaves, packed, recorded_by_autograd
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.recording import EngineInfo, Recording, by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts.packing import every_loss

StateTensors = tuple[Tensor, ...]
"""h (B, P), and c (B, H) of an LSTM."""
Returned = tuple[Tensor, StateTensors]
"""h (T, B, P) by step of the input, and the final state of each item."""

CellStates = dict[tuple[int, str], Tensor]
"""c (T, B, H) by layer and direction, zero beyond an item's length."""

RunLayer = Callable[[int, Tensor, list[StateTensors]], tuple[Tensor, list[StateTensors]]]
"""From the layer, x (B, T, I) and the initial state of each direction to output (B, T, D·P) and the final states of the
directions."""


@dataclass(frozen=True)
class Place:
    """One layer and direction of a network, and its initial state."""

    spec: Spec
    layer: int
    direction: str
    arrays: Mapping[str, Tensor]
    """The parameters in the engine's layout."""
    state: StateTensors
    lengths: tuple[int, ...] | None

    @property
    def reverse(self) -> bool:
        return self.direction == "reverse"


def run_layers(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    info: EngineInfo,
    run_one: Callable[[Place, Tensor], Returned],
    layout: str | None = None,
) -> Recording:
    """A stack of which `run_one` runs one layer and direction on x (T, B, I).

    Each layer runs on the h of the layer below, which is zero beyond an item's length whatever the engine gives there.
    `layout` says how the engine's arrays are packed, None that they are PyTorch's of one layer, weight_ih …; the notes
    say what has no place in them.
    """
    with torch.no_grad():
        layers, output, (h_n, *c_n) = _run_stack(spec, parameters, sequence, run_one, layout)
    notes = _losses(spec, parameters, layout)
    head = run_head(spec, parameters, h_n)
    return Recording(info, output, h_n, c_n[0] if c_n else None, layers, 0.0, head, notes)


def layers_backward(
    spec: Spec,
    leaves: Leaves,
    info: EngineInfo,
    run_one: Callable[[Place, Tensor], Returned],
    upstream: Upstream,
    layout: str | None = None,
) -> EngineGradients:
    """As `run_layers`, and then backwards by autograd, which has to see what `run_one` does."""
    with recorded_by_autograd():
        _, output, state = _run_stack(spec, leaves.parameters, leaves.sequence, run_one, layout)
        return leaves.gradients(info, output, state, upstream, _losses(spec, leaves.parameters, layout))


def _run_stack(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    run_one: Callable[[Place, Tensor], Returned],
    layout: str | None,
) -> tuple[dict[tuple[int, str], Tensor], Tensor, StateTensors]:
    """h of every layer and direction, the output, and the final states of the whole network."""
    layers: dict[tuple[int, str], Tensor] = {}
    finals: list[StateTensors] = []
    x, known = sequence.x, layouts.find(layout) if layout else None
    for layer in range(spec.num_layers):
        for state, direction in zip(_initial_states(spec, sequence, layer), spec.directions, strict=True):
            p = LayerParameters.of(parameters, layer, direction, spec)
            if known is None:  # in new memory: an engine may change what it is given
                arrays = {name: values.clone() for name, values in p.tensors.items()}
            else:
                arrays = packed(known, form_of(spec), p)
            h, final = run_one(Place(spec, layer, direction, arrays, state, sequence.lengths), x)
            layers[layer, direction] = sequence.within(h)
            finals.append(final)
        x = torch.cat([layers[layer, direction] for direction in spec.directions], -1)
    return layers, x, tuple(torch.stack(state) for state in zip(*finals, strict=True))


def _losses(spec: Spec, parameters: Mapping[str, Tensor], layout: str | None) -> tuple[str, ...]:
    """Notes on parameters that have no place in the engine's arrays."""
    return tuple(map(str, every_loss(layouts.find(layout), spec, parameters))) if layout else ()


def run_steps(
    place: Place, x: Tensor, step: Callable[[Tensor, StateTensors], StateTensors], seen: CellStates | None = None
) -> Returned:
    """A loop over the steps of one layer and direction: `step` gives the state after x (B, I) and the state before.

    Beyond its length an item keeps its last state. `seen` gets the cell state of each step, where there is one.
    """
    steps, batch = x.shape[:2]
    counts = torch.tensor(place.lengths or [steps] * batch, device=x.device)[:, None]
    state = place.state
    kept: list[StateTensors] = [()] * steps
    for t in reversed(range(steps)) if place.reverse else range(steps):
        new = step(x[t], state)
        state = tuple(torch.where(t < counts, one, other) for one, other in zip(new, state, strict=True))
        kept[t] = new[:1] if seen is None else new
    h, *c = (torch.stack(of) for of in zip(*kept, strict=True))
    if seen is not None and c:
        inside = torch.arange(steps, device=x.device)[:, None, None] < counts
        seen[place.layer, place.direction] = torch.where(inside, c[0], 0)
    return h, state


def run_loaded(spec: Spec, sequence: Sequence, info: EngineInfo, run_layer: RunLayer) -> Recording:
    """A model that holds its own parameters, of which `run_layer` runs one layer with all its directions. The sequence
    has no lengths."""
    layers: dict[tuple[int, str], Tensor] = {}
    finals: list[StateTensors] = []
    x = sequence.x.transpose(0, 1).contiguous()
    for layer in range(spec.num_layers):
        x, ended = run_layer(layer, x, _initial_states(spec, sequence, layer))
        layers |= by_direction(spec, layer, x.transpose(0, 1))
        finals += ended
    h_n, *c_n = (torch.stack(state) for state in zip(*finals, strict=True))
    return Recording(info, x.transpose(0, 1), h_n, c_n[0] if c_n else None, layers, 0.0)


def _initial_states(spec: Spec, sequence: Sequence, layer: int) -> list[StateTensors]:
    """For each direction of a layer its initial state."""
    rows = [spec.row(layer, direction) for direction in spec.directions]
    return [tuple(initial[row] for initial in sequence.state) for row in rows]


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
