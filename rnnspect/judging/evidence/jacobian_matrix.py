"""How h of every step moves with every parameter, for any cell: the Jacobian J as a matrix.

Where each unit has parameters of its own, the columns follow from slopes (`target.py`). Where gates and states have
other sizes, matrices are in the state, or a norm makes each unit depend on all, the gradient of every number of h is
taken back over the cell's own lines, through the cell state to the first step: those of all steps side by side, as
items of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.arithmetic.tape import WHOLE, Node, Tape
from rnnspect.arithmetic.tape_gradients import Pull
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.evidence.linearised import Computed, Steps
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters

_SHORTEST = 1e-10
"""Of the longest column: what is shorter may be the rounding of terms that cancel."""
_NOTHING, _SHARE = 1e-12, 1e-6
"""A direction has no effect where its square is such a part of the largest. A parameter is not told where such a share
of it lies in these directions."""


def numbers(assumed: Assumption, rows: int) -> int:
    """How many numbers the matrix of so many rows (step × item) has."""
    return rows * assumed.run.h.shape[-1] * sum(assumed.p[name].numel() for name in assumed.p.names)


class JointEquations:
    """The normal equations of all parameters, solved together. Nothing is changed along directions in which h does
    not move."""

    stale = True

    def __init__(self, of: JacobianMatrix) -> None:
        columns = of.matrix.flatten(0, 2)
        gram = columns.t() @ columns
        length = gram.diagonal().sqrt()
        length[length <= _SHORTEST * length.max()] = math.inf
        values, vectors = torch.linalg.eigh(gram / length / length[:, None])
        told = values > _NOTHING * values[-1]
        self._vectors, self._values = vectors[:, told] / length[:, None], values[told]
        lost = vectors[:, ~told].square().sum(1)
        self._untold = (lost > _SHARE) | length.isinf()

    def solved(self, _now: JacobianMatrix, g: Tensor, damping: float, _left: tuple[float, int]) -> Tensor:
        """v of (JᵀJ + damping) v = g, with columns of length 1."""
        along = (g @ self._vectors) / (self._values + damping)
        return torch.mv(self._vectors, along)

    def variances(self) -> Tensor:
        """Of each parameter, where each number of h is off by 1; infinite for what is not told."""
        return torch.masked_fill(self._vectors.square() @ self._values.reciprocal(), self._untold, math.inf)


class JacobianMatrix:
    """Around some parameters. A change of them is one row of numbers (n,), all of one parameter after the other."""

    def __init__(self, layer: LayerEquations, p: LayerParameters, steps: Steps) -> None:
        self.p, self._layer, self._computed = p, layer, Computed(layer, p, steps)
        self.residual = self._computed.residual()
        self.left = float(self.residual.square().sum())
        self._sizes = {name: p[name].numel() for name in p.names}
        self._open: Tensor | None = None

    def packed(self, p: LayerParameters) -> Tensor:
        return torch.cat([p[name].flatten() for name in self._sizes])

    def spread(self, change: Tensor) -> dict[str, Tensor]:
        """What each parameter changes by."""
        return {name: part.view(self.p[name].shape) for name, part in self._parts(change).items()}

    def changed(self, change: Tensor) -> LayerParameters:
        return self.p.with_changes(**{name: self.p[name] + by for name, by in self.spread(change).items()})

    def put(self, p: LayerParameters, values: Tensor) -> None:
        """Puts a number for each into some parameters."""
        for name, of in self.spread(values).items():
            p[name].copy_(of)

    def at(self, p: LayerParameters) -> JacobianMatrix:
        """Around other parameters."""
        other = JacobianMatrix(self._layer, p, self._computed.steps)
        other._open = self._open
        return other

    def only(self, open_: Tensor) -> JacobianMatrix:
        """As if only some of the numbers (n,) could change."""
        other = self.at(self.p)
        other._open = open_
        return other

    def about(self) -> JointEquations:
        return JointEquations(self)

    def moved(self, change: Tensor) -> Tensor:
        """J v, (T, B, P)."""
        return (self.matrix @ change).permute(0, 2, 1)

    def pulled(self, r: Tensor) -> Tensor:
        """Jᵀ r of (T, B, P)."""
        return r.permute(0, 2, 1).flatten() @ self.matrix.flatten(0, 2)

    def entry(self, column: int) -> tuple[str, tuple[int, ...]]:
        """The parameter that a column is of, and its index there."""
        for name, size in self._sizes.items():
            if column < size:
                return name, tuple(int(at) for at in torch.unravel_index(torch.tensor(column), self.p[name].shape))
            column -= size
        raise IndexError

    def comes_with_its_twin(self, row: int) -> bool:
        """Whether this number of b_ih has an effect only together with that of b_hh."""
        return not bool(self._parts(self.matrix)["bias_hh"][..., row].any())

    @cached_property
    def matrix(self) -> Tensor:
        """J, (T, P, B, n). Of b_ih and b_hh that come together only b_ih has columns."""
        found = self._columns().nan_to_num_(0, 0, 0)  # infinite where a function is, such as 1 / v
        parts = self._parts(found)
        if {"bias_ih", "bias_hh"} <= parts.keys():
            alike = (parts["bias_ih"] == parts["bias_hh"]).flatten(0, 2).all(0)
            parts["bias_hh"].mul_(~alike)
        return found if self._open is None else found.mul_(self._open)

    def _parts(self, of: Tensor) -> dict[str, Tensor]:
        """Of the last axis what each parameter has."""
        return dict(zip(self._sizes, torch.split(of, list(self._sizes.values()), -1), strict=True))

    def _columns(self) -> Tensor:
        """(T, P, B, n)"""
        steps, (count, batch, outputs) = self._computed.steps, self.residual.shape
        found = torch.zeros(count, outputs, batch, sum(self._sizes.values()), dtype=torch.float64)
        later = None
        for t in reversed(range(count)):
            later = self._back(t, later, found[t:].flatten(0, 1))
        return found.mul_(steps.inside[:, None, :, None])

    def _back(self, t: int, later: Tensor | None, found: Tensor) -> Tensor | None:
        """Adds what step t does to h of it and of later steps, (n of these numbers, B, ·); gives their gradients by the
        cell state before it. `later` has those by the cell state after it, of the later steps."""
        computed, steps, cell = self._computed, self._computed.steps, self._computed.cell
        a = copy(computed.a)
        a.h, a.product = computed.a.h[t], computed.a.product[t]
        tape = Tape(a, len(cell.gates))
        start = Node(tape, computed.wx[t], gate=WHOLE)
        state = [Node(tape, of[t]) for of in computed.state]
        made = cell.step(tape, start, *state)
        batch, outputs = steps.after.shape[1:]
        own = torch.eye(outputs, dtype=torch.float64)[:, None].expand(outputs, batch, outputs)
        given = {made["h"]: torch.cat([own, own.new_zeros(len(found) - outputs, batch, outputs)])}
        if later is not None:
            given[made["c"]] = torch.cat([later.new_zeros(outputs, *later.shape[1:]), later])
        pull = Pull(tape, given)
        parts = self._parts(found)
        for name, g, operand in self._moves(tape, pull, start, steps.x[t]):
            if g is not None and name in parts:
                of = parts[name].view(*g.shape[:2], *self.p[name].shape)
                of.add_(g.reshape(of.shape)) if operand is None else of.addcmul_(g[..., None], operand[:, None])
        if len(state) == 1:
            return None
        g = pull(state[1])
        return torch.zeros(len(found), *state[1].value.shape, dtype=torch.float64) if g is None else g

    def _moves(
        self, tape: Tape, pull: Pull, start: Node, x: Tensor
    ) -> Iterator[tuple[str, Tensor | None, Tensor | None]]:
        """Of each parameter the gradients by what it gives, and what it multiplies, None where that is nothing."""
        products = [(weight, made, of.value) for weight, of, made in tape.products]
        for weight, node, operand in [("weight_ih", start, x), *products]:
            g = pull(node)
            yield weight, g, operand
            yield weight.replace("weight", "bias"), g, None
        for name, node in tape.parameters.items():
            yield name, pull(node), None
        peepholes = tape.peephole_weights
        if peepholes:
            each = [pull(node) for node in peepholes]
            known = next((g for g in each if g is not None), None)
            none = None if known is None else torch.zeros_like(known)
            yield "weight_ch", known if none is None else torch.cat([none if g is None else g for g in each], -1), None
