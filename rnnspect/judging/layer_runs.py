"""What one layer and direction received and returned: as it was seen, and estimated where nobody saw it."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from rnnspect.judging.estimate import estimate
from rnnspect.judging.interpretation import Reading, Stack
from rnnspect.judging.layer_inputs import Errors, handed_on

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rnnspect.judging.chunks import Run
    from rnnspect.judging.declared import Declared
    from rnnspect.judging.interpretation import At
    from rnnspect.judging.layer_inputs import Steps
    from rnnspect.judging.observation import Observation
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec


def runs_of(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    observation: Observation,
    declared: Declared,
) -> Callable[[int, str], Run]:
    """Of each layer and direction that is asked for. Where the engine did not show h, `doubt` says how far it may be
    off, and where it was recorded rounded, `error` of the layer above."""

    stack = Stack.of(spec, parameters, sequence)

    def output(at: At) -> tuple[Tensor, Steps | None]:
        run, kept = of(*at), observation.kept_of((*at, "h"))
        return run.h, Errors(run.h, kept) if run.doubt is None and kept.rounded else run.doubt

    @functools.cache
    def of(layer: int, way: str) -> Run:
        at = layer, way
        given: tuple[Steps, Steps | None] = sequence.x, None
        if layer:
            below = [output((layer - 1, direction)) for direction in spec.directions]
            given = handed_on(below, sequence.valid())
        h = observation.layers.get(at, {}).get("h")
        reading = Reading.of(stack, at, *given, stack.roundoff(at, declared), h)
        if h is not None:
            return reading.run
        found = estimate(reading)
        return replace(reading.run, h=found.h, doubt=found.error)

    return of
