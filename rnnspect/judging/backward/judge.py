"""One layer and direction of an engine's pass backwards against the equations, chunk by chunk from the last step on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.arithmetic.backward_bounded import BackwardBounded, BackwardOrdered
from rnnspect.arithmetic.bounded import Number
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.tape import Changes
from rnnspect.cells.functions import Nonlinearity
from rnnspect.cells.interface import Cell
from rnnspect.judging.backward.passing import Otherwise, Passed, Steps, go_over, in_one, masked
from rnnspect.judging.backward.sums import Change, SumFinding, Sums, Term
from rnnspect.judging.chunks import Chunk, LayerRun, chunk_at
from rnnspect.judging.finding import ComparedValues, Finding, WrongValues, combine, latest_gate
from rnnspect.judging.judge import CLOSE
from rnnspect.judging.layer import LayerEquations, State, cast
from rnnspect.network.parameters import LayerParameters

_CHUNK = 2**19  # values of one quantity
_ORDERED = 2**24  # products whose orders are tried in a second look
_SAMPLES = 64  # rows of a chunk at which the resolution is looked at
_ENTRIES = 16  # of a parameter's gradient that get a second look


@dataclass(frozen=True)
class BackwardRun:
    """What a layer and direction received and gave in a pass forwards and back, (T, B, ·) by step of the input."""

    run: LayerRun
    seen: Tensor
    """The engine's own dL/d of its pre-activations, (T, B, G·H)."""
    upstream: Tensor
    """dL/d of h as far as it comes from the output, as the engine had it, (T, B, P)."""
    last: Mapping[str, Tensor] = field(default_factory=dict)
    """dL/d of the state that each item ended with, (B, ·), by the name of the state, where that is not zero."""


@dataclass(frozen=True)
class LayerBackward:
    """What was found in one layer and direction: of the pre-activations' gradients, whose units are packed; and what
    the equations give for the initial states, and for the parameters."""

    finding: Finding
    states: Mapping[str, Number]
    sums: Sums
    steps: int

    def parameters(self, engine: Mapping[str, Tensor], change: Change | None = None) -> Iterator[SumFinding]:
        """`engine` holds the engine's gradients by weight_ih …, without layer and direction; `change` makes of what the
        equations give what the engine is taken to give."""
        return self.sums.findings(engine, self.steps, change)


class BackwardJudge:
    """Compares the gradients of one layer and direction with what the equations give.

    `changes` (`arithmetic/tape.py`) and `otherwise` are mistakes of going back.
    """

    def __init__(
        self,
        cell: Cell,
        p: LayerParameters,
        u: Roundoff | None = None,
        nonlinearity: Nonlinearity = "tanh",
        changes: Changes | None = None,
        otherwise: Otherwise | None = None,
    ) -> None:
        self.layer = LayerEquations(cell, p, u, nonlinearity)
        self._changes, self._otherwise = changes or {}, otherwise or Otherwise()
        self._plain = self._arithmetic(self.layer.dtype)

    def _arithmetic(self, dtype: torch.dtype, kind: type[BackwardBounded] = BackwardBounded) -> BackwardBounded:
        layer = self.layer
        a = kind(cast(layer.p, dtype), layer.gates, layer.u, layer.nonlinearity)
        if self._otherwise.weights is not None:
            a.on_the_way_back = cast(self._otherwise.weights, dtype)
        return a

    @cached_property
    def _wide(self) -> BackwardBounded:
        return self._arithmetic(torch.float64)

    @torch.inference_mode()
    def __call__(
        self,
        back: BackwardRun,
        progress: Callable[[int], None] = lambda _steps: None,
        exact: bool = False,
        glance: int = 0,
    ) -> LayerBackward:
        """`exact`: every sum in float64, not only what is close to its bound; `glance`: where not 0, only about the
        last so many steps, without a second look at what is above its bound."""
        layer, run = self.layer, back.run
        total, batch = run.x.shape[:2]
        found, sums = _nothing(layer), Sums(layer.u, layer.limit)
        after: Mapping[str, Number] = self._end(back, batch)
        for start, stop, c in reversed(list(self._begun(run))):
            chunk = masked(chunk_at(run, start, stop))
            steps = self._steps(back, chunk)
            passed, part = self._judged(steps, back.seen[chunk.at], c, after, total, not glance and found.first is None)
            if exact and passed.wx.v.dtype != torch.float64:
                passed = self._passed(self._wide, steps, c, after)
            sums.add(self._terms(passed, steps))
            after, found = passed.before, combine(found, part)
            progress(stop - start)
            if 0 < glance <= total - start:
                break
        return LayerBackward(found, after, sums, total)

    def _begun(self, run: LayerRun) -> Iterator[tuple[int, int, State | None]]:
        """Each chunk in processing order, with the cell state that it begins with."""
        layer = self.layer
        total, batch = run.x.shape[:2]
        n = max(1, min(2048, max(256, _CHUNK // layer.units)) // batch)
        c = layer.begin(run.c0)
        for start in range(0, total, n):
            stop = min(total, start + n)
            yield start, stop, c
            if c is not None and stop < total:
                c = self._after(chunk_at(run, start, stop), c)[1]

    def _after(self, chunk: Chunk, c: State) -> tuple[Number, State]:
        """The cell state before each step of a chunk, (steps, batch, H) or (batch, H) where one number is enough, and
        the state after it."""
        layer = self.layer
        if not layer.stepwise:
            after = layer.after(layer.compare(chunk, c, layer.plain))
            assert after is not None
            return c.number(layer.dtype), after
        each = []
        for step in range(len(chunk.x)):
            each.append(c.number(layer.dtype))
            then = layer.after(layer.compare(chunk.cut(step, step + 1), c, layer.plain))
            assert then is not None
            c = then
        v, e = torch.stack([one.v for one in each]), torch.stack([one.e for one in each])
        return Number(v, e, layer.u), c

    def _end(self, back: BackwardRun, batch: int) -> dict[str, Number]:
        layer = self.layer
        after = {}
        for name in layer.cell.states:
            none = torch.zeros(batch, layer.p.weight_hh.shape[1] if name == "h" else layer.units, dtype=layer.dtype)
            after[name] = Number(back.last[name].to(layer.dtype) if name in back.last else none, none, layer.u)
        return after

    def _steps(self, back: BackwardRun, chunk: Chunk) -> Steps:
        seen, upstream = back.seen[chunk.at], back.upstream[chunk.at]
        if chunk.valid is not None:
            inside = chunk.valid.unsqueeze(-1)
            seen, upstream = torch.where(inside, seen, 0), torch.where(inside, upstream, 0)
        return Steps(chunk, seen, upstream, self.layer.u.products, self._changes, self._otherwise)

    def _passed(self, a: BackwardBounded, steps: Steps, c: State | None, after: Mapping[str, Number]) -> Passed:
        before = None
        if c is not None:
            before = self._after(steps.chunk, c)[0] if self.layer.stepwise else c.number(a.dtype)
        wide = {name: as_wide(g, a.dtype) for name, g in after.items()}
        return go_over(a, self.layer.cell, steps, None if before is None else as_wide(before, a.dtype), wide)

    def _judged(
        self, steps: Steps, seen: Tensor, c: State | None, after: Mapping[str, Number], total: int, unproven: bool
    ) -> tuple[Passed, Finding]:
        """What the equations give for a chunk, and how the engine's gradients compare, in the order of going back."""
        layer = self.layer
        turned = _turned(steps.chunk, total)
        passed = self._passed(self._plain, steps, c, after)
        values = self._compared(turned, passed, seen)
        part = replace(_nothing(layer), steps=len(turned.x), values=turned.count * seen.shape[-1])
        part = replace(part, resolution=_resolution(layer, passed.wx))
        top = float(values.ratio.amax())
        if not top <= CLOSE and unproven:
            if layer.dtype != torch.float64:
                passed = self._passed(self._wide, steps, c, after)
                values = self._compared(turned, passed, seen)
            part = replace(part, unjudged=values.repair(layer.limit))
            if not float(values.ratio.amax()) <= 1:
                second = _SecondLook(self, steps, after, passed, c)
                over, cleared, at = values.accused(second)
                at = at and latest_gate(over, at, layer.gates)
                part = replace(part, over=WrongValues.of(turned, over), cleared=cleared, first=at and values.seen(at))
        elif top > 1:
            part = replace(part, over=WrongValues.of(turned, values.ratio > 1))
        return passed, replace(part, worst=values.seen(values.peak))

    def _compared(self, turned: Chunk, passed: Passed, seen: Tensor) -> ComparedValues:
        own, theirs = passed.wx.v.flip(0), seen.to(passed.wx.v.dtype).flip(0)
        bound = passed.wx.e.flip(0) * self.layer.bound_factor
        ratio = (own - theirs).abs_().div_(bound)
        ratio[own == theirs] = 0
        if turned.valid is not None:
            inside = turned.valid.unsqueeze(-1)
            ratio = torch.where(inside, ratio, 0)  # dL/dx tells what is there
        return ComparedValues(turned, own, theirs, bound, ratio)

    def _terms(self, passed: Passed, steps: Steps) -> list[Term]:
        """What the gradients of the parameters are the sums of, the rows of all steps and items one under the other."""
        p, valid, chunk = self.layer.p, steps.chunk.valid, steps.chunk

        def rows(g: Number) -> Number:
            v, e = g.v, g.e
            if valid is not None:
                v = torch.where(valid.unsqueeze(-1), v, 0)
                e = torch.where(valid.unsqueeze(-1), e, 0) if e.dim() else e
            return Number(v.flatten(0, 1), e.flatten(0, 1) if e.dim() else e, g.u)

        dtype, u = passed.wx.v.dtype, self.layer.u
        seen = rows(self._plain.exact(steps.seen.to(dtype), steps.seen_error))
        none = torch.zeros((), dtype=dtype)
        x = Number(chunk.x.to(dtype).flatten(0, 1), none if chunk.error is None else chunk.error.flatten(0, 1), u)
        terms = [Term("weight_ih", seen, x)] + ([] if p.bias_ih is None else [Term("bias_ih", seen)])
        for weight, g, operand in passed.products:
            left = rows(g)
            terms.append(Term(weight, left, rows(in_one(operand))))
            if weight == "weight_hh" and p.bias_hh is not None:
                terms.append(Term("bias_hh", left))
        if passed.peepholes:
            parts = [rows(one) for one in passed.peepholes]
            v, e = (torch.cat([getattr(one, name) for one in parts], -1) for name in ("v", "e"))
            terms.append(Term("weight_ch", Number(v, e, u)))
        return terms if self._otherwise.terms is None else self._otherwise.terms(terms, chunk)


class _SecondLook:
    """The bound of some of the steps with the sums evaluated in the orders that engines use, of one item."""

    def __init__(
        self, judge: BackwardJudge, steps: Steps, after: Mapping[str, Number], passed: Passed, c: State | None
    ) -> None:
        self._judge, self._steps, self._after, self._passed = judge, steps, after, passed
        self._c = None if c is None else c.number(torch.float64)

    def __call__(self, n: int, b: int, _unit: int) -> tuple[tuple[slice, slice, slice], Tensor]:
        """By the place in the chunk as it is gone back over."""
        layer, chunk = self._judge.layer, self._steps.chunk
        place, item = len(chunk.x) - 1 - n, slice(b, b + 1)
        width = layer.gates * layer.units
        rows = max(1, min(place + 1, _ORDERED // (width * (chunk.x.shape[2] + width))))
        start = place + 1 - rows
        a = self._judge._arithmetic(torch.float64, BackwardOrdered)
        assert isinstance(a, BackwardOrdered)
        a.few = rows
        cut = slice(start, len(chunk.x)), item
        steps = replace(
            self._steps,
            chunk=chunk.cut(start, len(chunk.x), item),
            seen=self._steps.seen[cut],
            upstream=self._steps.upstream[cut],
        )
        c = None
        if self._c is not None and self._passed.c is not None:
            every = self._c if self._c.v.dim() > 2 else a.before(self._c, self._passed.c)
            c = Number(every.v[cut], every.e[cut], layer.u)
        after = {name: _item(as_wide(g, torch.float64), item) for name, g in self._after.items()}
        bound = go_over(a, layer.cell, steps, c, after).wx.e[:rows].flip(0) * layer.bound_factor
        return (slice(n, n + rows), item, slice(None)), bound


def as_wide(g: Number, dtype: torch.dtype) -> Number:
    """A number in another dtype: one that was computed in float32 errs itself, as a correct engine may."""
    if g.v.dtype == dtype:
        return g
    return Number(g.v.to(dtype), 2 * g.e.to(dtype), g.u)


def _item(g: Number, item: slice) -> Number:
    return Number(g.v[item], g.e.expand_as(g.v)[item], g.u)


def _nothing(layer: LayerEquations) -> Finding:
    unseen = torch.full((layer.gates, layer.units), torch.inf, dtype=layer.dtype)
    return Finding(0, 0, None, None, None, 0, 0, unseen)


def _turned(chunk: Chunk, total: int) -> Chunk:
    """The chunk in the order of going back."""
    n, batch = chunk.x.shape[:2]
    steps = chunk.steps
    if steps is None:
        steps = torch.arange(chunk.start, chunk.start + n).unsqueeze(1).expand(-1, batch)
    valid = None if chunk.valid is None else chunk.valid.flip(0)
    return Chunk(total - chunk.start - n, chunk.x.flip(0), chunk.before, chunk.after, steps.flip(0), valid)


def _resolution(layer: LayerEquations, wx: Number) -> Tensor:
    """(gates, units): the smallest relative error of a pre-activation's gradient that would have been seen, over some
    of the rows."""
    v, e = wx.v.flatten(0, 1), wx.e.flatten(0, 1)
    at = torch.linspace(0, len(v) - 1, min(len(v), _SAMPLES)).long()
    seen = (e[at] * layer.bound_factor / v[at].abs()).nan_to_num_(torch.inf).amin(0)
    return seen.view(layer.gates, layer.units)
