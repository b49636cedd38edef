"""A run that is to be judged, with all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.judging.declared import Declared
from rnnspect.judging.layer_inputs import Errors, StepReader
from rnnspect.judging.observation import Observation
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.network.recording import EngineInfo
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
    received: RecordedPrecision = EXACT
    """How exactly x, h0 and c0 are known."""

    @property
    def given(self) -> tuple[StepReader, StepReader | None]:
        """x, and how far it may be off."""
        x = self.sequence.x
        return x, Errors(x, self.received) if self.received.rounded else None

    def on_cpu(self) -> Case:
        """With parameters and sequence on the CPU, where the observation is, and without autograd."""
        cpu = torch.device("cpu")
        parameters = {name: tensor.detach().to(cpu) for name, tensor in self.parameters.items()}
        return replace(self, parameters=parameters, sequence=self.sequence.to(cpu))

    def under_autocast(self) -> Case:
        """As autocast computed it, if the engine ran under it: parameters and x are cast to its half type, whatever
        their dtype.

        Kernels that return the half type (oneDNN, cuDNN, fused cells) cast the states as well. In the others, made of
        many operations, products and gates are half and the states stay float32: h is rounded only on its way into a
        product, which is what a recording as coarse as that would allow.
        """
        half, observation = half_of(self.observation.engine), self.observation
        if half is None:
            return self
        fused = next(iter(observation.layers.values()))["h"].dtype == half
        if not fused:
            u = ROUNDOFF[half].stored
            observation = replace(observation, relative=u, absolute=torch.finfo(half).smallest_normal * u)
        spec, parameters, sequence = by_autocast(half, self.spec, self.parameters, self.sequence, fused)
        return replace(self, spec=spec, parameters=parameters, sequence=sequence, observation=observation)

    def begun(self, steps: int) -> Case:
        """Its first steps, without final states: a layer that runs from the end begins at the last of them."""
        if steps >= self.sequence.steps:
            return self
        layers = {
            at: {name: values[:steps] for name, values in seen.items()} for at, seen in self.observation.layers.items()
        }
        observation = replace(self.observation, layers=layers, h_n=None, c_n=None)
        return replace(self, sequence=self.sequence.first(steps), observation=observation)


def half_of(engine: EngineInfo) -> torch.dtype | None:
    """The half type that torch.autocast computed in, if the engine ran under it."""
    name = engine.precision.get("autocast")
    return None if name is None else getattr(torch, name)


def by_autocast(
    half: torch.dtype, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, states: bool
) -> tuple[Spec, dict[str, Tensor], Sequence]:
    """A network in the half type, with parameters and x as autocast casts them; with `states` h0 and c0 as well."""
    spec = spec.with_changes(dtype=str(half).removeprefix("torch."))
    sequence = replace(sequence, x=sequence.x.to(half))
    if states:
        sequence = sequence.with_each_state(lambda initial: initial.to(half))
    return spec, {name: tensor.to(half) for name, tensor in parameters.items()}, sequence
