"""What one layer and direction received and returned: as it was seen, and estimated where nobody saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnspect.judging.chunks import Run
from rnnspect.judging.estimate import estimate
from rnnspect.judging.inputs import beside
from rnnspect.parameters import LayerParameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.declared import Declared
    from rnnspect.judging.inputs import Steps
    from rnnspect.observation import Observation
    from rnnspect.sequence import Sequence
    from rnnspect.spec import Spec


def run_of(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    observation: Observation,
    declared: Declared,
    layer: int,
    direction: str,
) -> Run:
    """With the exact h of an engine's run. Where the engine did not show h, `doubt` says how far it may be off."""

    def below(at: int) -> tuple[Steps, Steps | None]:
        if at == 0:
            return sequence.x, None
        runs = [of(at - 1, way) for way in spec.directions]
        if all(run.doubt is None for run in runs):
            return beside([run.h for run in runs], sequence.valid()), None
        doubts = [torch.zeros_like(run.h) if run.doubt is None else run.doubt for run in runs]
        return beside([run.h for run in runs], sequence.valid()), beside(doubts)

    def of(at: int, way: str) -> Run:
        x, error = below(at)
        row = at * spec.num_directions + spec.directions.index(way)
        state = tuple(initial[row] for initial in sequence.state)
        lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
        reverse, c0 = way == "reverse", state[1] if len(state) > 1 else None
        h = observation.layers.get((at, way), {}).get("h")
        if h is not None:
            return Run(x, h, state[0], c0, lengths, reverse, error)
        p = LayerParameters.of(parameters, at, way)
        u = declared.over(p.weight_ih.shape[1] + p.weight_hh.shape[1] + 2)
        found = estimate(spec.cell_type, p, u, spec.nonlinearity_of(way), x, error, state, lengths, reverse)
        return Run(x, found.h, state[0], c0, lengths, reverse, error, found.error)

    return of(layer, direction)
