"""A layer and direction whose gradients are all within half of a quick estimate of their bound needs no other look. For
any other nothing is decided here; `BackwardJudge` computes the whole bound, from its last step on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.lstm_screen import LstmBackwards, LstmForwards, LstmScreen, ShownBackwards
from rnnspect.cells.functions import Functions, functions_of
from rnnspect.cells.lstm import CELL as LSTM
from rnnspect.judging.backward.compared import nearest, ratio_of
from rnnspect.judging.backward.judge import BackwardJudge, BackwardRun, LayerBackward, resolution_of
from rnnspect.judging.backward.passing import BackwardSteps, go_back, go_forwards, masked
from rnnspect.judging.backward.step_mistake import StepMistake
from rnnspect.judging.backward.sums import Sums, Term
from rnnspect.judging.chunks import Chunk, LayerRun, chunk_at
from rnnspect.judging.finding import Deviation, Finding, combine
from rnnspect.judging.judge import CLOSE
from rnnspect.network.progress import StepsDone

_ROWS = 2048  # steps × items that are computed together
_SAMPLES = 32  # rows near the value that is nearest to its bound, which are given the whole bound for the resolution
_FEW = 16  # steps before and after these, so that the errors of the cell state and of its gradient are whole there
_KEPT = 2**27  # bytes of a pass forwards that are kept for the pass back
_QUANTITIES = 7  # numbers that it has of each unit, beside x and h


@dataclass(frozen=True)
class _Seen:
    """Some steps, and what the quick look gave for them."""

    steps: BackwardSteps
    passed: LstmBackwards


class QuickLook:
    """The quick look at a layer and direction. Only judges of the LSTM's own equations have it."""

    def __init__(self, judge: BackwardJudge) -> None:
        self._judge, self._layer = judge, judge.layer
        self._a = LstmScreen(judge.plain, judge.layer.bound_factor)

    @staticmethod
    def of(judge: BackwardJudge, run: LayerRun) -> QuickLook | None:
        layer = judge.layer
        usual = layer.is_screened and functions_of(layer.nonlinearity) == Functions()
        exact = run.h_error is None and not (layer.u.relative or layer.u.absolute)
        fits = usual and exact and layer.cell == LSTM
        return QuickLook(judge) if fits and not judge.changes and judge.mistake == StepMistake() else None

    @torch.inference_mode()
    def __call__(self, back: BackwardRun, progress: StepsDone) -> LayerBackward | None:
        """The finding; None where a gradient is not within half of the quick bound, or cannot be judged."""
        judge, layer, run = self._judge, self._layer, back.run
        total, batch = run.x.shape[:2]
        if back.lost is not None:
            return None
        found, sums = Finding(resolution=layer.unseen), Sums(layer.u, layer.limit)
        after: Mapping[str, Number] = judge.end_of(back, batch)
        closest: _Seen | None = None
        begun = list(self._begun(run))
        while begun:
            chunk, c, forwards = begun.pop()  # what a chunk kept is let go of after it
            steps = judge.steps_of(back, chunk)
            passed = self._passed(steps, forwards or self._forwards(chunk, c), after)
            if not passed.top <= CLOSE or not passed.is_moderate:
                return None
            if closest is None or passed.top > closest.passed.top:
                closest = _Seen(steps, passed)
            sums.add(self._terms(steps))
            part = Finding(len(chunk.x), chunk.count * steps.seen.shape[-1], resolution=layer.unseen)
            after, found = passed.before, combine(found, part)
            progress(len(chunk.x))
        assert closest is not None
        worst, resolution = self._near(closest, total)
        found = replace(found, worst=worst, resolution=resolution)
        return None if found.coarse() else judge.found_in(back, found, after, sums)

    def _begun(self, run: LayerRun) -> Iterator[tuple[Chunk, Number, LstmForwards | None]]:
        """Each chunk in processing order, with the cell state that it begins with; for the last ones also the pass
        forwards."""
        layer = self._layer
        assert run.c0 is not None
        total, batch = run.x.shape[:2]
        n = max(1, _ROWS // batch)
        numbers = run.x.shape[2] + run.h.shape[2] + _QUANTITIES * layer.units
        kept = _KEPT // (batch * numbers * layer.dtype.itemsize)
        c = Number(run.c0.to(layer.dtype), torch.zeros((), dtype=layer.dtype), layer.u)
        for start in range(0, total, n):
            chunk = masked(chunk_at(run, start, min(total, start + n)))
            forwards = self._forwards(chunk, c)
            yield chunk, c, forwards if start >= total - kept else None
            c = self._a.carried(forwards)

    def _forwards(self, chunk: Chunk, c: Number) -> LstmForwards:
        return self._a.forwards(chunk.x.to(self._layer.dtype), chunk.before.to(self._layer.dtype), c)

    def _passed(self, steps: BackwardSteps, forwards: LstmForwards, after: Mapping[str, Number]) -> LstmBackwards:
        dtype, valid = self._layer.dtype, steps.chunk.valid
        seen, upstream = steps.seen.to(dtype), steps.upstream.to(dtype)
        shown = ShownBackwards(seen, upstream, after, None if valid is None else valid.unsqueeze(-1))
        return self._a.back(forwards, shown)

    def _terms(self, steps: BackwardSteps) -> list[Term]:
        """The terms of the parameters' gradients."""
        p, dtype, chunk = self._layer.p, self._layer.dtype, steps.chunk
        none = torch.zeros((), dtype=dtype)
        seen, x, h = (
            Number(v.to(dtype).flatten(0, 1), none, self._layer.u) for v in (steps.seen, chunk.x, chunk.before)
        )
        terms = []
        for end, multiplied in (("ih", x), ("hh", h)):
            terms.append(Term(f"weight_{end}", seen, multiplied))
            if getattr(p, f"bias_{end}") is not None:
                terms.append(Term(f"bias_{end}", seen))
        return terms

    def _near(self, seen: _Seen, total: int) -> tuple[Deviation, Tensor]:
        """The gradient nearest to its bound, with its whole bound; and the resolution in the rows around it."""
        (n, b), count = seen.passed.nearest, len(seen.steps.chunk.x)
        stop = min(n + _SAMPLES, count)
        first = max(0, stop - _SAMPLES)
        items = slice(b, b + max(1, _SAMPLES // (stop - first)))
        steps, own = self._whole(seen, first, stop, items)
        at, factor = slice(n - first, n - first + 1), self._layer.bound_factor
        one = replace(steps, chunk=steps.chunk.cut(at.start, at.stop, slice(0, 1)), seen=steps.seen[at, :1])
        nearest_own = Number(own.v[at, :1], own.e[at, :1], own.u)
        ratio, _ = ratio_of(nearest_own, one, factor)
        worst = nearest(nearest_own, one, ratio, factor, total)
        return replace(worst, batch=b), resolution_of(self._layer, own)

    def _whole(self, seen: _Seen, first: int, stop: int, items: slice) -> tuple[BackwardSteps, Number]:
        """Some of the steps and items, and their gradients with the whole bound."""
        start, end = max(0, first - _FEW), min(stop + _FEW, len(seen.steps.chunk.x))
        steps, passed, cut = seen.steps, seen.passed, (slice(start, end), items)
        upstream = steps.upstream[cut]
        some = replace(steps, chunk=steps.chunk.cut(start, end, items), seen=steps.seen[cut], upstream=upstream)
        forwards = passed.forwards
        begun = Number(forwards.c[start, items], forwards.c_error(start)[items], self._layer.u)
        plain, cell = self._judge.plain, self._layer.cell
        own = go_back(go_forwards(plain, cell, some.chunk, begun, {}), cell, some, passed.coming(end - 1, items)).wx
        at = slice(first - start, stop - start)
        steps = replace(some, chunk=some.chunk.cut(at.start, at.stop), seen=some.seen[at])
        return steps, Number(own.v[at], own.e[at], own.u)
