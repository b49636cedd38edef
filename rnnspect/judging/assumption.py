"""What is assumed of an engine in each layer: the equations, the parameters, what it received and gave.

A known mistake is a change of that: other parameters, another order of steps, another function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.cells.functions import Functions, Nonlinearity, functions_of
from rnnspect.cells.interface import Cell
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.layer import LayerEquations, cast
from rnnspect.judging.layer_inputs import StepReader
from rnnspect.judging.rounding import RecordedPrecision
from rnnspect.network import sequence
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import Spec

At = tuple[int, str]
"""Layer and direction."""


@dataclass(frozen=True)
class Stack:
    """The whole network around one layer and direction: parameters and states of all, and what each gave so far."""

    spec: Spec
    x: Tensor
    """(T, B, I) of the lowest layer."""
    parameters: Mapping[At, LayerParameters]
    states: Mapping[At, tuple[Tensor, ...]]
    """h0 and perhaps c0, (B, ·)."""
    lengths: Tensor | None
    h: dict[At, Tensor] = field(default_factory=dict)
    """(T, B, P) of the layers below: as observed, or else as estimated."""
    ended: dict[At, tuple[tuple[Tensor, Tensor], ...]] = field(default_factory=dict)
    """A cache: the final states of an earlier call on the same sequence, and their errors."""

    differs_at: int | None = None
    """The first step at which an observed layer differs, where layers below it were not observed."""

    @classmethod
    def of(cls, spec: Spec, parameters: Mapping[str, Tensor], sequence: sequence.Sequence) -> Stack:
        states = {at: tuple(initial[row] for initial in sequence.state) for row, at in enumerate(spec.places)}
        lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
        own = {at: LayerParameters.of(parameters, *at, spec) for at in spec.places}
        return cls(spec, sequence.x, own, states, lengths)


@dataclass(frozen=True)
class Assumption:
    """What is assumed of one layer and direction: its equations and parameters, what it received and what it gave."""

    layer: int
    direction: str
    cell: Cell
    nonlinearity: Nonlinearity
    p: LayerParameters
    run: LayerRun
    u: Roundoff
    stack: Stack
    seen: bool = True
    """Whether h was observed. If not, the run has zeros for it."""
    back: Callable[[Tensor, Tensor], Tensor] | None = None
    """For a mistake that reorders h: from h as in `run`, and the initial h (B, P), to h as the engine returned it, both
    (T, B, P)."""
    back_error: Callable[[Tensor], Tensor] | None = None
    """The same of the error of h, where that is not moved as h is."""
    exchanged: bool = False
    """Whether its first state is c and its second one h, in the cell as in the run: so the cell gives c at each step,
    and the state that goes on is right."""

    has_final_states: bool = True
    """Whether its final states are those that the engine returned for this place."""

    @classmethod
    def of(
        cls, stack: Stack, at: At, x: StepReader, error: StepReader | None, u: Roundoff, h: Tensor | None = None
    ) -> Assumption:
        """The assumption that the equations hold as the spec says. x is the layer's input, with its error; h (T, B, P)
        its output, if it was observed."""
        spec, state = stack.spec, stack.states[at]
        given = torch.zeros(1).expand(*x.shape[:2], spec.output_size) if h is None else h
        run = LayerRun(
            x, given, state[0], state[1] if len(state) > 1 else None, stack.lengths, at[1] == "reverse", error
        )
        p, functions = stack.parameters[at], spec.nonlinearity_of(at[1])
        return cls(*at, spec.cell_type, functions, p, run, u, stack, h is not None)

    @property
    def at(self) -> At:
        return self.layer, self.direction

    @property
    def output_in_words(self) -> str:
        """The output, which is the top layer's; or layer 0's output."""
        is_top = self.layer == self.stack.spec.num_layers - 1
        return "the output" if is_top else f"layer {self.layer}'s output"

    @property
    def other(self) -> At:
        """The layer in the other direction."""
        return self.layer, "forward" if self.direction == "reverse" else "reverse"

    @cached_property
    def equations(self) -> LayerEquations:
        """Its equations, to be computed."""
        return LayerEquations(self.cell, self.p, self.u, self.nonlinearity)

    def in_float64(self) -> Numbers:
        """The arithmetic in which its equations give plain numbers, without bounds."""
        return Numbers(cast(self.p, torch.float64), len(self.cell.gates), self.nonlinearity)

    @property
    def units(self) -> int:
        return self.p.units(len(self.cell.gates))

    @property
    def functions(self) -> Functions:
        return functions_of(self.nonlinearity)

    def with_functions(self, **changed: Any) -> Assumption:
        return replace(self, nonlinearity=replace(self.functions, **changed))

    def with_rows(self, change: Callable[[Tensor], Tensor]) -> Assumption:
        """The assumption with every packed parameter changed: weight_ih, weight_hh and the biases, (G·H, ·)."""
        p = self.p
        b_ih, b_hh = (None if b is None else change(b) for b in (p.bias_ih, p.bias_hh))
        return self.with_parameters(
            weight_ih=change(p.weight_ih), weight_hh=change(p.weight_hh), bias_ih=b_ih, bias_hh=b_hh
        )

    def with_parameters(self, **changed: Any) -> Assumption:
        return replace(self, p=self.p.with_changes(**changed))

    def with_run(self, **changed: Any) -> Assumption:
        return replace(self, run=replace(self.run, **changed))

    def from_observed(self, c: Tensor | None, kept: RecordedPrecision) -> Assumption:
        """The assumption with each step started from the observed cell state c (T, B, H), where the bound of a carried
        one would grow from step to step; `kept` is its precision. Not where many steps may be computed at once, as then
        the cell state of a step does not follow from that of the step before."""
        equations = self.equations
        if c is None or not self.seen or self.u.regrouped or not equations.stepwise:
            return self
        c = c.to(equations.dtype)
        return self.with_run(c=c, c_error=c.abs().mul_(self.u.stored + kept.relative).add_(kept.absolute))

    def with_states(self, states: Iterable[Tensor]) -> Assumption:
        """The assumption with other initial states: h0, and c0 where the cell has one, (B, ·) each."""
        return self.with_run(**dict(zip(("h0", "c0"), states, strict=False)))

    def begun_with(self, states: Sequence[tuple[Tensor, Tensor]]) -> Assumption:
        """The assumption with other initial states (B, ·), each with its error. The rounding of h to the dtype of the
        run, and of c to that of the equations, is added. Where h is not observed, each step is allowed the largest of
        these errors."""
        kinds = (self.run.h0.dtype, self.equations.dtype)
        values = [value.to(kind) for kind, (value, _) in zip(kinds, states, strict=False)]
        errors = tuple(error + (value - kept).abs() for kept, (value, error) in zip(values, states, strict=True))
        begun = self.with_states(values)
        if self.seen:
            return begun.with_run(begun_error=errors)
        most = max(float(error.max()) for error in errors)
        return replace(begun, u=replace(self.u, absolute=self.u.absolute + most))

    def blocks(self, packed: Tensor) -> dict[str, Tensor]:
        """The block of rows of each gate in a packed parameter (G·H, ·)."""
        return dict(zip(self.cell.gates, self.p.split(packed, len(self.cell.gates), 0), strict=True))

    def packed(self, blocks: dict[str, Tensor]) -> Tensor:
        return torch.cat([blocks[gate] for gate in self.cell.gates])

    def biases(self) -> tuple[Tensor, Tensor]:
        """bias_ih and bias_hh, (G·H,) each; zeros where there is none."""
        none = torch.zeros(len(self.p.weight_hh), dtype=self.p.weight_hh.dtype)
        return tuple(none if b is None else b for b in (self.p.bias_ih, self.p.bias_hh))  # type: ignore[return-value]
