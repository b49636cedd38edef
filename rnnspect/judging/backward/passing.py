"""One layer and direction gone back over for some steps at once, with a bound for each gradient.

Every step starts from what the engine itself had: its h of the step before, and its gradients of the pre-activations of
the step after. Gradients that no pre-activation shows (that of an LSTM's c, and the share of a GRU's h that z lets
through) follow a linear recurrence; they are carried from step to step with their error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.backward_bounded import BackwardBounded
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import WHOLE, Changes, Linear, Node, Tape, UnknownGradientError
from rnnspect.arithmetic.tape_gradients import Pull, made_on
from rnnspect.cells.interface import Cell
from rnnspect.cells.trial import shared_gates
from rnnspect.judging.backward.step_mistake import StepMistake
from rnnspect.judging.chunks import Chunk

States = Mapping[str, Number]
"""Gradients of states by name, (batch, units)."""


@dataclass(frozen=True, eq=False)
class Passed:
    """What the equations give for some steps. G·H is packed, the gates one after the other."""

    wx: Number
    """dL/d of the pre-activations, (steps, batch, G·H)."""
    states: Mapping[str, Number]
    """dL/d of each state after each step, as a whole, (steps, batch, units)."""
    coming: Mapping[str, Number]
    """The same, without what the step itself adds to it."""
    before: States
    """dL/d of each state before the first of the steps."""
    products: tuple[tuple[str, Number, Number], ...]
    """For each product its weight, dL/d of its result, and the vector that was multiplied, each (steps, batch, ·)."""
    peepholes: tuple[Number, ...]
    """For each peephole weight the terms of its gradient, (steps, batch, H)."""
    parameters: Mapping[str, Number]
    """For each parameter of the cell's own the terms of its gradient, (steps, batch, units)."""
    c: Number | None
    """The cell state after each step."""


@dataclass(eq=False)
class BackwardSteps:
    """Some steps in processing order. `seen` is the engine's own dL/d of the pre-activations (steps, batch, G·H), and
    `upstream` dL/d of h as far as it comes from the output (steps, batch, P); both zero beyond an item's end."""

    chunk: Chunk
    seen: Tensor
    upstream: Tensor
    seen_error: float
    """How far each of `seen` may be off, relative."""
    changes: Changes
    mistake: StepMistake
    lost: Tensor | None
    """(steps, batch): where nothing can be judged."""

    def detached(self, state: str) -> Tensor | None:
        """(steps, 1, 1): whether the state before each step is detached, so that no gradient passes; None where none
        is."""
        if self.mistake.detached is None:
            return None
        places = torch.arange(self.chunk.start, self.chunk.start + len(self.chunk.x))
        return self.mistake.detached(state, places).view(-1, 1, 1)


@dataclass(frozen=True, eq=False)
class Forwards:
    """What a cell's lines did in some steps, going forwards: their tape, W_ih x + b_ih, and each state before and after
    the steps, by its name."""

    a: BackwardBounded
    tape: Tape
    start: Node
    state: Mapping[str, Node]
    made: Mapping[str, Node]

    def __del__(self) -> None:
        """A tape and its nodes refer to each other: their memory would stay until Python looks for such circles."""
        self.tape.let_go()


def go_forwards(a: BackwardBounded, cell: Cell, chunk: Chunk, c: Number | None, changes: Changes) -> Forwards:
    """`c` is the cell state before the first step, (batch, H), or before each, (steps, batch, H)."""
    tape = Tape(a, len(cell.gates), forced=True, changes=changes, shared=shared_gates(cell))
    start = Node(tape, a.input(chunk.x.to(a.dtype)), gate=WHOLE)
    h_error = None if chunk.h_error is None else chunk.h_error.to(a.dtype)
    state = {"h": Node(tape, a.observed(chunk.before.to(a.dtype), error=h_error))}
    if c is not None:
        state["c"] = Node(tape, c)
    return Forwards(a, tape, start, state, made_on(tape, cell, start, list(state.values())))


def go_back(forwards: Forwards, cell: Cell, steps: BackwardSteps, after: States) -> Passed:
    """`after` is what comes to each state after the last step from the steps behind it.

    Raises `UnknownGradientError` where several steps cannot be solved at once: then they have to be given one by one.
    """
    a, tape, state, made = forwards.a, forwards.tape, forwards.state, forwards.made
    blocks = a.parameters.split(steps.seen.to(a.dtype), len(cell.gates))
    seen = {node: a.exact(block, steps.seen_error) for node, block in zip(tape.seen, blocks, strict=True)}
    clipped = steps.mistake.clipped
    clips = {} if clipped is None else clipped.within(tape, made, steps.chunk)
    pull = Pull(tape, seen | {made[name]: Linear({name: None}) for name in state}, clips)
    solving = _Solving(a, steps, after, pull)
    if clipped is not None and clipped.after_n:
        pull.give(made["h"], solving.last("h"))
        clipped.give_n(pull, tape, n := cell.gates.index("n"), seen[tape.seen[n]])
    left = list(state)
    while left:
        name = next((one for one in left if solving.solved(one, state[one], made[one])), None)
        if name is None:
            raise UnknownGradientError
        left.remove(name)
    products = tuple((weight, pull(made), of.value) for weight, of, made in tape.products if pull(made) is not None)
    each = [pull(node) for node in tape.peephole_weights]
    none = next((g.moved(torch.zeros_like) for g in each if g is not None), None)
    peepholes = () if none is None else tuple(none if g is None else g for g in each)
    parameters = {name: g for name, node in tape.parameters.items() if (g := pull(node)) is not None}
    whole = {name: pull(made[name]) for name in state}
    wx = pull(forwards.start)
    tape.let_go()
    return Passed(
        wx if clipped is None else clipped.of("gates", wx, steps.chunk),
        whole,
        solving.states,
        {name: _lost_on_the_way(solving.before[name], g) for name, g in whole.items()},
        products,
        peepholes,
        parameters,
        made["c"].value if "c" in state else None,
    )


class _Solving:
    """The gradients of the states after each step, solved one state after the other."""

    def __init__(self, a: BackwardBounded, steps: BackwardSteps, after: States, pull: Pull) -> None:
        self._a, self._steps, self._after, self._pull = a, steps, after, pull
        self._valid = None if steps.chunk.valid is None else steps.chunk.valid.unsqueeze(-1)
        self.states: dict[str, Number] = {}
        self.before: dict[str, Number] = {}

    def solved(self, name: str, state: Node, made: Node) -> bool:
        """Whether dL/d of this state could be told; it is then in `states` and known to the tape."""
        try:
            found = self._pull(state)
        except UnknownGradientError:
            return False
        found = self._let_through(found, self._steps.detached(name))
        after, clipped = self._after[name], self._steps.mistake.clipped
        upstream = self._steps.upstream.to(self._a.dtype) if name == "h" else None
        if isinstance(found, Linear):
            if found.slopes.keys() != {name}:
                return False
            slope, rest = found.slopes[name], found.rest
            step_by_step = clipped is not None and clipped.changes(name)
            if step_by_step:
                whole = self._stepped(slope, rest, self._pull(made), after, upstream)
            else:
                whole = self._scanned(slope, rest, after, upstream)
        else:
            if found is None:
                none = torch.zeros(*self._steps.chunk.x.shape[:2], after.v.shape[1], dtype=self._a.dtype)
                found = Number(none, none, self._a.u)
            if clipped is not None:
                found = clipped.of(f"{name} carried", found, self._steps.chunk)
            whole = self._known(found, after, upstream)
            if clipped is not None:
                whole = clipped.of(name, whole[0], self._steps.chunk), whole[1]
        self.states[name], self.before[name] = whole
        self._pull.give(made, self.states[name])
        return True

    def last(self, name: str) -> Number:
        """dL/d of a state after the last step (batch, units), without the part from the step itself."""
        return self._with(self._steps.upstream[-1].to(self._a.dtype) if name == "h" else None, self._after[name])

    def _let_through(self, g: Any, detached: Tensor | None) -> Any:
        """The gradient, zero where the state before a step is detached."""
        if detached is None or g is None:
            return g
        if isinstance(g, Linear):
            known = {of: self._a.one() if slope is None else slope for of, slope in g.slopes.items()}
            slopes = {of: self._let_through(slope, detached) for of, slope in known.items()}
            return Linear(slopes, self._let_through(g.rest, detached))
        return g.moved(lambda one: torch.where(detached, 0, one))

    def _known(self, before: Number, after: Number, upstream: Tensor | None) -> tuple[Number, Number]:
        """For a state whose gradient before a step does not depend on a state's gradient after it."""

        def with_last(one: Tensor, last: Tensor) -> Tensor:
            return torch.cat([self._inside(one, last.expand_as(one)), last.expand_as(one[:1])])

        added = None if self._a.u.largest == math.inf else with_last(before.size, after.size)
        each = Number(with_last(before.v, after.v), with_last(before.each, after.e), self._a.u, added=added)
        skipped = min(max(self._steps.mistake.skipped - self._steps.chunk.start, 0), len(each.v) - 1)
        return self._with(upstream, each.moved(lambda one: one[1:])), each.moved(lambda one: one[skipped])

    def _scanned(
        self, slope: Number | None, rest: Number | None, after: Number, upstream: Tensor | None
    ) -> tuple[Number, Number]:
        """For a state whose gradient before a step is slope ⊙ (its gradient after the step) + rest."""
        a = self._a
        shape = (*self._steps.chunk.x.shape[:2], after.v.shape[-1])
        if slope is None:  # all of it goes on
            slope = Number(torch.ones(shape, dtype=a.dtype), torch.zeros(shape, dtype=a.dtype), a.u, is_gate=True)
        elif slope.v.shape != shape:  # the same at every step, as a vector of weights or a number is
            slope = slope.moved(lambda one: one.expand(shape).contiguous())
        last = self.last("h" if upstream is not None else "c")
        v, e = self._inside(slope.v, torch.ones_like(slope.v)), self._inside(slope.e, torch.zeros_like(slope.e))
        factor = Number(v, e, a.u, is_gate=slope.is_gate)
        if rest is not None:
            rest = rest.moved(lambda one: self._inside(one, torch.zeros_like(one)))
        if upstream is not None:
            rest = self._with(torch.cat([torch.zeros_like(upstream[:1]), upstream[:-1]]), rest)
        whole = a.scanned(factor, last, rest)
        return whole.moved(lambda one: one[1:]), whole.moved(lambda one: one[0])

    def _stepped(
        self, slope: Number | None, rest: Number | None, coming: Linear, after: Number, upstream: Tensor | None
    ) -> tuple[Number, Number]:
        """As `_scanned`, step by step, since something is clipped at each step. `coming` is the part of the gradient
        after each step that comes from the step itself: to c from h."""
        a, chunk, clipped = self._a, self._steps.chunk, self._steps.mistake.clipped
        assert clipped is not None
        if coming.rest is not None:
            rest = None  # it is slope ⊙ that one
        shape, name = (*chunk.x.shape[:2], after.v.shape[-1]), "h" if upstream is not None else "c"
        found, g = [], Number(after.v.expand(shape[1:]), after.e.expand(shape[1:]), a.u)
        for step in reversed(range(shape[0])):
            one = chunk.cut(step, step + 1)
            kept, g = g, self._with(None if upstream is None else upstream[step], g)
            whole = clipped.of(name, g if coming.rest is None else a.plus(g, _row(coming.rest, step)), one)
            found.append(whole if coming.rest is None else g)
            before = whole if slope is None else a.times(whole, _row(slope, step))
            before = before if rest is None else a.plus(before, _row(rest, step))
            before = clipped.of(f"{name} carried", before, one)
            if self._valid is not None:
                v, e = (torch.where(self._valid[step], *pair) for pair in ((before.v, kept.v), (before.e, kept.e)))
                before = Number(v, e, a.u)
            g = before
        v, e = (torch.stack([getattr(one, part).expand(shape[1:]) for one in found[::-1]]) for part in ("v", "e"))
        return Number(v, e, a.u), g

    def _with(self, upstream: Tensor | None, g: Number | None) -> Number:
        if upstream is None:
            assert g is not None
            return g
        own = Number(upstream, torch.zeros((), dtype=upstream.dtype), self._a.u)
        return own if g is None else self._a.plus(g, own)

    def _inside(self, values: Tensor, beyond: Tensor) -> Tensor:
        """`values` inside each item, `beyond` after its end, so that what comes in at the end reaches the last step."""
        return values if self._valid is None else torch.where(self._valid, values, beyond)


_DIMS = 3
"""Of the values of some steps: steps, items of the batch, units."""


def _lost_on_the_way(before: Number, whole: Number) -> Number:
    """dL/d of a state before some steps. If dL/d of that state overflowed float16 after one of the steps, an engine has
    infinity or NaN in all steps before it, and nothing is known of it."""
    if before.u.largest == math.inf:
        return before
    return replace(before, e=before.e.masked_fill(whole.each.isinf().any(0), math.inf))


def _row(number: Number, step: int) -> Number:
    """That of one step; a number made of constants and parameters alone is the same at each."""
    return number.moved(lambda one: one[step]) if number.v.dim() == _DIMS else number


def masked(chunk: Chunk) -> Chunk:
    """The chunk with zeros beyond each item's end, where its numbers may be anything."""
    if chunk.valid is None:
        return chunk
    inside = chunk.valid.unsqueeze(-1)
    x, before = (torch.where(inside, values, 0) for values in (chunk.x, chunk.before))
    error, h_error = (None if e is None else torch.where(inside, e, 0) for e in (chunk.error, chunk.h_error))
    return Chunk(chunk.start, x, before, chunk.after, chunk.steps, chunk.valid, error, h_error)


def as_wide(g: Number, dtype: torch.dtype) -> Number:
    """A number in another dtype. One that was computed in float32 has an error of its own, as large as that of a
    correct engine."""
    if g.v.dtype == dtype:
        return g
    return replace(g.moved(lambda one: one.to(dtype)), e=2 * g.e.to(dtype))
