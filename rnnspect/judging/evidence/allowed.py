"""How far a correct engine may be off at each of the first steps of a run."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.judging.cell_state import State
from rnnspect.judging.chunks import Chunk
from rnnspect.judging.layer import LayerEquations


def allowed(layer: LayerEquations, chunk: Chunk, c0: Tensor | None) -> Tensor:
    """The bound of h, (T, B, P), in float64; zero beyond an item's end."""
    state, found = layer.begin(c0), []
    steps = 1 if layer.stepwise else len(chunk.x)
    for start in range(0, len(chunk.x), steps):
        compared = layer.compare(chunk.cut(start, start + steps), state, layer.wide)
        found.append(compared.bound)
        if state is not None:
            state = State.ending(compared.q["c"])
    return torch.where(chunk.inside[..., None], torch.cat(found), 0)
