"""A first check of a mistake against recorded gradients, in the last steps alone, where most mistakes show at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.arithmetic.unroll import unroll
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase, ResultsMistake, expected
from rnnspect.judging.backward.results_words import ratio_of_results
from rnnspect.network.sequence import Sequence

STEPS = 8
_HOPELESS = 100.0
"""A ratio so large that no rounding before the last steps brings it to 1."""


@dataclass(frozen=True)
class LastSteps:
    """The last steps of a case, which begin with the state that the equations have there."""

    case: ResultsCase
    bound: Tensor
    """How far dL/dx may be from that of the equations (T, B, I), for all steps of the case."""

    @staticmethod
    def of(case: ResultsCase, told: Mapping[str, WithError], kept: Mapping[str, Tensor]) -> LastSteps | None:
        """The last steps of a case; None where dL/dx does not show them, or where the case has no others."""
        spec, sequence, x = case.spec, case.sequence, case.given.x
        plain = spec.directions == ("forward",) and sequence.lengths is None and not case.dropped
        if x is None or not plain or sequence.steps < 2 * STEPS:
            return None
        layers = unroll(spec, case.parameters, sequence.first(sequence.steps - STEPS))
        state = [torch.stack(rows) for rows in zip(*(one.final for one in layers), strict=True)]
        rest = Sequence(sequence.x[-STEPS:], state[0], state[1] if len(state) > 1 else None, None, batched=True)
        output = None if case.given.output is None else case.given.output[-STEPS:]
        given = replace(case.given, x=x[-STEPS:], output=output)
        upstream = replace(case.upstream, output=case.upstream.output[-STEPS:])
        bound = (told["x"][1] + kept["x"])[-STEPS:]
        return LastSteps(replace(case, sequence=rest, upstream=upstream, given=given), bound)

    def refute(self, mistake: ResultsMistake) -> bool:
        """Whether with a mistake dL/dx of these steps would be different from the given one."""
        own, bound = expected(self.case, mistake)["x"]
        assert self.case.given.x is not None
        return bool(ratio_of_results(own, self.case.given.x.double(), bound + self.bound).max() > _HOPELESS)
