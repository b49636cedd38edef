"""Gates and cell states that a recording holds beside h, each judged against its own bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnspect.arithmetic.bounded import Bounded, Number
from rnnspect.judging.chunks import chunks
from rnnspect.judging.finding import Finding, Over, Seen, combine
from rnnspect.judging.look import State

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.judging.chunks import Chunk, Run
    from rnnspect.judging.look import Layer

ROWS = 512


class Forced(Bounded):
    """The cell state of the step before is the recorded one, so an error in c stays at the step that made it."""

    def carry(self, f: Number, c: Number, v: Number) -> Number:
        return f * c + v


def judge_quantities(layer: Layer, run: Run, recorded: dict[str, Tensor]) -> dict[str, Finding]:
    """What each recorded quantity (T, B, H) shows; in float64."""
    if not recorded:
        return {}
    wide = layer.wide
    forced = Forced(wide.parameters, layer.gates, layer.u, layer.nonlinearity)
    found: dict[str, Finding] = {}
    c: State | None = None
    for index, chunk in enumerate(chunks(run, ROWS)):
        if not index:
            c = layer.begin(run.c0, chunk.cut(0, 1))
        h = wide.observed(chunk.before.double())
        error = None if chunk.error is None else chunk.error.double()
        state: tuple[Number, ...] = (h,)
        arithmetic = wide
        if c is not None:
            if "c" in recorded:
                arithmetic, state = forced, (h, _before(recorded["c"], run, chunk, c, forced))
            else:
                state = (h, c.number(torch.float64))
        q = layer.cell.step(arithmetic, arithmetic.input(chunk.x.double(), error), *state)
        for name, values in recorded.items():
            if name in q:
                part = _compared(q[name], _of_chunk(values, chunk), chunk, layer)
                found[name] = combine(found[name], part) if name in found else part
        if c is not None:
            c = State(q["c"].v[-1], q["c"].e[-1], layer.u)
    return found


def _before(recorded: Tensor, run: Run, chunk: Chunk, c: State, a: Bounded) -> Number:
    """The recorded cell state of the step before each step."""
    now = _of_chunk(recorded, chunk)
    edge = c.number(torch.float64)
    first = edge.v if chunk.start == 0 else _of_step(recorded, run, chunk.start - 1)
    v = torch.cat([first.double()[None], now[:-1]])
    return Number(v, v.abs() * (a.u.stored + a.u.relative) + a.u.absolute, a.u)


def _of_step(values: Tensor, run: Run, order: int) -> Tensor:
    total, batch = values.shape[:2]
    if not run.reverse:
        return values[order]
    ends = torch.full((batch,), total) if run.lengths is None else run.lengths
    return values[(ends - 1 - order).clamp(min=0), torch.arange(batch)]


def _of_chunk(values: Tensor, chunk: Chunk) -> Tensor:
    """(steps, batch, units) in processing order, float64."""
    if chunk.steps is None:
        return values[chunk.start : chunk.start + len(chunk.x)].double()
    return values[chunk.steps, torch.arange(values.shape[1])].double()


def _compared(q: Number, engine: Tensor, chunk: Chunk, layer: Layer) -> Finding:
    bound = q.e + engine.abs() * (layer.u.stored + layer.u.relative) + layer.u.absolute + layer.u.tiny
    bound = bound * layer.own
    ratio = torch.where(q.v == engine, 0, (q.v - engine).abs() / bound)
    ratio = torch.where(ratio.isnan() & ~(q.v.isnan() & engine.isnan()), torch.inf, ratio.nan_to_num(0))
    if chunk.valid is not None:
        ratio = torch.where(chunk.valid.unsqueeze(-1), ratio, 0)
    over = ratio > 1
    first = _seen(q, engine, bound, ratio, chunk, tuple(over.nonzero()[0].tolist())) if bool(over.any()) else None
    peak = tuple(int(i) for i in torch.unravel_index(ratio.argmax(), ratio.shape))
    nothing = torch.full((layer.gates, layer.units), torch.inf, dtype=layer.dtype)
    worst = _seen(q, engine, bound, ratio, chunk, peak)
    return Finding(len(engine), engine.numel(), worst, first, _over(chunk, over), 0, 0, nothing)


def _seen(q: Number, engine: Tensor, bound: Tensor, ratio: Tensor, chunk: Chunk, at: tuple[int, ...]) -> Seen:
    n, b, j = at
    order = chunk.start + n
    step = order if chunk.steps is None else int(chunk.steps[n, b])
    return Seen(order, step, b, j, *(float(values[at]) for values in (q.v, engine, bound, ratio)))


def _over(chunk: Chunk, over: Tensor) -> Over | None:
    if not bool(over.any()):
        return None
    order, items, _ = over.nonzero().unbind(1)
    steps = order + chunk.start if chunk.steps is None else chunk.steps[order, items]
    units, batch = over.any(0).any(0), over.any(0).any(1)
    return Over(int(over.sum()), len(set(order.tolist())), int(steps.min()), int(steps.max()), units, batch)
