"""An engine's pass forwards and backwards that is to be judged, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.roundoff import ROUNDOFF, Roundoff
from rnnspect.arithmetic.tape import Changes
from rnnspect.cells.functions import Nonlinearity
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption, At, Stack
from rnnspect.judging.backward.judge import BackwardRun
from rnnspect.judging.backward.step_mistake import StepMistake
from rnnspect.judging.backward.sums import SumsChange
from rnnspect.judging.case import by_autocast, half_of
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.declared import Declared
from rnnspect.judging.estimate import estimate
from rnnspect.judging.overflow import beside_in_memory
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class SeenLayer:
    """What an engine showed of one layer with all its directions, time-major.

    `x` is what the layer received (T, B, ·), `output` what it gave (T, B, D·P), None where it did not show that,
    `upstream` dL/d output as the engine had it, `last` dL/d of each final state (D, B, ·), by the name of the state,
    where it is not zero. The rest is what the engine gave: dL/dx (T, B, ·); by direction dL/d of the pre-activations
    (T, B, G·H); by state dL/d of the initial state (D, B, ·); by PyTorch's names dL/d of each parameter.
    """

    x: Tensor
    output: Tensor | None
    upstream: Tensor
    last: Mapping[str, Tensor]
    grad_x: Tensor
    pre_activations: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor]


@dataclass(frozen=True)
class BackwardCase:
    """A network with its parameters, the sequence that it received, what was seen of each layer, and the arithmetic
    that it is held to."""

    spec: Spec
    parameters: Mapping[str, Tensor]
    sequence: Sequence
    engine: EngineInfo
    layers: tuple[SeenLayer, ...]
    declared: Declared
    lowest: int = 0
    """The lowest layer, the first one in `layers`."""

    kept_wider: torch.dtype | None = None
    """The half type that h is rounded to on its way into a product, where the engine keeps it in float32."""

    def under_autocast(self) -> BackwardCase:
        """As autocast computed it, if the engine ran under it (`Case.under_autocast`)."""
        half = half_of(self.engine)
        if half is None:
            return self
        fused = all(one.output is not None and one.output.dtype == half for one in self.layers)
        spec, parameters, sequence = by_autocast(half, self.spec, self.parameters, self.sequence, states=True)
        layers = tuple(replace(one, x=one.x.to(half)) for one in self.layers)
        if fused:  # what comes back to a half number is half
            rounded = [{name: g.to(half) for name, g in one.last.items()} for one in layers]
            pairs = zip(layers, rounded, strict=True)
            layers = tuple(replace(one, upstream=one.upstream.to(half), last=last) for one, last in pairs)
        kept = None if fused else half
        return replace(self, spec=spec, parameters=parameters, sequence=sequence, layers=layers, kept_wider=kept)


@dataclass(frozen=True)
class BackwardAssumption:
    """What is assumed of one layer and direction on its way back: the equations, or a known mistake."""

    layer: int
    direction: str
    cell: Cell
    nonlinearity: Nonlinearity
    p: LayerParameters
    u: Roundoff
    back: BackwardRun
    grad_x: Tensor
    """The engine's dL/dx of the layer, both directions together."""
    states: Mapping[str, Tensor]
    """The engine's dL/dh0 (B, P), and dL/dc0 (B, H), by the name of the state."""
    gradients: Mapping[str, Tensor]
    """The engine's dL/d of each parameter, by weight_ih …"""
    changes: Changes = field(default_factory=dict)
    mistake: StepMistake = field(default_factory=StepMistake)
    sums: SumsChange | None = None
    """A change of the parameters' gradients by a known mistake, None without one: what the engine makes of the sums
    before it gives them."""
    shown: Tensor | None = None
    """dL/d of the pre-activations as the engine showed them, where those in `back` are changed by a mistake."""

    @property
    def at(self) -> At:
        return self.layer, self.direction

    @property
    def run(self) -> LayerRun:
        return self.back.run

    def with_changes(self, changes: Changes) -> BackwardAssumption:
        return replace(self, changes={**self.changes, **changes})

    def with_back(self, **changed: Any) -> BackwardAssumption:
        return replace(self, back=replace(self.back, **changed))

    def with_mistake(self, **changed: Any) -> BackwardAssumption:
        return replace(self, mistake=replace(self.mistake, **changed))


def assumptions_of(case: BackwardCase) -> dict[At, BackwardAssumption]:
    """The assumption for each layer and direction that the equations hold as the spec says."""
    spec, sequence = case.spec, case.sequence
    lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
    found = {}
    for layer, seen in enumerate(case.layers, case.lowest):
        upstreams = seen.upstream.chunk(spec.num_directions, -1)
        lost = _lost(seen)
        outputs = None if seen.output is None else seen.output.chunk(spec.num_directions, -1)
        for n, direction in enumerate(spec.directions):
            row, p = spec.row(layer, direction), LayerParameters.of(case.parameters, layer, direction, spec)
            state, u = [initial[row] for initial in sequence.state], case.declared.over(p.terms)
            c0 = state[1] if len(state) > 1 else None
            h = upstreams[n] if outputs is None else outputs[n]
            run = LayerRun(seen.x, h, state[0], c0, lengths, direction == "reverse")
            if outputs is None:
                run = _estimated(case, run, (layer, direction), u)
            elif case.kept_wider is not None:
                run = replace(run, h_error=_rounded_by(h, case.kept_wider))
            last = {name: values[n] for name, values in seen.last.items()}
            back = BackwardRun(run, seen.pre_activations[direction], upstreams[n], last, lost)
            end = suffix(layer, direction)
            gradients = {name.removesuffix(end): g for name, g in seen.parameters.items() if name.endswith(end)}
            states = {name: values[n] for name, values in seen.states.items()}
            found[layer, direction] = BackwardAssumption(
                layer, direction, spec.cell_type, spec.nonlinearity_of(direction), p, u,
                back, seen.grad_x, states, gradients,
            )  # fmt: skip
    return found


def _lost(seen: SeenLayer) -> Tensor | None:
    """(T, B): where h is infinite or NaN, or where an infinite gradient may have made another one NaN, of which the
    equations say nothing. The features that a layer receives are those of both directions; and rows of 16-bit numbers
    are read into the next row."""
    shown = [*seen.pre_activations.values(), *([] if seen.output is None else [seen.output])]
    if all(math.isfinite(float(end)) for v in shown if v.numel() for end in v.aminmax()):
        return None  # told in one pass over memory, where `isfinite` needs several
    over = torch.stack([~g.isfinite().all(-1) for g in seen.pre_activations.values()])
    lost = over.any(0) & (len(over) > 1)
    if seen.output is not None:
        lost |= ~seen.output.isfinite().all(-1)
    for g, infinite in zip(seen.pre_activations.values(), over, strict=True):
        if g.dtype.itemsize == 2:
            lost |= g.isnan().all(-1) & beside_in_memory(infinite)
    return lost if bool(lost.any()) else None


def _rounded_by(h: Tensor, half: torch.dtype) -> Tensor:
    """How far h may be from itself in a half type."""
    u = ROUNDOFF[half].stored
    return h.abs().mul(u).add_(torch.finfo(half).smallest_normal * u)


def _estimated(case: BackwardCase, run: LayerRun, at: At, u: Roundoff) -> LayerRun:
    """The run with h by the equations, and how far an engine's may be from it, where the engine showed none."""
    spec = case.spec
    stack = Stack.of(spec, case.parameters, case.sequence)
    found = estimate(Assumption.of(stack, at, run.x, None, u))
    return replace(run, h=found.h, h_error=found.error)
