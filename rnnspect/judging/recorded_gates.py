"""Gates and cell states that a recording holds beside h, each judged against its own bound, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.sum_orders import Ordered
from rnnspect.judging.cell_state import State
from rnnspect.judging.chunks import ALL, Chunk, LayerRun, before_each, chunks
from rnnspect.judging.finding import ComparedValues, Finding, combine
from rnnspect.judging.layer import LayerEquations
from rnnspect.judging.rounding import RecordedPrecision, sizes_of

ROWS = 512


class Forced(Bounded):
    """The cell state of the step before is the recorded one, so an error in c stays at the step that made it."""

    def carry(self, f: Number, c: Number, v: Number) -> Number:
        return f * c + v


class ForcedOrdered(Forced, Ordered):
    """The same, with the sums of a second look."""


def judge_quantities(
    layer: LayerEquations, run: LayerRun, recorded: dict[str, Tensor], kept: dict[str, RecordedPrecision]
) -> dict[str, Finding]:
    """What is found of each recorded quantity but h, (T, B, H) by name; `kept` says how exactly each was recorded."""
    recorded = {name: values for name, values in recorded.items() if name != "h"}
    if not recorded:
        return {}
    found: dict[str, Finding] = {}
    c = layer.begin(run.c0, run.begun_error)
    for chunk in chunks(run, 1 if layer.stepwise and not _is_forced(layer, recorded) else ROWS):
        part = _Part(layer, chunk, c, recorded, kept)
        for name in recorded:
            seen = part.finding(name)
            found[name] = combine(found[name], seen) if name in found else seen
        c = part.after()
    return found


class _Part:
    """One chunk of a run that begins with the cell state c, and what was recorded of it."""

    def __init__(
        self,
        layer: LayerEquations,
        chunk: Chunk,
        c: State | None,
        recorded: dict[str, Tensor],
        kept: dict[str, RecordedPrecision],
    ) -> None:
        self._layer, self._chunk, self._recorded, self._kept = layer, chunk, recorded, kept
        self._c, a = None if c is None else c.number(torch.float64), layer.wide
        self._forced = self._c is not None and _is_forced(layer, recorded)
        if self._c is not None and self._forced:
            self._c = _before(recorded["c"], chunk, self._c, kept["c"])
            a = Forced(a.parameters, layer.gates, layer.u, layer.nonlinearity)
        self._q = self._quantities(a, chunk, ALL)

    def _quantities(self, a: Bounded, chunk: Chunk, items: slice, unit: int | None = None) -> dict[str, Number]:
        """Every quantity of a chunk of some items of the batch in the arithmetic a: of one hidden unit alone, if it is
        given."""
        alone = unit if self._layer.p.weight_hr is None else None
        h, c = a.observed(chunk.before.double(), alone, chunk.h_error), None
        if self._c is not None:
            units = ALL if unit is None else slice(unit, unit + 1)
            sums = self._c.sums and self._c.sums.each(lambda of: of[..., items, units])
            c = Number(self._c.v[..., items, units], self._c.e[..., items, units], a.u, sums=sums)
        error = None if chunk.error is None else chunk.error.double()
        return self._layer.stepped(a, a.input(chunk.x.double(), error), h, c)

    def finding(self, name: str) -> Finding:
        """What is found of one recorded quantity in this chunk."""
        layer, chunk, u = self._layer, self._chunk, self._layer.u
        engine, q = self._recorded[name][chunk.at].double(), self._q[name]
        rounded = self._kept[name]
        kept = sizes_of(engine) * (u.stored + rounded.relative) + (rounded.absolute + u.tiny)
        bound = (q.e + kept).mul_(layer.bound_factor)
        compared = ComparedValues(chunk, q.v, engine, bound, (q.v - engine).abs_().div_(bound))
        if (
            not float(compared.ratio.amax()) <= 1
            and (lost := layer.overflow(chunk.x, chunk.before, chunk.error)) is not None
        ):
            bound.masked_fill_(lost, torch.inf)
        beyond = compared.repair(min(layer.limit, rounded.largest))

        def again(_n: int, b: int, j: int) -> tuple[tuple[slice, slice, slice], Tensor]:
            kind = ForcedOrdered if self._forced else Ordered
            alone = None if layer.cell.mixes else j
            here = (ALL, slice(b, b + 1), slice(j, j + 1))
            e = self._quantities(layer.one(alone, kind), chunk.cut(0, len(chunk.x), here[1]), here[1], alone)[name].e
            return here, ((e if alone is not None else e[..., j, None]) + kept[here]).mul_(layer.bound_factor)

        values = chunk.count * engine.shape[2]
        return compared.judged(Finding(len(engine), values, unjudged=beyond, resolution=layer.unseen), again)

    def after(self) -> State | None:
        """The cell state that the chunk ends with."""
        if self._c is None:
            return None
        return State.ending(self._q["c"].number)  # it may be a sum of products that nobody has asked for yet


def _is_forced(layer: LayerEquations, recorded: dict[str, Tensor]) -> bool:
    """Whether each step starts from the recorded cell state. Where many steps may be computed at once, the cell state
    of a step does not follow from that of the step before: both have errors of their own."""
    return "c" in recorded and not layer.u.regrouped


def _before(recorded: Tensor, chunk: Chunk, c: Number, kept: RecordedPrecision) -> Number:
    """The recorded cell state of the step before each step of a chunk; before the first step of all, the state c that
    the run began with."""
    stop = chunk.start + len(chunk.x)
    v = before_each(recorded, c.v, chunk.start, stop, chunk.steps).double()
    e = v.abs().mul_(c.u.stored + kept.relative).add_(kept.absolute)
    if not chunk.start:
        e[0] = c.e
    return Number(v, e, c.u)
