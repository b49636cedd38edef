"""A whole stack: each layer is judged on what it really received, from the first layer to the last."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.judging.assumption import Assumption, At, Stack
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.estimate import FINAL_SPREADS, SPREADS, Estimate, Paired, Stepper, estimate
from rnnspect.judging.final_states import (
    Expected,
    FinalKey,
    Lookalike,
    before_last,
    is_coarse,
    last,
    meaning,
    overflowed,
    past_use,
    where,
    without_last,
)
from rnnspect.judging.finding import PAST_USE, Finding, PlaceFinding, Progress, silent, worst_and_first
from rnnspect.judging.judge import Judge
from rnnspect.judging.layer_inputs import Errors, StepReader, handed_on
from rnnspect.judging.padded_steps import Padded, cell_state_padded_with, padded_with
from rnnspect.judging.recorded_gates import judge_quantities
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.judging.verdict import Point
from rnnspect.network.progress import StepsDone

_COME_AND_GONE = 31 * 2**20
"""Bytes. Until glibc has seen a block of some size freed, it gives smaller ones back to the system at once, and to get
them again costs several times what is computed in them (mallopt(3), M_MMAP_THRESHOLD)."""


Estimator = Callable[[Assumption, StepsDone], Estimate]
"""Steps a layer that was not observed; it is called with a function that is told how many more steps are done."""

_FEWER = (
    "; c is not seen between steps, so that its limit grows with every step: record l{}.{}.c, or check a run of fewer "
    "steps"
)


@dataclass
class Judged:
    """What was found in each layer and direction of a run."""

    places: list[PlaceFinding] = field(default_factory=list)
    """The findings of h, and of every other recorded quantity, in each place that was observed."""
    finals: list[Point] = field(default_factory=list)
    """For each final state the value nearest to its bound."""
    first_finals: list[Point] = field(default_factory=list)
    """For each wrong final state the first value above its bound, item by item."""
    estimated: list[At] = field(default_factory=list)
    """Layers and directions whose h nobody observed."""
    assumptions: dict[At, Assumption] = field(default_factory=dict)
    """What each layer and direction was held to."""
    unread: bool = False
    """Whether a changed assumption needs an h that was not observed: then nothing was judged."""
    meanings: dict[FinalKey, Lookalike] = field(default_factory=dict)
    """The other state of the run that a wrong final state equals, if any: "that of layer 1"."""
    past_use: list[str] = field(default_factory=list)
    """Final states that could not be judged, and why."""


def unchanged(assumed: Assumption) -> Assumption:
    """The assumption as it is."""
    return assumed


@torch.inference_mode()
def judge_stack(
    case: Case,
    change: Callable[[Assumption], Assumption] = unchanged,
    *,
    meanings: bool = True,
    until: At | None = None,
    progress: Progress = silent,
    estimator: Estimator = estimate,
) -> Judged:
    """Compares every layer and direction with the equations, or with what `change` makes of them.

    `meanings`: for wrong final states it is looked for which other state of the run they equal, which takes as long as
    judging. With `until` the assumptions up to that layer and direction are made, and nothing is judged. `estimator`
    steps each layer that was not observed.
    """
    torch.empty(_COME_AND_GONE, dtype=torch.uint8)
    spec, observation, declared = case.spec, case.observation, case.declared
    judged, stack = Judged(), Stack.of(spec, case.parameters, case.sequence)
    given = case.given
    expected: dict[FinalKey, Expected] = {}
    for layer in range(spec.num_layers):
        outcomes: list[_Outcome] = []
        for direction in spec.directions:
            at = layer, direction
            seen = observation.layers.get(at, {})
            kept = {name: observation.kept_of((layer, direction, name)) for name in seen}
            u = declared.over(stack.parameters[at].terms, kept.get("h", EXACT))
            believed = Assumption.of(stack, at, *given, u, seen.get("h"))
            if case.received.rounded:
                believed = believed.begun_with([(one, case.received.error(one)) for one in stack.states[at]])
            believed = believed.from_observed(seen.get("c"), kept.get("c", EXACT))
            judged.assumptions[at] = assumed = change(believed)
            if at == until:
                return judged
            if not assumed.seen and assumed.run.h is not believed.run.h and assumed.back is None:
                judged.unread = True
                return judged
            if assumed.seen and until is not None:
                outcome = _as_it_is(assumed, believed, kept["h"])
            elif assumed.seen:
                found, outcome = _observed(assumed, believed, kept["h"], progress)
                judged.places.append(PlaceFinding(layer, direction, "h", found))
            else:
                stepped = estimator(assumed, lambda steps: progress(None, steps))
                outcome = _estimated(assumed, believed, stepped)
                judged.estimated.append(at)
            others = seen.keys() - {"h"} if until is None else ()
            if others and (not assumed.seen or assumed.run.h is believed.run.h):
                for name, finding in judge_quantities(assumed.equations, outcome.run, seen, kept).items():
                    judged.places.append(PlaceFinding(layer, direction, name, finding))
            stack.h[at] = outcome.h
            for name, final in zip(("h_n", "c_n"), outcome.finals, strict=False):
                expected[name, *at] = _as_recorded(final, declared.roundoff, observation.kept_of(name))
            outcomes.append(outcome)
        if layer + 1 < spec.num_layers:
            given = handed_on([(one.h, one.error) for one in outcomes], case.sequence.valid())
    _judge_finals(case, judged, expected, stack.h if meanings else None)
    return judged


def assumptions_of(case: Case, step: Stepper | None = None) -> Callable[[int, str], Assumption]:
    """What a layer and direction received and returned, by layer and direction; computed when it is asked for, and not
    judged. If its h was not observed, `step` steps it as in `Paired`, and `h_error` of its run is the error. `error` is
    that of x, if the layer below was not observed or was recorded rounded."""
    stack, observation = Stack.of(case.spec, case.parameters, case.sequence), case.observation

    def output(at: At) -> tuple[Tensor, StepReader | None]:
        run, kept = of(*at).run, observation.kept_of((*at, "h"))
        return run.h, Errors(run.h, kept) if run.h_error is None and kept.rounded else run.h_error

    paired = Paired(observation.layers, step)

    @functools.cache
    def of(layer: int, way: str) -> Assumption:
        at = layer, way
        given = case.given
        if layer:
            below = [output((layer - 1, direction)) for direction in case.spec.directions]
            given = handed_on(below, case.sequence.valid())
        seen = observation.layers.get(at, {})
        u = case.declared.over(stack.parameters[at].terms)
        assumed = Assumption.of(stack, at, *given, u, seen.get("h"))
        if assumed.seen:
            return assumed.from_observed(seen.get("c"), observation.kept_of((*at, "c")))
        found = paired(assumed)
        return assumed.with_run(h=found.h, h_error=found.error)

    return of


class _Outcome(NamedTuple):
    """What a layer and direction gave, with its error, and the run that was judged."""

    h: Tensor
    error: StepReader | None
    run: LayerRun
    finals: list[Expected]
    """h, and c where the cell has one, after the last step; empty where this assumption does not give them."""


def _observed(
    assumed: Assumption, believed: Assumption, kept: RecordedPrecision, progress: Progress
) -> tuple[Finding, _Outcome]:
    run, h = assumed.run, believed.run.h
    judge = Judge(assumed.cell, assumed.p, assumed.u, assumed.nonlinearity)
    found, c = judge(run, progress=progress)
    finals = []
    if run.h is h and assumed.has_final_states:
        ending = last(h, run.lengths, run.reverse)
        # np.round multiplies and divides in the dtype of the numbers: a second rounding, beside that of what is stored
        rounded_twice = kept.error(ending) + ending.double().abs() * assumed.u.stored
        finals.append(Expected(ending, rounded_twice, functools.partial(before_last, run)))
        if c is not None:
            number, factor = c.number(torch.float64), judge.layer.bound_factor
            earlier = functools.partial(_earlier_c, judge, run)
            overflow = functools.partial(overflowed, judge.layer, run)
            finals.append(Expected(number.v, number.e * factor, earlier, overflow))
        behind = _Behind(assumed, tuple((one.value.double(), one.bound.double()) for one in finals))
        finals = [replace(one, padded=functools.partial(behind, at)) for at, one in enumerate(finals)]
    return found, _as_it_is(assumed, believed, kept)._replace(finals=finals)


def _as_it_is(assumed: Assumption, believed: Assumption, kept: RecordedPrecision) -> _Outcome:
    """What was observed of a layer and direction, which is not judged."""
    error = Errors(believed.run.h, kept) if kept.rounded else None
    return _Outcome(believed.run.h, error, assumed.run, [])


def _estimated(assumed: Assumption, believed: Assumption, found: Estimate) -> _Outcome:
    run, h, error = assumed.run, found.h, found.error
    if assumed.back is not None:
        initial = run.h0.to(h.dtype)
        h = assumed.back(h, initial)
        error = assumed.back_error(error) if assumed.back_error else assumed.back(error, torch.zeros_like(initial))
    run, batch = replace(run, h=found.h, h_error=found.error), believed.run.x.shape[1]
    if len(found.final[0][0]) == batch:
        finals = [Expected(*state) for state in found.final]
        if assumed.back is None:
            finals[0] = replace(finals[0], earlier=functools.partial(before_last, run))
        finals = finals[::-1] if assumed.exchanged else finals
    else:  # of another batch than the engine's: only h tells how its items ended
        ending, spread = (last(values, believed.run.lengths, believed.run.reverse) for values in (h, error))
        finals = [Expected(ending, spread * (FINAL_SPREADS / SPREADS))]
    return _Outcome(h, error, run, finals)


@dataclass
class _Behind:
    """What a run ends with that goes on after its end; looked for once, for all of its final states."""

    assumed: Assumption
    ended: tuple[tuple[Tensor, Tensor], ...]
    found: tuple[Padded | None] | None = None

    def __call__(self, state: int, h_n: Tensor, c_n: Tensor | None) -> tuple[str, str, Tensor, Tensor] | None:
        if self.found is None:
            self.found = (padded_with(self.assumed, self.ended, h_n),)
        (padded,) = self.found
        if padded is None and c_n is not None:
            padded = cell_state_padded_with(self.assumed, self.ended, c_n)
        return None if padded is None else (padded.kind, padded.said, *padded.final[state])


def _earlier_c(judge: Judge, run: LayerRun) -> Tensor | None:
    shorter = without_last(run)
    c = None if shorter is None else judge.ended(shorter)
    return None if c is None else c.number(torch.float64).v


def _as_recorded(final: Expected, u: Roundoff, kept: RecordedPrecision) -> Expected:
    """A final state with its bound widened by the precision with which it was stored and recorded."""
    value = final.value.double()
    return replace(final, value=value, bound=final.bound + kept.error(value) + value.abs() * u.stored + u.tiny)


def _judge_finals(
    case: Case, judged: Judged, expected: dict[FinalKey, Expected], histories: dict[At, Tensor] | None
) -> None:
    """`histories` is h (T, B, P) of each layer and direction, where wrong final states are to be compared with other
    states."""
    spec, observation, limit = case.spec, case.observation, min(case.declared.telling, PAST_USE)
    for key, own in expected.items():
        name, layer, direction = key
        given = observation.h_n if name == "h_n" else observation.c_n
        if given is None:
            continue
        engine, kept = given[spec.row(layer, direction)].double(), observation.kept_of(name)
        own = replace(own, bound=own.bound.masked_fill(kept.beyond(own.value, own.bound, engine), torch.inf))
        unknown = ~own.bound.isfinite()  # as that of NaN and infinity is
        if (layer, direction) in judged.estimated:  # a spread as wide as this is no bound: by then runs have parted
            recorded = kept.error(own.value)
            unknown |= is_coarse(replace(own, bound=own.bound - recorded), limit)
        known = ~unknown
        ratio = (engine - own.value).abs() / own.bound
        ratio[unknown] = 0
        ratio[ratio.isnan()] = torch.inf
        if bool((ratio > 1).any()) and (lost := own.overflow()) is not None:
            own = replace(own, bound=own.bound.masked_fill(lost, torch.inf))
            ratio.masked_fill_(lost, 0)
            known = known & ~lost
        differs = bool((ratio > 1).any())
        if (why := past_use(own, limit)) and not differs:
            fewer = "" if spec.cell_type.torch_name or name == "h_n" else _FEWER.format(layer, direction)
            judged.past_use.append(f"{name} of {where(spec, layer, direction)} {why}{fewer}")
            continue
        if not bool(known.any()):  # NaN, as the engine's is: there is nothing to compare
            continue
        compared = own.value, engine, own.bound, ratio
        worst, first = worst_and_first(torch.where(known, ratio, -1))
        judged.finals.append(_final_point(key, worst, compared))
        judged.first_finals += [] if first is None else [_final_point(key, first, compared)]
        if differs and histories is not None and (said := meaning(case, key, engine, expected, histories)):
            judged.meanings[key] = said


def _final_point(key: FinalKey, at: int, compared: tuple[Tensor, ...]) -> Point:
    b, j = divmod(at, compared[0].shape[1])
    name, layer, direction = key
    return Point(name, layer, direction, -1, b, j, *(float(v[b, j]) for v in compared))
