"""One layer and direction of an engine's pass backwards against the equations, chunk by chunk from the last step on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.arithmetic.backward_bounded import BackwardBounded, sums_up_to
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.tape import Changes
from rnnspect.cells.functions import Nonlinearity
from rnnspect.cells.interface import Cell
from rnnspect.judging.backward.compared import compared, in_range, lost, nearest, ratio_of, turned_of
from rnnspect.judging.backward.padding import with_padding
from rnnspect.judging.backward.passing import BackwardSteps, Forwards, Passed, as_wide, go_back, go_forwards, masked
from rnnspect.judging.backward.second_look import SecondLook
from rnnspect.judging.backward.step_mistake import StepMistake
from rnnspect.judging.backward.sums import SumFinding, Sums, SumsChange, Term
from rnnspect.judging.backward.sums_again import SumAgain, orders_of
from rnnspect.judging.backward.terms import terms_of
from rnnspect.judging.cell_state import State
from rnnspect.judging.chunks import Chunk, LayerRun, chunk_at
from rnnspect.judging.finding import Finding, WrongValues, combine, latest_gate
from rnnspect.judging.judge import CLOSE
from rnnspect.judging.layer import ComparedChunk, LayerEquations, cast
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.progress import StepsDone, untold

_CHUNK = 2**19  # values of one quantity
_SAMPLES = 64  # rows of a chunk at which the resolution is looked at
_KEPT = 2**27  # bytes of a pass forwards that are kept for the pass back
_QUANTITIES = 20  # numbers that it has of each unit, bounds included


@dataclass(frozen=True)
class BackwardRun:
    """What a layer and direction received and gave in a pass forwards and back, (T, B, ·) by step of the input."""

    run: LayerRun
    seen: Tensor
    """dL/d of its pre-activations as the engine gave it, (T, B, G·H)."""
    upstream: Tensor
    """The part of dL/dh that comes from the output, as the engine had it, (T, B, P)."""
    last: Mapping[str, Tensor]
    """dL/d of the final state of each item, (B, ·), by the name of the state, where that is not zero."""
    lost: Tensor | None = None
    """(T, B): the steps of which nothing can be judged; None where everything can."""


@dataclass(frozen=True)
class LayerBackward:
    """What was found in one layer and direction: of the pre-activations' gradients, whose units are packed; and what
    the equations give for the initial states, and for the parameters."""

    finding: Finding
    states: Mapping[str, Number]
    sums: Sums
    steps: int
    again: SumAgain
    """The second look at an entry of a parameter's gradient."""

    def parameters(self, engine: Mapping[str, Tensor], change: SumsChange | None = None) -> Iterator[SumFinding]:
        """Holds the gradients of the parameters to the equations. `engine` has those of the engine by the names
        weight_ih …, without layer and direction. `change` is a mistake to assume: it changes what the equations give
        before the two are compared."""
        return self.sums.findings(engine, self.steps, change, self.again)


class BackwardJudge:
    """Compares the gradients of one layer and direction with what the equations give.

    `changes` (`arithmetic/tape.py`) and `mistake` are mistakes of going back.
    """

    def __init__(
        self,
        cell: Cell,
        p: LayerParameters,
        u: Roundoff,
        nonlinearity: Nonlinearity,
        changes: Changes | None = None,
        mistake: StepMistake | None = None,
    ) -> None:
        self.layer = LayerEquations(cell, p, u, nonlinearity)
        self.changes, self.mistake = changes or {}, mistake or StepMistake()
        self.plain = self._arithmetic(self.layer.dtype)

    def _arithmetic(self, dtype: torch.dtype) -> BackwardBounded:
        layer = self.layer
        a = BackwardBounded(cast(layer.p, dtype), layer.gates, layer.u, layer.nonlinearity)
        a.limit = sums_up_to(layer.p, layer.u)
        if self.mistake.weights is not None:
            a.on_the_way_back = cast(self.mistake.weights, dtype)
        return a

    @cached_property
    def _wide(self) -> BackwardBounded:
        return self._arithmetic(torch.float64)

    @torch.inference_mode()
    def __call__(
        self, back: BackwardRun, progress: StepsDone = untold, exact: bool = False, glance: int = 0
    ) -> LayerBackward:
        """`exact`: computes every sum in float64, not only what is close to its bound. `glance`: if not 0, looks only
        at about the last so many steps, without a second look at what is above its bound."""
        layer, run = self.layer, back.run
        total, batch = run.x.shape[:2]
        found, sums = Finding(resolution=layer.unseen), Sums(layer.u, layer.limit)
        after: Mapping[str, Number] = self.end_of(back, batch)
        begun = list(self._begun(run, keep=_KEPT))
        while begun:  # what a chunk kept is let go of after it
            start, stop, c, forwards = begun.pop()
            chunk = masked(chunk_at(run, start, stop))
            steps = self.steps_of(back, chunk)
            passed = self._passed(self.plain, steps, c, after, forwards)
            passed, part = self._judged(passed, steps, c, after, total, not glance and found.first is None)
            if exact and passed.wx.v.dtype != torch.float64:
                passed = self._passed(self._wide, steps, c, after)
            sums.add(terms_of(passed, steps, layer.p, layer.u))
            after, found = passed.before, combine(found, part)
            progress(stop - start)
            if 0 < glance <= total - start:
                break
        return self.found_in(back, found, after, sums)

    def found_in(self, back: BackwardRun, found: Finding, before: Mapping[str, Number], sums: Sums) -> LayerBackward:
        """The finding of a layer and direction, from that of its steps, `found`. Padding and the gradients of the
        parameters, which are sums over all steps, are added."""
        again = orders_of(lambda: self._exact_terms(back), self.layer.u, back.run.h)
        found = with_padding(found, back.seen, back.run.lengths)
        return LayerBackward(found, before, sums, len(back.seen), again)

    def _exact_terms(self, back: BackwardRun) -> Iterator[list[Term]]:
        """The terms of the parameters' gradients in float64, chunk by chunk from the last one on."""
        for passed, steps in self.exactly(back):
            yield terms_of(passed, steps, self.layer.p, self.layer.u)

    @torch.inference_mode()
    def exactly(self, back: BackwardRun) -> Iterator[tuple[Passed, BackwardSteps]]:
        """What the equations give in float64, chunk by chunk from the last one on."""
        after: Mapping[str, Number] = self.end_of(back, back.run.x.shape[1])
        for start, stop, c, _ in reversed(list(self._begun(back.run, keep=0))):
            steps = self.steps_of(back, masked(chunk_at(back.run, start, stop)))
            passed = self._passed(self._wide, steps, c, after)
            yield passed, steps
            after = passed.before

    def _begun(self, run: LayerRun, keep: int) -> Iterator[tuple[int, int, State | None, Forwards | None]]:
        """Each chunk in processing order, with the cell state that it begins with, and what was computed for that: of
        as many of the last chunks as `keep` bytes hold."""
        layer = self.layer
        total, batch = run.x.shape[:2]
        clipped = self.mistake.clipped
        n = max(1, 0 if clipped and clipped.after_n else min(2048, max(256, _CHUNK // layer.widest)) // batch)
        c = layer.begin(run.c0)
        kept = keep // (batch * layer.widest * _QUANTITIES * layer.dtype.itemsize)
        for start in range(0, total, n):
            stop, before, forwards = min(total, start + n), c, None
            if c is not None and stop < total:
                if start >= total - kept and not layer.stepwise and run.h_error is None:
                    chunk = masked(chunk_at(run, start, stop))
                    forwards = go_forwards(self.plain, layer.cell, chunk, c.number(layer.dtype), self.changes)
                    c = self._state_after(chunk, c, forwards)
                else:
                    c = self._after(chunk_at(run, start, stop), c)[1]
            yield start, stop, before, forwards

    def _state_after(self, chunk: Chunk, c: State, forwards: Forwards) -> State:
        """The cell state after a chunk, from what its pass forwards computed."""
        q = {name: node.value.number for name, node in forwards.made.items()}
        after, bound = chunk.after.to(self.layer.dtype), q["h"].e
        found = self.layer.after(ComparedChunk(chunk, c, q, after, bound, bound))
        assert found is not None
        return found

    def _after(self, chunk: Chunk, c: State) -> tuple[Number, State]:
        """The cell state before each step of a chunk, (steps, batch, H) or (batch, H) where one number is enough, and
        the state after it."""
        layer = self.layer
        if not layer.stepwise:
            after = self._forward(chunk, c)
            return c.number(layer.dtype), after
        each = []
        for step in range(len(chunk.x)):
            each.append(c.number(layer.dtype))
            c = self._forward(chunk.cut(step, step + 1), c)
        v, e = torch.stack([one.v for one in each]), torch.stack([one.e for one in each])
        return Number(v, e, layer.u), c

    def _forward(self, chunk: Chunk, c: State) -> State:
        """The cell state after a chunk."""
        layer, a = self.layer, self.plain
        if chunk.h_error is None:
            after = layer.after(layer.compare(chunk, c, layer.plain))
            assert after is not None
            return after
        h = a.observed(chunk.before.to(a.dtype), error=chunk.h_error.to(a.dtype))
        made = layer.stepped(a, a.input(chunk.x.to(a.dtype)), h, c.number(a.dtype))["c"].number
        return State.ending(made, chunk.valid, c.number(a.dtype))

    def end_of(self, back: BackwardRun, batch: int) -> dict[str, Number]:
        layer = self.layer
        after = {}
        for name in layer.cell.states:
            none = torch.zeros(
                batch, layer.p.weight_hh.shape[1] if name == "h" else layer.state_units, dtype=layer.dtype
            )
            after[name] = Number(back.last[name].to(layer.dtype) if name in back.last else none, none, layer.u)
        return after

    def steps_of(self, back: BackwardRun, chunk: Chunk) -> BackwardSteps:
        seen, upstream = back.seen[chunk.at], back.upstream[chunk.at]
        if (skipped := self.mistake.skipped - chunk.start) > 0:
            chunk = replace(chunk, valid=chunk.inside & (torch.arange(len(chunk.x)) >= skipped).unsqueeze(1))
        if chunk.valid is not None:
            inside = chunk.valid.unsqueeze(-1)
            seen, upstream = torch.where(inside, seen, 0), torch.where(inside, upstream, 0)
        lost = None if back.lost is None else back.lost[chunk.at]
        return BackwardSteps(chunk, seen, upstream, self.layer.u.of_seen, self.changes, self.mistake, lost)

    def _passed(
        self,
        a: BackwardBounded,
        steps: BackwardSteps,
        c: State | None,
        after: Mapping[str, Number],
        forwards: Forwards | None = None,
    ) -> Passed:
        before, cell = None, self.layer.cell
        if c is not None and forwards is None:
            before = self._after(steps.chunk, c)[0] if self.layer.stepwise else c.number(a.dtype)
        wide = {name: as_wide(g, a.dtype) for name, g in after.items()}
        if forwards is None:
            before = None if before is None else as_wide(before, a.dtype)
            forwards = go_forwards(a, cell, steps.chunk, before, steps.changes)
        passed = go_back(forwards, cell, steps, wide)
        return replace(passed, wx=in_range(passed.wx, self.layer.limit))

    def _judged(
        self,
        passed: Passed,
        steps: BackwardSteps,
        c: State | None,
        after: Mapping[str, Number],
        total: int,
        unproven: bool,
    ) -> tuple[Passed, Finding]:
        """What the equations give for a chunk, and how the engine's gradients compare, in the order of going back."""
        layer, chunk = self.layer, steps.chunk
        count, resolution = chunk.count * steps.seen.shape[-1], resolution_of(layer, passed.wx)
        part = Finding(len(chunk.x), count, resolution=resolution)
        if (nowhere := lost(passed.wx.e, steps)) is not None:
            part = replace(part, unjudged=int(nowhere.sum()))
        ratio, top = ratio_of(passed.wx, steps, layer.bound_factor)
        if top <= CLOSE:
            return passed, replace(part, worst=nearest(passed.wx, steps, ratio, layer.bound_factor, total))
        turned = turned_of(chunk, total)
        values = compared(turned, passed.wx, steps, layer.bound_factor)
        if unproven:
            if layer.dtype != torch.float64:
                passed = self._passed(self._wide, steps, c, after)
                values = compared(turned, passed.wx, steps, layer.bound_factor)
            part = replace(part, unjudged=part.unjudged + values.repair(layer.limit))
            if not float(values.ratio.amax()) <= 1:
                second = SecondLook(layer, steps, after, passed, c)
                over, cleared, at = values.accused(second)
                at = at and latest_gate(over, at, layer.gate_sizes)
                part = replace(part, over=WrongValues.of(turned, over), cleared=cleared, first=at and values.seen(at))
        elif top > 1:
            part = replace(part, over=WrongValues.of(turned, values.ratio > 1))
        return passed, replace(part, worst=values.seen(values.peak))


def resolution_of(layer: LayerEquations, wx: Number) -> Tensor:
    """(gates, units): the smallest relative error of a pre-activation's gradient that would have been seen, over some
    of the rows."""
    v, e = wx.v.flatten(0, 1), wx.e.flatten(0, 1)
    at = torch.linspace(0, len(v) - 1, min(len(v), _SAMPLES)).long()
    seen = (e[at] * layer.bound_factor / v[at].abs()).nan_to_num_(torch.inf, posinf=torch.inf).amin(0)
    blocks = layer.p.split(seen, layer.gates)
    return torch.stack([block if len(block) == layer.units else block.amin().expand(layer.units) for block in blocks])
