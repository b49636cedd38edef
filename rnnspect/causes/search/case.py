"""All that a check takes, to be made again under another reading of the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rnnspect.judging.stack import judge_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rnnspect.judging.declared import Declared
    from rnnspect.judging.interpretation import Reading
    from rnnspect.judging.observation import Observation
    from rnnspect.judging.stack import Judged
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Case:
    spec: Spec
    parameters: Mapping[str, Tensor]
    sequence: Sequence
    observation: Observation
    declared: Declared

    def judged(self, change: Callable[[Reading], Reading], meanings: bool = False) -> Judged:
        return judge_stack(
            self.spec, self.parameters, self.sequence, self.observation, self.declared,
            lambda _found, _steps: None, change, meanings,
        )  # fmt: skip

    def begun(self, steps: int) -> Case:
        """Its first steps, without final states. Where some layer runs from the end, the whole."""
        if steps >= self.sequence.steps or self.spec.directions != ("forward",):
            return self
        layers = {
            at: {name: values[:steps] for name, values in seen.items()} for at, seen in self.observation.layers.items()
        }
        received = {at: values[:steps] for at, values in self.observation.received.items()}
        return replace(
            self,
            sequence=self.sequence.first(steps),
            observation=replace(self.observation, layers=layers, received=received, h_n=None, c_n=None),
        )
