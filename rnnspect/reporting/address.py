"""One address of a layer and direction: what it is computed from, and what a check allows there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.ordered import Ordered
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.judge import Judge
from rnnspect.judging.layer import ComparedChunk


@dataclass(frozen=True)
class Here:
    """What one step of one item received, and h of one unit. The states are those that a check takes."""

    x: Tensor
    """(I)"""
    h: Tensor
    """(P): the engine's of the step before."""
    c: Tensor | None
    """(H): of the step before, in float64; NaN for units that this one does not need."""
    engine: float | None
    bound: float | None
    """How far the engine's h may be from the equations'; None for a unit that h has not."""
    ratio: float


@torch.inference_mode()
def address(
    judge: Judge, run: LayerRun, order: int, item: int, unit: int, progress: Callable[[int], None] = lambda _steps: None
) -> Here:
    """One step, `order` in processing order, of one item and unit. Runs only what the step rests on: of an LSTM the
    chain of cell states before, of any other cell the step itself."""
    layer = judge.layer
    chunk, state = judge.until(run, order, progress)
    n, one = order - chunk.start, slice(item, item + 1)
    alone = None if layer.mixes else unit
    mine = slice(None) if alone is None else slice(unit, unit + 1)
    part = chunk.cut(n if state is None else 0, n + 1, one)

    def compare(kind: type[Bounded]) -> ComparedChunk:
        begun = None if state is None else state.of(one, mine)
        return layer.compare(part, begun, layer.one(alone, kind), alone)

    first = compare(Bounded)
    layer.repair(first)
    c, before = None, cell_state_before(first, len(first.after) - 1)
    if before is not None:
        c = torch.full((layer.units,), torch.nan, dtype=torch.float64)
        c[mine] = before
    at = 0 if alone is not None else unit
    if at >= first.after.shape[2]:
        return Here(chunk.x[n, item], chunk.before[n, item], c, None, None, 0.0)
    manual, engine, bound, ratio = (
        float(values[-1, 0, at]) for values in (first.q["h"].v, first.after, first.bound, first.ratio)
    )
    if ratio > 1:  # the bound of the first look at all units, and the second look, before anything is called wrong
        whole = layer.compare(chunk, state, layer.wide).bound[n, item, unit]
        bound = max(float(whole), float(compare(Ordered).bound[-1, 0, at]))
        ratio = abs(manual - engine) / bound
    return Here(chunk.x[n, item], chunk.before[n, item], c, engine, bound, math.inf if math.isnan(ratio) else ratio)


def cell_state_before(compared: ComparedChunk, n: int) -> Tensor | None:
    """c (H) of the only item of a compared chunk before its step n, in float64; None for a cell without c."""
    if compared.c is None:
        return None
    return compared.q["c"].v[n - 1, 0] if n else compared.c.number(torch.float64).v[0]
