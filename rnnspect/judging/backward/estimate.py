"""A pass backwards of which only the results were seen. It is computed in float64, from the beginning to the end, with
a few replicas that are disturbed by roundings. The spread of the replicas tells how far roundings may carry an engine;
its results are compared with that (`judging/estimate.py`).

Where h of a layer was observed, every step forwards starts from it; else the replicas also step forwards by themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.backward_perturbed import BackwardPerturbed
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.numbers import Array
from rnnspect.arithmetic.perturbed import RUNS
from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.tape import WHOLE, Changes, Node, Tape
from rnnspect.arithmetic.tape_gradients import Pull, made_on
from rnnspect.cells.functions import Nonlinearity
from rnnspect.cells.interface import Cell
from rnnspect.judging.backward.range import Range
from rnnspect.judging.backward.step_mistake import StepMistake
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.backward.terms import unused
from rnnspect.judging.chunks import Chunk, LayerRun
from rnnspect.judging.estimate import FINAL_SPREADS
from rnnspect.judging.layer import cast
from rnnspect.network.arrays import array
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.progress import StepsDone, untold


@dataclass(frozen=True)
class FreeLayer:
    """One layer and direction of such a pass. `x` is (T, RUNS·B, I) of the replicas, or (T, B, I) where all have the
    same; `h` (T, B, P) if it was observed; `state` h0 (B, P), and c0 (B, H); `lengths` (B,) or None."""

    cell: Cell
    p: LayerParameters
    u: Roundoff
    nonlinearity: Nonlinearity
    x: Tensor
    h: Tensor | None
    state: tuple[Tensor, ...]
    lengths: Tensor | None
    reverse: bool
    changes: Changes = field(default_factory=dict)
    mistake: StepMistake = field(default_factory=StepMistake)
    back: Cell | None = None
    """The cell whose gradients it has, where a mistake goes back as another cell than it went forwards."""


@dataclass
class FreeGradients:
    """For all runs: dL/dx (T, RUNS·B, I), dL/d of the initial state (RUNS·B, ·), dL/d of each parameter (RUNS, …), and
    the error of adding that up."""

    x: Tensor
    states: dict[str, Tensor]
    parameters: dict[str, Tensor]
    sums: dict[str, Tensor]


class Free:
    """One layer and direction, gone over forwards once, and then back as often as wanted."""

    def __init__(self, layer: FreeLayer) -> None:
        self.layer, self._p = layer, cast(layer.p, torch.float64)
        self._steps, self._batch = len(layer.x), len(layer.state[0])
        h0 = layer.state[0]
        like = h0.expand(self._steps, -1, -1)
        run = LayerRun(like, like, h0, None, layer.lengths, layer.reverse)
        self._order, self._each = np.tile(run.order(0, self._steps).numpy(), RUNS), np.arange(RUNS * self._batch)
        self._x, self._h = array(layer.x), None if layer.h is None else array(layer.h)
        self._inside = np.arange(self._steps)[:, None] < run.step_counts.numpy()
        self._states: list[tuple[Array, ...]] = []
        self._largest = min(layer.u.largest, torch.finfo(layer.p.weight_ih.dtype).max)
        self._begin(layer)
        self._hardly_moves = False
        self.range = Range(self._p, self._largest, self._batch)

    def _begin(self, layer: FreeLayer) -> None:
        self._a = BackwardPerturbed([self._p], len(layer.cell.gates), layer.nonlinearity, layer.u, self._batch)
        if layer.mistake.weights is not None:
            self._a.on_the_way_back = cast(layer.mistake.weights, torch.float64)

    def back_as(self, layer: FreeLayer) -> Free:
        """After `forwards`: one with the same states that goes back as another layer, whose pass forwards is the
        same."""
        other = copy.copy(self)
        other.layer, other.range = layer, self.range.copy()
        other._begin(layer)
        return other

    @property
    def times(self) -> float:
        """How many times the spread of the replicas a correct engine may be off. Roundings that do not cancel over time
        add up as T, but those of the replicas, which are drawn anew at each step, as √T."""
        return max(FINAL_SPREADS, float(self._steps**0.5)) if self._hardly_moves else FINAL_SPREADS

    def _rows(self, values: Array, t: int) -> Array:
        """The rows (RUNS·B, ·) of the t-th step in processing order, of values by step of the input."""
        rows: Array = values[self._order[t], self._each % values.shape[1]]
        return rows.astype(np.float64, copy=False)

    def _mask(self, t: int) -> Array:
        return np.tile(self._inside[t], RUNS)[None, :, None]

    def _input(self, t: int) -> Array:
        """W_ih x + b_ih."""
        rows = np.where(self._mask(t)[0], self._rows(self._x, t), 0)
        if self._x.shape[1] == self._batch:
            (s,), (off,) = self._a.of_x([(torch.from_numpy(rows[None, : self._batch]), None)])
            return self._a.input(s, off)
        return self._a.in_pieces([linear(torch.from_numpy(rows), self._p.weight_ih, self._p.bias_ih)])

    @np.errstate(all="ignore")  # infinity and NaN are data here
    @torch.inference_mode()
    def forwards(self) -> Tensor:
        """h (T, RUNS·B, P) by step of the input, zero beyond an item's length."""
        cell, a = self.layer.cell, self._a
        now: tuple[Array, ...] = tuple(np.tile(one.double().numpy(), (RUNS, 1))[None] for one in self.layer.state)
        width = self._p.weight_hh.shape[1]
        outputs = np.zeros((self._steps, RUNS * self._batch, width))
        for t in range(self._steps):
            self._states.append(now)
            a.begin_step()
            self.range.forwards(self._inside[t], self._rows(self._x, t), now)
            made = cell.step(a, self._input(t), *now)
            new = [a.kept(made[name]) for name in cell.states]
            if self._h is not None:
                new[0] = self._rows(self._h, t)[None]
            inside = self._mask(t)
            now = tuple(np.where(inside, one, old) for one, old in zip(new, now, strict=True))
            self._place(outputs, t, np.where(inside, now[0], 0))
        self._states.append(now)
        self._hardly_moves = a.hardly_moves
        return torch.from_numpy(outputs)

    def _place(self, values: Array, t: int, rows: Array) -> None:
        """Adds rows to the values (T, RUNS·B, ·) of the t-th step in processing order."""
        values[self._order[t], self._each] += rows[0]

    @np.errstate(all="ignore")
    @torch.inference_mode()
    def back(self, upstream: Tensor, last: Mapping[str, Tensor], progress: StepsDone = untold) -> FreeGradients:
        """After `forwards`. `upstream` is dL/d of h from the output, (T, RUNS·B, P), or (T, B, P) of all runs; `last`
        dL/d of the final state (RUNS·B, ·) or (B, ·), by the name of the state, where that is not zero."""
        layer, a = self.layer, self._a
        dx, given = np.zeros((self._steps, RUNS * self._batch, self._p.weight_ih.shape[1])), array(upstream)
        sums, after = _RunSums(layer.u, self._batch, self._largest), []
        for name, one in zip(layer.cell.states, self._states[0], strict=True):
            end = last.get(name)
            again = RUNS if end is not None and len(end) == self._batch else 1
            after.append(np.zeros_like(one) if end is None else np.tile(end.double().numpy(), (again, 1))[None])
        for t in reversed(range(self._steps)):
            a.begin_step()
            inside = self._mask(t) & (t >= layer.mistake.skipped)
            dy = np.where(inside, self._rows(given, t)[None], 0)
            found = self._step(t, dy, after, inside)
            self.range.back(self._inside[t], found.wx, self._states[t], [*found.before, *after, dy])
            for term in found.terms:
                sums.add(*term)
            self._place(dx, t, np.where(inside, a.transposed("weight_ih", found.wx), 0))
            before = [self._through(name, t, g) for name, g in zip(layer.cell.states, found.before, strict=True)]
            after = [np.where(inside, g, old) for g, old in zip(before, after, strict=True)]
            progress(1)
        grad_x = torch.from_numpy(dx)
        if layer.mistake.given_x is not None:
            grad_x = layer.mistake.given_x(grad_x)
        ends = {name: torch.from_numpy(g[0]) for name, g in zip(layer.cell.states, after, strict=True)}
        return FreeGradients(grad_x, ends, *sums.done(self._p))

    def _through(self, state: str, t: int, g: Array) -> Array:
        """dL/d of a state before the t-th step in processing order: zero where the state is detached."""
        detached = self.layer.mistake.detached
        return g if detached is None or not bool(detached(state, torch.tensor([t]))[0]) else np.zeros_like(g)

    def _step(self, t: int, upstream: Array, after: Sequence[Array], inside: Array) -> _Step:
        layer, a = self.layer, self._a
        tape = Tape(a, len(layer.cell.gates), changes=layer.changes)
        start = Node(tape, self._input(t), gate=WHOLE)
        state = [Node(tape, one) for one in self._states[t]]
        made = made_on(tape, layer.back or layer.cell, start, state)
        coming = [np.where(inside, g, 0) for g in after]
        given: dict[Node, Any] = {}
        for name, g in zip(layer.cell.states, coming, strict=True):
            given[made[name]] = a.plus(g, upstream) if name == "h" else g
        pull = Pull(tape, given)

        def of(node: Node) -> Array:
            g = pull(node)
            return np.zeros_like(node.value) if g is None else np.where(inside, g, 0)

        g, rows = pull(start), (1, RUNS * self._batch)
        # A gradient has the gates side by side; the value may have each in a piece of its own.
        wx = np.zeros((*rows, len(self._p.weight_ih))) if g is None else np.where(inside, g, 0)
        x = np.where(inside, self._rows(self._x, t)[None], 0)
        terms: list[RunTerm] = [("weight_ih", wx, x), ("bias_ih", wx, None)]
        seen: list[bool] = []
        for weight, operand, product in tape.products:
            if pull(product) is not None:
                terms.append((weight, of(product), np.where(inside, operand.value, 0)))
                seen.append(operand in state)
                terms += [("bias_hh", of(product), None)] if weight == "weight_hh" else []
        if tape.peephole_weights:
            terms.append(("weight_ch", np.concatenate([of(p) for p in tape.peephole_weights], -1), None))
        terms += [
            (name, np.broadcast_to(g := of(node), (*rows, g.shape[-1])), None) for name, node in tape.parameters.items()
        ]
        for name, height, width in unused(self._p, [name for name, *_ in terms]):
            terms.append((name, np.zeros((*rows, height)), None if width is None else np.zeros((*rows, width))))
            seen += [True] * (width is not None)
        return _Step(wx, [of(node) for node in state], self._otherwise(terms, seen, t))

    def _otherwise(self, terms: list[RunTerm], seen: list[bool], t: int) -> list[RunTerm]:
        """The terms that an engine with a mistake adds up. `seen` says whether a product is of a state itself."""
        change = self.layer.mistake.terms
        if change is None:
            return terms
        exact, states = torch.zeros((), dtype=torch.float64), iter(seen)

        def known(v: Array, is_exact: bool = True) -> Number:
            own = torch.from_numpy(np.require(v[0], requirements="W"))  # one that is the same for all rows is not
            return Number(own, exact if is_exact else torch.zeros_like(own), self.layer.u)

        given = []
        for name, left, right in terms:
            is_exact = right is None or name == "weight_ih" or next(states)
            given.append(Term(name, known(left), None if right is None else known(right, is_exact)))
        before, after = (torch.from_numpy(self._states[at][0]) for at in (t, t + 1))
        valid = torch.from_numpy(np.tile(self._inside[t], RUNS))[None]
        changed = change(given, Chunk(t, before, before, after, None, valid))
        return [(one.parameter, one.left.v.numpy()[None], _array(one.right)) for one in changed]


RunTerm = tuple[str, Array, Array | None]
"""A parameter, and for all runs a term of its gradient: left ⊗ right, or left alone."""


def _array(number: Number | None) -> Array | None:
    return None if number is None else number.v.numpy()[None]


@dataclass(frozen=True)
class _Step:
    wx: Array
    before: list[Array]
    terms: list[RunTerm]


class _RunSums:
    """The gradient of each parameter in every run."""

    def __init__(self, u: Roundoff, batch: int, largest: float) -> None:
        """`largest`: where a sum may be above it, nothing can be judged, as a partial sum may be infinite."""
        self._u, self._batch, self._largest = u, batch, largest
        self._values: dict[str, Array] = {}
        self._sizes: dict[str, Array] = {}
        self._terms = 0

    def add(self, name: str, left: Array, right: Array | None) -> None:
        runs = left.reshape(RUNS, self._batch, -1)
        if right is None:
            value, size = runs.sum(1), np.abs(runs[0]).sum(0)
        else:
            others = right.reshape(RUNS, self._batch, -1)
            value, size = runs.transpose(0, 2, 1) @ others, np.abs(runs[0]).T @ np.abs(others[0])
        is_first = name not in self._values
        self._values[name] = value if is_first else self._values[name] + value
        self._sizes[name] = size if is_first else self._sizes[name] + size
        self._terms += self._batch if name == "weight_ih" else 0

    def done(self, p: LayerParameters) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        values, errors = {}, {}
        unit = LAMBDA * np.sqrt(self._terms + 2) * self._u.sums + 2 * self._u.stored + 4 * self._u.products
        if self._u.coarse:
            unit += self._terms / self._batch * self._u.stored
        for name, value in self._values.items():
            if name not in p.names:
                continue
            size = self._sizes[name]
            values[name] = torch.from_numpy(value)
            error = np.where(size <= self._largest, size * unit + self._terms * self._u.tiny, np.inf)
            errors[name] = torch.from_numpy(error)
        return values, errors
