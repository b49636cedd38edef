"""The residual of some steps of a layer whose units have no parameters of their own, and how it changes with each
parameter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.judging.evidence.hypotheses import Group, Hypothesis, groups, sum_of_biases, words_of
from rnnspect.judging.evidence.jacobian_matrix import JacobianMatrix
from rnnspect.judging.evidence.linearised import Steps
from rnnspect.judging.evidence.look import Look, ParameterChanges
from rnnspect.judging.layer import LayerEquations, cast

_MOST = 6
"""At most so many parameters are looked at."""
_PACKED = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class LayerLook(Look):
    """A change moves all of h, so that target and unit of every `Hypothesis` here are None. The residual is counted in
    units of how far a correct engine may be off, since that differs much from step to step where a state grows."""

    def __init__(self, layer: LayerEquations, steps: Steps, kept: Tensor, error: Tensor) -> None:
        """`error` (T, B, P) is how far a correct engine may be off."""
        self.layer, self.steps, self.kept, self.targets = layer, steps, kept, ()
        self._unit = torch.where(error > 0, error, math.inf)
        self._now = JacobianMatrix(layer, cast(layer.p, torch.float64), steps)
        count, batch = steps.x.shape[:2]
        self.items = torch.arange(batch).repeat(count)[kept]
        self.candidates = sum(layer.p[name].numel() for name in layer.p.names)

    def residual(self, _target: int | None, _unit: int | None) -> Tensor:
        return self._counted(self._now.residual)

    def allowed(self, error: Tensor, _target: int | None, _unit: int | None) -> Tensor:
        return self._counted(error)

    def moved(self, direction: ParameterChanges) -> Tensor:
        zero = {name: torch.zeros_like(self._now.p[name]) for name in self._now.p.names}
        change = self._now.packed(self._now.p.with_changes(**{**zero, **direction}))
        return self._counted(self._now.moved(change))

    def changed(self, changes: ParameterChanges) -> LayerLook:
        return LayerLook(self.with_changes(changes), self.steps, self.kept, self._unit)

    def _counted(self, of_h: Tensor) -> Tensor:
        return self.rows(of_h / self._unit).flatten()

    @cached_property
    def matrix(self) -> Tensor:
        """(rows · P, n)"""
        return self.rows(self._now.matrix.permute(0, 2, 1, 3) / self._unit[..., None]).flatten(0, 1)

    def named(self, values: Tensor) -> ParameterChanges:
        """The numbers of all columns (n,) by parameter."""
        return self._now.spread(values)

    def suspected(self) -> Iterator[Hypothesis]:
        """Hypotheses of the parameters that seem to explain most, and of what may be scaled."""
        along = (self.matrix.t() @ self.residual(None, None)) / self.matrix.norm(dim=0)
        for column in along.nan_to_num(0, 0, 0).abs().topk(min(_MOST, len(along))).indices.tolist():
            yield self._of_a_parameter(column)
        p = self._now.p
        own = [Group((name,), None) for name in p.own]
        for group in [*groups(p, self.layer.cell.gates), *own]:
            direction = {name: self._of_gate(name, group.gate) for name in group.names if name in p.names}
            if any(bool(of.any()) for of in direction.values()):
                yield Hypothesis("scale", group.gate, None, words_of(group), self.candidates, None, direction=direction)

    def _of_a_parameter(self, column: int) -> Hypothesis:
        """The hypothesis that a parameter is off, together with those that have the same effect on h."""
        name, at = self._now.entry(column)
        one = torch.zeros_like(self._now.p[name])
        one[at] = 1
        own = self.matrix[:, column]
        alike = (self.matrix.t() @ own).abs() > (1 - 1e-9) * self.matrix.norm(dim=0) * own.norm()
        others = [other for other in alike.nonzero().flatten().tolist() if other != column]
        words = " or ".join(map(self._words, [column, *others]))
        gate = self._gate(at[0]) if name in _PACKED else None
        return Hypothesis("parameter", gate, None, words, self.candidates, None, direction={name: one})

    def _words(self, column: int) -> str:
        name, at = self._now.entry(column)
        if name == "bias_ih" and "bias_hh" in self._now.p.names and self._now.comes_with_its_twin(at[0]):
            return sum_of_biases(at[0])
        return f"{{{name}}}[{','.join(map(str, at))}]"

    def _gate(self, row: int) -> str | None:
        for gate, size in zip(self.layer.cell.gates, self.layer.gate_sizes, strict=True):
            if row < size:
                return gate
            row -= size
        return None

    def _of_gate(self, name: str, gate: str | None) -> Tensor:
        """A parameter with zeros outside of the rows of a gate."""
        own = self._now.p[name]
        if gate is None or name not in _PACKED:
            return own if gate is None else torch.zeros_like(own)
        blocks = zip(self.layer.cell.gates, self._now.p.split(own, self.layer.gates, 0), strict=True)
        return torch.cat([block if of == gate else torch.zeros_like(block) for of, block in blocks])
