"""One layer and direction of an engine's run against the equations, teacher-forced, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import STEEP, Bounded
from rnnspect.arithmetic.forms import linear_state
from rnnspect.arithmetic.numbers import one_thread
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.sum_orders import Ordered
from rnnspect.cells.functions import Nonlinearity
from rnnspect.cells.interface import Cell
from rnnspect.judging.cell_state import State
from rnnspect.judging.chunks import Chunk, LayerRun, chunks
from rnnspect.judging.finding import COARSE, Deviation, Finding, Progress, WrongValues, combine, side_by_side, silent
from rnnspect.judging.layer import ComparedChunk, LayerEquations
from rnnspect.judging.lost_state import lost_state, state_seen
from rnnspect.judging.regrouping import with_regrouping
from rnnspect.judging.resolution import idle_gates, resolution
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.progress import StepsDone

CLOSE = 0.5  # of the bound: from here on float32 is not trusted, and the chunk is computed again in float64

_CHUNK = 2**19  # values of one quantity
_WIDE = 4096  # items of a batch: one step of more would take more memory than a chunk may
_SMALL = 160_000_000  # multiplications, about 20 ms: so few are computed on one thread, which waits for no other
_LITTLE = 2**15  # values, and multiplications in a step, that cost little to compute once more in float64
_FEW = 6  # units of a chunk that are looked at alone before the whole chunk is
_SAMPLES = 8  # rows of a chunk at which the resolution is looked at
_ASKED = 4  # chunks, evenly spread, that are asked whether a lost state would be seen
_EACH, _EVERY = 64, 16  # so many of coarse values or single steps are asked from the first on, then one in so many
_SAMPLED = {8**i for i in range(1, 20)}  # chunks in which the resolution is looked at, whatever it was before


class _Walk:
    """What one walk over the chunks of a run has seen: how many were screened, how many of these passed, and whether a
    value is certainly wrong."""

    screened = passed = 0
    proven = False


class Judge:
    """Compares a run of one layer and direction with its equations.

    A chunk is screened with a quick bound where that may clear it, else compared with the full one; a value above its
    bound is computed once more, with every usual order of summation, before it is called wrong. Once one is, nothing
    can clear the run: the values of later chunks that are above their bound are counted, and not computed again.
    """

    def __init__(
        self, cell: Cell, p: LayerParameters, u: Roundoff | None = None, nonlinearity: Nonlinearity = "tanh"
    ) -> None:
        self.layer = LayerEquations(cell, p, u, nonlinearity)

    def __call__(
        self, run: LayerRun, rows: int | None = None, progress: Progress = silent
    ) -> tuple[Finding, State | None]:
        """What the run shows, and the cell state after its last step.

        `rows` is how many rows (steps × items) are computed together: so few that they stay in the processor's cache,
        and enough to outweigh what each call costs. `progress` is told what was found so far and how many steps more
        are done.
        """
        steps, batch = run.x.shape[:2]
        with one_thread() if steps * batch * self.layer.p.products < _SMALL else nullcontext():
            return self._all(run, rows, progress)

    def _all(self, run: LayerRun, rows: int | None, progress: Progress) -> tuple[Finding, State | None]:
        batch, run = run.x.shape[1], with_regrouping(self.layer, run)
        if batch <= _WIDE:
            return self._together(run, rows, progress)
        parts, states = [], []
        for start in range(0, batch, _WIDE):
            told = progress if start + _WIDE >= batch else silent
            some = run.take(items=slice(start, start + _WIDE))
            found, c = self._together(some, rows, told)
            parts.append((some.x.shape[1], found))
            states += [] if c is None else [c]
        return side_by_side(parts), State.side_by_side(states)

    def _together(self, run: LayerRun, rows: int | None, progress: Progress) -> tuple[Finding, State | None]:
        layer = self.layer
        found, top, c = Finding(resolution=layer.unseen), 0.0, layer.begin(run.c0, run.begun_error)
        closest: tuple[Chunk, State | None, tuple[int, int, int]] | None = None
        first, every = self._asked(run, rows)
        for index, (walk, chunk) in enumerate(self._chunks(run, rows)):
            compared, part = self._judged(walk, chunk, c)
            if not found.values or self._asks_more(found.resolution) or index in _SAMPLED:
                part = replace(part, resolution=self._resolution(compared, found))
            asked = (index < first or index % every == 0) and compared.most is None
            if asked and chunk.error is None:  # an estimate has a limit of its own: past_use
                part = replace(part, lost=lost_state(layer, compared))
                if layer.u.coarse and linear_state(layer.cell):
                    part = replace(part, state_seen=state_seen(layer, compared))
            if (highest := compared.top) > top:
                top, closest = highest, (chunk, c, compared.values.peak)
            c, found = layer.after(compared), combine(found, part)
            progress(found, len(chunk.x))
        if closest is not None and (found.worst is None or found.worst.ratio < top):
            exact = self._largest(*closest)
            found = replace(found, worst=max((exact, found.worst or exact), key=lambda seen: seen.ratio))
        return found, c

    def agrees(self, run: LayerRun) -> bool:
        """Whether every value of a run is inside its bound. False where there is no value, or one cannot be judged; no
        chunk after the first such one is looked at."""
        run, values = with_regrouping(self.layer, run), 0
        c = self.layer.begin(run.c0, run.begun_error)
        for walk, chunk in self._chunks(run):
            compared, part = self._judged(walk, chunk, c)
            if part.first is not None or part.unjudged:
                return False
            c, values = self.layer.after(compared), values + part.values
        return values > 0

    def until(self, run: LayerRun, order: int, progress: StepsDone) -> tuple[Chunk, State | None]:
        """The chunk that holds a step, given by its place in processing order, and the cell state with which the
        judgement begins that chunk. `progress` is told how many steps before it are done."""
        c, run = self.layer.begin(run.c0, run.begun_error), with_regrouping(self.layer, run)
        for walk, chunk in self._chunks(run):
            if order < chunk.start + len(chunk.x):
                return chunk, c
            if c is not None:
                c = self.layer.after(self._judged(walk, chunk, c)[0])
            progress(len(chunk.x))
        raise AssertionError(order)

    def ended(self, run: LayerRun) -> State | None:
        """The cell state after the last step of a run, which is not judged."""
        c, quick = self.layer.begin(run.c0, run.begun_error), self.layer.screen if run.error is None else None
        if c is not None:
            for _, chunk in self._chunks(run):
                c = self.layer.after(self.layer.compare(chunk, c, quick or self.layer.plain))
        return c

    def compared_chunks(self, run: LayerRun, item: int) -> Iterator[ComparedChunk]:
        """One item of the batch in float64, chunk by chunk, with the full bound of every value; each chunk begins with
        the cell state that the judgement has there. The next chunk reuses the memory of the one before."""
        run = with_regrouping(self.layer, run)
        c, one = self.layer.begin(run.c0, run.begun_error), slice(item, item + 1)
        for walk, chunk in self._chunks(run):
            state = None if c is None else c.of(one, slice(None))
            compared = self.layer.compare(chunk.cut(0, len(chunk.x), one), state, self.layer.wide)
            self.layer.repair(compared)
            if compared.top > 1:
                self._accused(compared, self._clear(compared.chunk))
            yield compared
            if c is not None:
                c = self.layer.after(self._judged(walk, chunk, c)[0])

    def _chunks(self, run: LayerRun, rows: int | None = None) -> Iterator[tuple[_Walk, Chunk]]:
        walk = _Walk()
        return ((walk, chunk) for chunk in chunks(run, self._rows(rows)))

    def _rows(self, rows: int | None) -> int:
        fitting = min(2048, max(256, _CHUNK // self.layer.widest))
        return 1 if self.layer.stepwise else rows or fitting

    def _asked(self, run: LayerRun, rows: int | None) -> tuple[int, int]:
        """In how many of the first chunks, and then in one of how many, it is looked at whether a lost state would be
        seen."""
        steps, batch = run.x.shape[:2]
        if self.layer.u.coarse or self.layer.stepwise:
            return _EACH, _EVERY
        return 0, math.ceil(steps / max(1, self._rows(rows) // batch) / _ASKED)

    def _resolution(self, compared: ComparedChunk, found: Finding) -> Tensor:
        """The smallest shift that would have been seen, (gates, units), at a few rows of the chunk; at more of them
        where these leave a gate above `COARSE`."""
        layer = self.layer
        seen = resolution(layer, compared if compared.most is None else layer.window(compared, _SAMPLES), _SAMPLES)
        if not self._asks_more(torch.minimum(seen, found.resolution)):
            return seen
        full = compared if compared.most is None else layer.compare(compared.chunk, compared.c, layer.plain)
        return torch.minimum(seen, resolution(layer, full, 8 * _SAMPLES))

    def _asks_more(self, seen: Tensor) -> bool:
        """Whether a gate that makes a difference could be off by `COARSE` without being seen."""
        over = seen > COARSE
        return bool(over.any()) and bool(over[~self._idle].any())

    @cached_property
    def _idle(self) -> Tensor:
        return idle_gates(self.layer)

    def _clear(self, chunk: Chunk) -> Finding:
        """The finding of a chunk in which nothing is above its bound."""
        return Finding(len(chunk.x), chunk.count * chunk.after.shape[2], resolution=self.layer.unseen)

    def _judged(self, walk: _Walk, chunk: Chunk, c: State | None) -> tuple[ComparedChunk, Finding]:
        """A chunk that begins with the cell state c, compared in the cheapest way that decides whether it is right."""
        layer, part = self.layer, self._clear(chunk)
        passes = 2 * walk.passed >= walk.screened  # saturated gates do not
        if layer.screen is not None and chunk.error is None and chunk.before_error is None and passes:
            compared, walk.screened = layer.compare(chunk, c, layer.screen), walk.screened + 1
            if compared.most is not None and float(compared.most.max()) < STEEP and self._cleared(compared):
                walk.passed += 1
                return compared, part
        compared = layer.compare(chunk, c, layer.plain)
        if chunk.error is not None:  # an estimate may lose a run: its bound grows from step to step
            part = replace(part, past_use=compared.past_use)
        if compared.top <= CLOSE:  # a sum that may overflow a half type allows any number
            allows = layer.u.largest < math.inf and chunk.error is None
            return compared, replace(part, unjudged=layer.repair(compared)) if allows else part
        if compared.top < math.inf and (counted := self._counted(walk, compared, part)):
            return compared, counted
        if layer.bound_factor == 1:
            compared = layer.compare(chunk, c, layer.wide)
        part = replace(part, unjudged=layer.repair(compared))
        if compared.top > 1:
            part = self._accused(compared, part)
            walk.proven = walk.proven or part.first is not None
        return compared, part

    def _counted(self, walk: _Walk, compared: ComparedChunk, part: Finding) -> Finding | None:
        """The finding of a chunk with a value that is certainly wrong, where no ratio is NaN or infinite. Up to the
        step of that value it is computed again, so that the first wrong value is known; behind it wrong values are only
        counted. None where no value is certain."""
        chunk, c, over, start = compared.chunk, compared.c, compared.ratio > 1, 0
        if not walk.proven:
            certain = (compared.ratio > 1 / CLOSE).flatten(1).any(1)
            start = int(certain.byte().argmax()) + 1
            if not bool(certain[start - 1]):
                return None
            begun = self.layer.compare(chunk.cut(0, start), c, self.layer.wide)
            part = replace(part, unjudged=self.layer.repair(begun))
            part = self._accused(begun, part)
            if part.first is None:
                return None
            walk.proven = True
        rest = WrongValues.of(chunk.cut(start, len(over)), over[start:])
        return replace(part, over=part.over.joined(rest) if part.over and rest else part.over or rest)

    def _cleared(self, compared: ComparedChunk) -> bool:
        """Whether a screened chunk is right, once the few units above the limit were computed alone in float64."""
        limit = 1 / self.layer.bound_factor  # D ≤ e and an own error of at most e: within what is allowed twice
        top = compared.top
        if top > limit and int((compared.ratio.amax(0) > limit).sum()) > _FEW:
            return False
        for _ in range(_FEW):
            if top <= limit or math.isnan(top):
                break
            _, b, j = compared.values.peak
            every = slice(0, len(compared.ratio))
            compared.ratio[:, b, j] = self._alone(compared.chunk, compared.c, b, j, every).ratio[:, 0, 0]
            top = compared.top
        return top <= limit

    def _alone(
        self, chunk: Chunk, c: State | None, b: int, j: int, steps: slice, kind: type[Bounded] = Bounded
    ) -> ComparedChunk:
        """Some steps of one item of the batch in float64; of one hidden unit, unless units depend on each other."""
        item = slice(b, b + 1)
        units, unit = (slice(None), None) if self.layer.mixes else (slice(j, j + 1), j)
        state = None if c is None else c.of(item, units)
        part = chunk.cut(steps.start, steps.stop, item)
        return self.layer.compare(part, state, self.layer.one(unit, kind), unit)

    def _accused(self, compared: ComparedChunk, part: Finding) -> Finding:
        """Adds to a finding which values are above their bound and which is the first, once each was computed again."""
        mixed = self.layer.mixes

        def again(n: int, b: int, j: int) -> tuple[tuple[slice, slice, slice], Tensor]:
            start = n if compared.c is None else 0
            steps = slice(start, n + 1 if mixed or compared.c is None else len(compared.ratio))
            seen = self._alone(compared.chunk, compared.c, b, j, steps, Ordered)
            return (steps, slice(b, b + 1), slice(None) if mixed else slice(j, j + 1)), seen.bound

        return compared.values.judged(part, again)

    def _largest(self, chunk: Chunk, c: State | None, at: tuple[int, int, int]) -> Deviation:
        """The worst step of the unit at an address, in float64, where our own rounding makes no part of a ratio; of a
        small layer also of some steps of all units. It is printed."""
        n, b, j = at
        start, stop = (n, n + 1) if self.layer.mixes and c is None else (0, len(chunk.x))
        place, _, unit = self._alone(chunk, c, b, j, slice(start, stop)).values.repaired(self.layer.limit).peak
        found = [self._exactly(chunk, c, (start + place, b, unit if self.layer.mixes else j))]
        if self.layer.p.products <= _LITTLE:
            begun = chunk.cut(0, max(1, _LITTLE // chunk.after[0].numel()))
            every = self.layer.compare(begun, c, self.layer.wide).values.repaired(self.layer.limit)
            found.append(self._exactly(begun, c, every.peak))
        return max(found, key=lambda seen: seen.ratio)

    def _exactly(self, chunk: Chunk, c: State | None, at: tuple[int, int, int]) -> Deviation:
        """One address, as a derivation computes it: in float64, from the first step of the chunk where c is carried."""
        n, b, j = at
        again = self._alone(chunk, c, b, j, slice(n if c is None else 0, n + 1))
        seen = again.values.repaired(self.layer.limit).seen((len(again.ratio) - 1, 0, min(j, again.ratio.shape[2] - 1)))
        return replace(seen, batch=b, unit=j)
