"""The equations from the inputs to the loss and back, in float64: the numbers of one layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspect.arithmetic.chain_rule import ChainRule, chain_rule, names_of_pre_activations
from rnnspect.arithmetic.going_back import LayerGradients, go_back
from rnnspect.arithmetic.unroll import LayerQuantities, ended_of, output_of, unroll
from rnnspect.network.gradients import Upstream
from rnnspect.network.losses import Loss
from rnnspect.network.progress import StepsDone
from rnnspect.network.sequence import Sequence
from rnnspect.reporting.gradients.data import GradientAt
from rnnspect.tracing.prepare import Prepared


@dataclass(frozen=True)
class GradientRun:
    """The numbers of one layer in float64, by direction, and the symbolic chain rule of each direction."""

    prepared: Prepared
    parameters: dict[str, Tensor]
    sequence: Sequence
    loss: float
    upstream: Upstream
    quantities: dict[str, LayerQuantities]
    gradients: dict[str, LayerGradients]

    def rule(self, layer: int, direction: str) -> ChainRule:
        return chain_rule(self.prepared.spec, self.parameters, layer, direction)

    def next_step(self, at: GradientAt, step: int, way: int) -> int | None:
        """The step that was processed after this one, or with a `way` of −1 before it; None beyond either end."""
        there = step - way if at.direction == "reverse" else step + way
        return there if 0 <= there < self.sequence.length(at.batch or 0) else None

    def gradients_of(self, direction: str) -> dict[str, Tensor]:
        """(T, B, ·) by name: dL/d of the quantities and pre-activations, and the parts of the states' gradients by
        where they come from."""
        found = self.gradients[direction]
        names = names_of_pre_activations(self.prepared.spec.cell_type)
        return found.quantities | dict(zip(names, found.pre_activations.values(), strict=True))

    def before(self, name: str, direction: str) -> Tensor:
        """A state before each step, (T, B, units) by step of the input."""
        values, spec = self.quantities[direction].quantities[name], self.prepared.spec
        row = spec.row(self.quantities[direction].layer, direction)
        start = self.sequence.state[spec.cell_type.states.index(name)][row]
        if direction == "forward":
            return torch.cat([start[None], values[:-1]])
        shifted = torch.cat([values[1:], start[None]])
        for item in range(self.sequence.batch):
            shifted[self.sequence.length(item) - 1, item] = start[item]
        return shifted


def run_there_and_back(prepared: Prepared, at: GradientAt, loss: Loss, progress: StepsDone) -> GradientRun:
    """Runs the equations to the loss and back, down to the layer that `at` names."""
    spec, sequence = prepared.spec, prepared.sequence.to(torch.device("cpu"), torch.float64)
    parameters = {name: one.detach().to("cpu", torch.float64) for name, one in prepared.parameters.items()}
    layers = list(unroll(spec, parameters, sequence, progress))
    tops = [one.quantities["h"] for one in layers if one.layer == spec.num_layers - 1]
    value, upstream = loss.of(output_of(tops, sequence), sequence, ended_of(spec, layers))
    found: dict[str, LayerGradients] = {}
    for one in go_back(spec, parameters, sequence, upstream, layers, progress):
        if one.layer == at.layer:
            found[one.direction] = one
            if len(found) == spec.num_directions:
                break
    own = {one.direction: one for one in layers if one.layer == at.layer}
    return GradientRun(prepared, parameters, sequence, value, upstream, own, found)
