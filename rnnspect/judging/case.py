"""A run that is to be judged, with all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.judging.declared import Declared
from rnnspect.judging.observation import Observation
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Case:
    """A network with its parameters, the sequence that it received, what was observed of its run, and the arithmetic
    that it is held to."""

    spec: Spec
    parameters: Mapping[str, Tensor]
    sequence: Sequence
    observation: Observation
    declared: Declared

    def on_cpu(self) -> Case:
        """With parameters and sequence on the CPU, where the observation is, and without autograd."""
        cpu = torch.device("cpu")
        parameters = {name: tensor.detach().to(cpu) for name, tensor in self.parameters.items()}
        return replace(self, parameters=parameters, sequence=self.sequence.to(cpu))

    def begun(self, steps: int) -> Case:
        """Its first steps, without final states: a layer that runs from the end begins at the last of them."""
        if steps >= self.sequence.steps:
            return self
        layers = {
            at: {name: values[:steps] for name, values in seen.items()} for at, seen in self.observation.layers.items()
        }
        observation = replace(self.observation, layers=layers, h_n=None, c_n=None)
        return replace(self, sequence=self.sequence.first(steps), observation=observation)
