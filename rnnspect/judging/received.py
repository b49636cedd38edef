"""What one layer and direction received and returned: as it was seen, and estimated where nobody saw it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from rnnspect.judging.chunks import Run
from rnnspect.judging.estimate import estimate
from rnnspect.judging.inputs import Errors, beside
from rnnspect.kept import EXACT
from rnnspect.parameters import LayerParameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rnnspect.declared import Declared
    from rnnspect.judging.inputs import Steps
    from rnnspect.observation import Observation
    from rnnspect.sequence import Sequence
    from rnnspect.spec import Spec


def runs_of(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    observation: Observation,
    declared: Declared,
) -> Callable[[int, str], Run]:
    """Of each layer and direction that is asked for. Where the engine did not show h, `doubt` says how far it may be
    off, and where it was recorded rounded, `error` of the layer above."""

    def below(at: int) -> tuple[Steps, Steps | None]:
        if at == 0:
            return sequence.x, None
        runs = [of(at - 1, way) for way in spec.directions]
        kept = [observation.kept_of((at - 1, way, "h")) for way in spec.directions]
        x = beside([run.h for run in runs], sequence.valid())
        if all(run.doubt is None for run in runs) and not any(one.rounded for one in kept):
            return x, None
        errors = [
            Errors(run.h, one if one.rounded else EXACT) if run.doubt is None else run.doubt
            for run, one in zip(runs, kept, strict=True)
        ]
        return x, beside(errors)

    @functools.cache
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

    return of
