"""How h of every step changes with every parameter, for any cell: the Jacobian J as a matrix.

Where each unit has parameters of its own, the columns follow from slopes (`target.py`). Where gates and states have
other sizes, where the state has matrices, or where a norm makes each unit depend on all, the gradient of every number
of h is taken back over the cell's own lines, through the cell state to the first step; all steps are computed side by
side, as items of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.arithmetic.tape import WHOLE, Node, Tape
from rnnspect.arithmetic.tape_gradients import Pull, made_on
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.evidence.linearised import Computed, Steps
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters

_SHORTEST = 1e-10
"""As a share of the longest column. A shorter column may be nothing but rounding of terms that cancel."""
_NOTHING, _SHARE = 1e-12, 1e-6
"""A direction has no effect if its square is less than the first share of the largest. A parameter is not determined if
more than the second share of it lies in such directions."""


def numbers(assumed: Assumption) -> int:
    """How many numbers the matrix has for each row (step × item)."""
    return assumed.run.h.shape[-1] * sum(assumed.p[name].numel() for name in assumed.p.names)


class JointEquations:
    """The normal equations of all parameters, solved together. Directions in which h does not change are left as they
    are."""

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
        """The v with (JᵀJ + damping) v = g, with columns of length 1."""
        along = (g @ self._vectors) / (self._values + damping)
        return torch.mv(self._vectors, along)

    def variances(self) -> Tensor:
        """The variance of each parameter if each number of h has the variance 1; infinite where it is not
        determined."""
        return torch.masked_fill(self._vectors.square() @ self._values.reciprocal(), self._untold, math.inf)


class JacobianMatrix:
    """The Jacobian at some parameters. A change of the parameters is one row of numbers (n,), those of one parameter
    after the other."""

    def __init__(self, layer: LayerEquations, p: LayerParameters, steps: Steps) -> None:
        self.p, self._layer, self._computed = p, layer, Computed(layer, p, steps)
        self.residual = self._computed.residual()
        self.left = float(self.residual.square().sum())
        self._sizes = {name: p[name].numel() for name in p.names}
        self._open: Tensor | None = None

    def packed(self, p: LayerParameters) -> Tensor:
        return torch.cat([p[name].flatten() for name in self._sizes])

    def spread(self, change: Tensor) -> dict[str, Tensor]:
        """The change of each parameter."""
        return {name: part.view(self.p[name].shape) for name, part in self._parts(change).items()}

    def changed(self, change: Tensor) -> LayerParameters:
        return self.p.with_changes(**{name: self.p[name] + by for name, by in self.spread(change).items()})

    def put(self, p: LayerParameters, values: Tensor) -> None:
        """Writes a value for each number into some parameters."""
        for name, of in self.spread(values).items():
            p[name].copy_(of)

    def at(self, p: LayerParameters) -> JacobianMatrix:
        """The Jacobian at other parameters."""
        other = JacobianMatrix(self._layer, p, self._computed.steps)
        other._open = self._open
        return other

    def only(self, open_: Tensor) -> JacobianMatrix:
        """The same with only some of the numbers (n,) free to change."""
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
        """The parameter of a column, and the index in it."""
        for name, size in self._sizes.items():
            if column < size:
                return name, tuple(int(at) for at in torch.unravel_index(torch.tensor(column), self.p[name].shape))
            column -= size
        raise IndexError

    def comes_with_its_twin(self, row: int) -> bool:
        """Whether this number of b_ih is only ever added to the same number of b_hh."""
        return not bool(self._parts(self.matrix)["bias_hh"][..., row].any())

    @cached_property
    def matrix(self) -> Tensor:
        """J, (T, P, B, n). For b_ih and b_hh that are only ever added, only b_ih has columns."""
        found = self._columns().nan_to_num_(0, 0, 0)  # infinite where a function is, such as 1 / v
        parts = self._parts(found)
        if {"bias_ih", "bias_hh"} <= parts.keys():
            alike = (parts["bias_ih"] == parts["bias_hh"]).flatten(0, 2).all(0)
            parts["bias_hh"].mul_(~alike)
        return found if self._open is None else found.mul_(self._open)

    def _parts(self, of: Tensor) -> dict[str, Tensor]:
        """The last axis split by parameter."""
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
        """Adds the effect of step t on h of that step and of later ones, (n of these numbers, B, ·); gives their
        gradients by the cell state before the step. `later` has the gradients of later steps by the cell state after
        it."""
        computed, steps, cell = self._computed, self._computed.steps, self._computed.cell
        a = copy(computed.a)
        a.h, a.product = computed.a.h[t], computed.a.product[t]
        tape = Tape(a, len(cell.gates))
        start = Node(tape, computed.wx[t], gate=WHOLE)
        state = [Node(tape, of[t]) for of in computed.state]
        made = made_on(tape, cell, start, state)
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
        """For each parameter the gradients by its product, and what it multiplies, which is None for a parameter that
        multiplies nothing."""
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
