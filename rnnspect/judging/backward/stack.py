"""A whole stack gone back over, from the top layer to the lowest, each layer from the gradients that the engine itself
had."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rnnspect.arithmetic.backward_bounded import BackwardBounded, BackwardOrdered, sums_up_to
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import UnknownGradientError
from rnnspect.errors import EngineError
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.case import BackwardAssumption, BackwardCase, assumptions_of
from rnnspect.judging.backward.compared import unknown
from rnnspect.judging.backward.judge import BackwardJudge, LayerBackward
from rnnspect.judging.backward.padding import with_padding
from rnnspect.judging.backward.screened import QuickLook
from rnnspect.judging.backward.sums import SumFinding, compared
from rnnspect.judging.chunks import Chunk
from rnnspect.judging.finding import ComparedValues, Finding, combine, worst_and_first
from rnnspect.judging.judge import CLOSE
from rnnspect.judging.layer import LayerEquations, cast
from rnnspect.judging.verdict import Point
from rnnspect.network.progress import StepsDone, untold

_ROWS = 2**19  # values of dL/dx that are computed together


@dataclass(frozen=True)
class StateFinding:
    """What was found in dL/d of an initial state of one layer and direction."""

    worst: Point
    """The value that is nearest to its bound."""
    first: Point | None
    """The first one above its bound, item by item; None where there is none."""

    @property
    def ratio(self) -> float:
        return self.worst.ratio


@dataclass
class BackwardJudged:
    """What was found in each layer and direction of a pass backwards."""

    gates: dict[At, Finding] = field(default_factory=dict)
    """Of dL/d of the pre-activations, the units of all gates packed."""
    x: dict[int, Finding] = field(default_factory=dict)
    """Of dL/dx of each layer."""
    states: dict[At, list[StateFinding]] = field(default_factory=dict)
    """Of dL/dh0 and dL/dc0."""
    parameters: dict[At, list[SumFinding]] = field(default_factory=dict)
    assumptions: dict[At, BackwardAssumption] = field(default_factory=dict)


class Once:
    """Progress of steps that may be computed again: each step is reported once."""

    def __init__(self, progress: StepsDone) -> None:
        self._progress, self._told, self._done = progress, 0, 0

    def again(self) -> None:
        self._done = 0

    def __call__(self, steps: int) -> None:
        self._done += steps
        if self._done > self._told:
            self._progress(self._done - self._told)
            self._told = self._done


class InseparableStepsError(EngineError):
    """The gradients of a step need those of the state after it, and no pre-activation shows them: W_hh h is normalised
    before it is added to W_ih x."""


@torch.inference_mode()
def judge_backward(case: BackwardCase, progress: StepsDone = untold) -> BackwardJudged:
    """Compares every layer and direction with the equations. Raises `InseparableStepsError`."""
    judged = BackwardJudged(assumptions=dict(assumptions_of(case)))
    for layer in reversed(range(case.lowest, case.lowest + len(case.layers))):
        here = [judged.assumptions[layer, direction] for direction in case.spec.directions]
        for assumed in here:
            try:
                judge_place(assumed, judged, progress)
            except UnknownGradientError:
                raise _inseparable(assumed) from None
        judged.x[layer] = judge_x(here)
    return judged


def _inseparable(assumed: BackwardAssumption) -> InseparableStepsError:
    found = f"the gradients of cell {assumed.cell.name} cannot be checked step by step: its states need each other's"
    return InseparableStepsError(found, advice="rnnspect trace … --backward shows them beside the engine's")


def judge_of(assumed: BackwardAssumption) -> BackwardJudge:
    r = assumed
    return BackwardJudge(r.cell, r.p, r.u, r.nonlinearity, r.changes, r.mistake)


def judge_place(assumed: BackwardAssumption, judged: BackwardJudged, progress: StepsDone = untold) -> None:
    """Compares one layer and direction with the equations, or with a mistake that its assumption has."""
    judge, told = judge_of(assumed), Once(progress)
    screen = QuickLook.of(judge, assumed.run)
    found = None if screen is None else screen(assumed.back, told)
    if found is None or any(state.ratio > CLOSE for state, _ in _states(assumed, found, judge.layer)):
        told.again()
        found = judge(assumed.back, told)
    parameters = list(found.parameters(assumed.gradients, assumed.sums))
    if any(one.ratio > CLOSE for one in parameters) and judge.layer.dtype != torch.float64:
        found = judge(assumed.back, exact=True)
        parameters = list(found.parameters(assumed.gradients, assumed.sums))
    states = _states(assumed, found, judge.layer)
    beyond = sum(count for _, count in states)
    judged.gates[assumed.at] = replace(found.finding, unjudged=found.finding.unjudged + beyond)
    judged.states[assumed.at], judged.parameters[assumed.at] = [state for state, _ in states], parameters


def _states(assumed: BackwardAssumption, found: LayerBackward, layer: LayerEquations) -> list[tuple[StateFinding, int]]:
    return [_state(assumed, name, found.states[name], engine, layer) for name, engine in assumed.states.items()]


def _state(
    assumed: BackwardAssumption, name: str, own: Number, engine: Tensor, layer: LayerEquations
) -> tuple[StateFinding, int]:
    """What was found in dL/dh0 or dL/dc0; and how many values are beyond the range of the dtype."""
    v, e, theirs = (one.double() for one in (own.v, own.e.expand_as(own.v) * layer.bound_factor, engine))
    ratio, beyond = compared(v, theirs, e, layer.limit)

    def point(at: int) -> Point:
        b, j = divmod(at, ratio.shape[1])
        return Point(f"grad.{name}0", *assumed.at, -1, b, j, *(float(one[b, j]) for one in (v, theirs, e, ratio)))

    worst, first = worst_and_first(ratio)
    return StateFinding(point(worst), None if first is None else point(first)), int(beyond.sum())


def judge_x(assumptions: list[BackwardAssumption]) -> Finding:
    """dL/dx of a layer, from the engine's own dL/d of the pre-activations of its directions."""
    first, own = assumptions[0], _OfX(assumptions)
    engine, lengths = first.grad_x, first.run.lengths
    steps, batch, width = engine.shape
    rows = max(1, _ROWS // max(1, batch * width))
    found = Finding(resolution=torch.full((1, 1), torch.inf))
    for stop in range(steps, 0, -rows):
        start = max(0, stop - rows)
        found = combine(found, _judge_x_at(own, start, stop, lengths))
    return with_padding(found, engine, lengths)


def _judge_x_at(own: _OfX, start: int, stop: int, lengths: Tensor | None) -> Finding:
    """In float32 first, unless the network is wider; in float64 if a value is then close to its bound."""
    width = own.assumptions[0].p.weight_ih.dtype
    dtype = torch.promote_types(width, torch.float32)
    values = _compared_x(own, start, stop, lengths, dtype)
    if dtype != torch.float64 and not float(values.ratio.amax()) <= CLOSE:
        values = _compared_x(own, start, stop, lengths, torch.float64)
    part = Finding(stop - start, values.chunk.count * values.v.shape[2], resolution=torch.zeros(1, 1))
    lost = unknown(values.bound)
    if float(values.ratio.amax()) <= 1 and lost is None:
        return replace(part, worst=values.seen(values.peak))
    unjudged = values.repair(torch.finfo(width).max)
    if lost is not None:
        inside = values.chunk.valid
        unjudged += int((lost if inside is None else lost & inside.unsqueeze(-1)).sum())
    part = replace(part, unjudged=unjudged)

    def again(n: int, b: int, _unit: int) -> tuple[tuple[slice, slice, slice], Tensor]:
        step, item = slice(stop - 1 - n, stop - n), slice(b, b + 1)
        bound = own(BackwardOrdered, torch.float64, step, item, lengths).e
        return (slice(n, n + 1), item, slice(None)), bound

    return values.judged(part, again)


def _compared_x(own: _OfX, start: int, stop: int, lengths: Tensor | None, dtype: torch.dtype) -> ComparedValues:
    """Some steps of dL/dx in the order of going back."""
    engine = own.assumptions[0].grad_x
    ours = own(BackwardBounded, dtype, slice(start, stop), slice(None), lengths)
    v, bound, theirs = ours.v.flip(0), ours.e.flip(0), engine[start:stop].flip(0).to(dtype)
    ratio = (v - theirs).abs_().div_(bound)
    if unknown(bound) is not None or math.isnan(float(ratio.amax())):
        ratio[(v == theirs) | ~bound.isfinite()] = 0
    places = torch.arange(stop - 1, start - 1, -1).unsqueeze(1).expand(-1, theirs.shape[1])
    valid = None if lengths is None else places < lengths
    if valid is not None:
        ratio.masked_fill_(~valid.unsqueeze(-1), 0)
    return ComparedValues(Chunk(len(engine) - stop, theirs, theirs, theirs, places, valid), v, theirs, bound, ratio)


class _OfX:
    """What the equations give for dL/dx of a layer, from the assumptions of its directions."""

    def __init__(self, assumptions: list[BackwardAssumption]) -> None:
        self.assumptions = assumptions
        self._made: dict[tuple[type[BackwardBounded], torch.dtype], list[BackwardBounded]] = {}

    def _arithmetic(self, kind: type[BackwardBounded], dtype: torch.dtype) -> list[BackwardBounded]:
        """The arithmetic of each assumption, made once for all parts of a run."""
        if (kind, dtype) not in self._made:
            made = [kind(cast(one.p, dtype), len(one.cell.gates), one.u, one.nonlinearity) for one in self.assumptions]
            for a, one in zip(made, self.assumptions, strict=True):
                a.limit = sums_up_to(one.p, one.u)
            self._made[kind, dtype] = made
        return self._made[kind, dtype]

    def __call__(
        self, kind: type[BackwardBounded], dtype: torch.dtype, steps: slice, item: slice, lengths: Tensor | None
    ) -> Number:
        """dL/dx of some steps and items, by step of the input."""
        total: Number | None = None
        for one, a in zip(self.assumptions, self._arithmetic(kind, dtype), strict=True):
            seen = (one.back.seen if one.shown is None else one.shown)[steps, item].to(dtype)
            if lengths is not None:
                inside = torch.arange(steps.start, steps.stop).unsqueeze(1) < lengths[item]
                seen = torch.where(inside.unsqueeze(-1), seen, 0)
            part = a.transposed("weight_ih", a.exact(seen, one.u.of_seen))
            total = part if total is None else a.plus(total, part)
        assert total is not None
        return total
