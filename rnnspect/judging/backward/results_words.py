"""Makes a verdict in words from the results of a pass backwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rnnspect.errors import listed
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.judging.backward.results_again import looked_again
from rnnspect.judging.backward.words import NO_LOSS
from rnnspect.judging.declared import HALF_TYPES
from rnnspect.judging.finding import PAST_USE, worst_and_first
from rnnspect.judging.rounding import EXACT, RecordedPrecision, sizes_of
from rnnspect.judging.verdict import Answer, GateResolution, Point, Verdict
from rnnspect.judging.words import resolution_of_units
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec


def results_verdict(case: ResultsCase, told: Mapping[str, WithError], kept: Mapping[str, RecordedPrecision]) -> Verdict:
    """The verdict on results alone: `told` is what the equations give for each, and `kept` how exactly each was
    recorded, by its name."""
    given = case.given.named

    def result_of(name: str, told: WithError) -> _Result:
        return _result(case, name, told, given[name], kept.get(name, EXACT))

    compared = {name: result_of(name, told[name]) for name in given}
    if over := {name: one.ratio for name, one in compared.items() if one.first and name in case.parameters}:
        told = {**told, **looked_again(case, told, over)}
        compared |= {name: result_of(name, told[name]) for name in over}
    ordered = sorted(compared.items(), key=lambda one: _place_of(case.spec, one[0]))
    wrong = [(name, one) for name, one in ordered if one.first] if _is_loss(case) else []
    first = wrong[0][1].first if wrong else None
    known = [one.worst for _, one in ordered if one.worst.bound < math.inf]
    unsure = _unsure(case, told, dict(ordered), kept)
    answer: Answer = "differ" if first else "cannot tell" if unsure else "agree"
    hidden = _hidden(case, told, dict(ordered)) if answer == "agree" else None
    return Verdict(
        verdict=answer,
        reason=None if first else unsure,
        arithmetic=case.declared.name,
        worst=max(known, key=lambda point: point.ratio, default=None),
        first=first,
        pattern=listed(_which(one.wrong, given[name].numel(), name) for name, one in wrong) if wrong else None,
        resolution=tuple(line for _, one in ordered for line in one.resolution),
        compared=tuple(("results", f"dL/d{name}") for name in compared),
        estimated=(),
        steps=case.sequence.steps,
        values=sum(g.numel() for g in given.values()),
        cleared=0,
        spec=case.spec,
        engine=case.given.engine,
        telling=case.declared.telling,
        items=case.sequence.batch,
        backward=True,
        notes=(f"{hidden}; a mistake there could stay unseen",) if hidden else (),
        rounded=any(how.rounded for how in (*kept.values(), *case.went_in.values())),
    )


def _went_in(case: ResultsCase) -> list[Tensor]:
    upstream = case.upstream
    return [g for g in (upstream.output, upstream.h_n, upstream.c_n) if g is not None]


def _is_loss(case: ResultsCase) -> bool:
    """Whether dL/d output, or of a final state, is not zero everywhere. If it is, the gradients are those of another
    loss, and not wrong for that reason."""
    return any(bool(g.any()) for g in _went_in(case))


def _unsure(
    case: ResultsCase,
    told: Mapping[str, WithError],
    compared: Mapping[str, _Result],
    kept: Mapping[str, RecordedPrecision],
) -> str | None:
    """Why it cannot be told whether gradients of which none is above its bound are right; None where it can."""
    dtype, went_in = case.spec.dtype, _went_in(case)
    narrow = next((half for half in HALF_TYPES if half in case.declared.name), dtype)
    wider = "" if dtype == "float64" else f", or a wider dtype than {narrow}"
    if not all(bool(g.isfinite().all()) for g in went_in):
        most = torch.finfo(getattr(torch, dtype)).max
        narrower = [how for name, how in kept.items() if name not in compared and 2 * how.largest < most]
        if narrower and not any(bool(g.isnan().any()) for g in went_in):
            return f"dL/d output has numbers beyond the range that it was recorded in ({narrower[0].how}); use {dtype}"
        return "dL/d output has NaN or infinity, so no gradient is known; record that of a finite loss"
    if not _is_loss(case):
        if not any(bool(g.any()) for g in case.given.named.values()):
            return NO_LOSS
        return "dL/d output is zero everywhere, and the gradients are not: they are those of another loss"
    untold = sum(int(told[name][1].isinf().sum()) for name in compared)
    if untold:
        some = f"{untold} of {sum(g.numel() for g in case.given.named.values())} gradients"
        if _is_near_the_end(case, told):
            return f"{some} may overflow {dtype} on the way; use smaller numbers"
        if _is_tiny(case):
            return _TINY.format(narrow)
        return (
            f"a correct engine could give anything for {some}: rounding errors grow too fast in this network; "
            f"use fewer steps{wider}"
        )
    vague = [name for name, one in compared.items() if one.is_vague]
    zero = [name for name in vague if not bool(told[name][0].any())]
    if zero and len(zero) == len(compared):
        return (
            f"{listed(f'dL/d{name}' for name in zero)}: zero for this loss and input, which tests nothing; use others"
        )
    if len(vague) == len(compared):
        if rough := _rough(compared, vague):
            return f"{rough}; record more digits"
        if _is_tiny(case):
            return _TINY.format(narrow)
        if short := _of_few_digits(case, vague):
            them = "it" if len(case.went_in) == 1 else "them"
            return f"{short}; record more digits of {them}, or pass the loss as --loss"
        return f"{_off(vague)}; use fewer steps{wider}"
    return None


_TINY = "dL/d output is near the smallest numbers of {}, where gradients have few digits; scale the loss up"


def _is_tiny(case: ResultsCase) -> bool:
    """Whether dL/d output is so small that what operations lose below the smallest number, at each step of each item,
    counts beside it."""
    lost = 100 * case.sequence.steps * case.sequence.batch * case.declared.roundoff.tiny
    return max(float(g.abs().max()) for g in _went_in(case)) < lost


def _hidden(case: ResultsCase, told: Mapping[str, WithError], compared: Mapping[str, _Result]) -> str | None:
    """The gradients that an agreement hardly tells of, and why; None where there are none."""
    vague = [name for name, one in compared.items() if one.is_vague and bool(told[name][0].any())]
    if not vague:
        return None
    return _rough(compared, vague) or _of_few_digits(case, vague) or _off(vague)


def _off(vague: list[str]) -> str:
    names = listed(f"dL/d{name}" for name in vague)
    return f"a correct engine could be off by more than {100 * PAST_USE:.0f} % in most of {names}"


def _rough(compared: Mapping[str, _Result], vague: list[str]) -> str | None:
    """Which of these were themselves recorded in too few digits; None where none was."""
    if not (rough := [f"grad.{name}" for name in vague if compared[name].is_rough]):
        return None
    few = f"were recorded in so few digits that they could be off by more than {100 * PAST_USE:.0f} %"
    return f"most numbers of {listed(rough)} {few}"


def _of_few_digits(case: ResultsCase, vague: list[str]) -> str | None:
    """What was recorded of the loss in too few digits, where only that makes these bounds too wide; None elsewhere."""
    if not case.went_in:
        return None
    exactly, given = replace(case, went_in={}).told, case.given.named
    if all(_is_vague(exactly[name][1], exactly[name][0], given[name].double()) for name in vague):
        return None
    names = listed(f"grad.{name}" for name in case.went_in)
    how = listed(dict.fromkeys(one.how for one in case.went_in.values() if one.how)) or "few digits"
    return f"{names} {'was' if len(case.went_in) == 1 else 'were'} recorded in {how}, with which {_off(vague)}"


def _is_vague(bound: Tensor, own: Tensor, theirs: Tensor) -> bool:
    """Whether most numbers may be off by more than is of use. A zero in both, as behind a dead relu, is right."""
    counted = (own != 0) | (theirs != 0)
    vague = (bound > PAST_USE * own.abs())[counted if bool(counted.any()) else ...]
    return float(vague.double().mean()) > 0.5


def _is_near_the_end(case: ResultsCase, told: Mapping[str, WithError]) -> bool:
    """Whether a number is so large that products with it may be beyond the range of the dtype."""
    limit = torch.finfo(getattr(torch, case.spec.dtype)).max ** 0.5
    every = (*(v for v, _ in told.values()), *case.given.named.values(), case.upstream.output)
    return any(not float(values.abs().max()) < limit for values in every)


def _place_of(spec: Spec, name: str) -> tuple[int, int]:
    """A key that sorts results: from the top layer down, with dL/dx and the initial states last."""
    if name in ("x", "h0", "c0"):
        return 0, ("h0", "c0", "x").index(name) + 1
    layer, direction = _place_of_parameter(spec, name)
    return -layer, -len(spec.directions) + spec.directions.index(direction)


def _place_of_parameter(spec: Spec, name: str) -> At:
    places = {suffix(*at): at for at in spec.places}
    return next(at for end, at in sorted(places.items(), key=lambda one: -len(one[0])) if name.endswith(end))


@dataclass(frozen=True)
class _Result:
    worst: Point
    first: Point | None
    """The first wrong entry: in dL/dx from the last step on, item by item; in others item by item, or row by row."""
    wrong: int
    """How many entries are wrong."""
    is_vague: bool
    """Whether its bound is too wide to say anything."""
    is_rough: bool
    """Whether only the precision of the recording makes its bound too wide."""
    resolution: tuple[GateResolution, ...]
    """What would have been seen in each layer and direction that it has numbers of."""
    ratio: Tensor
    """|difference| / bound of each number."""


def _result(case: ResultsCase, name: str, told: WithError, given: Tensor, kept: RecordedPrecision) -> _Result:
    own, theirs = told[0], given.double()
    exactly = told[1] + own.abs() * case.declared.roundoff.stored
    recorded = sizes_of(theirs) * kept.relative + kept.absolute
    bound = (exactly + recorded).masked_fill_(kept.beyond(own, exactly, theirs), torch.inf)
    ratio = ratio_of_results(own, theirs, bound)

    def point(at: int) -> Point:
        place = [int(n) for n in np.unravel_index(at, tuple(ratio.shape))]
        numbers = tuple(float(one.reshape(-1)[at]) for one in (own, theirs, bound, ratio))
        return Point(*_address(case.spec, name, place), *numbers)

    worst, first = worst_and_first(ratio)
    if name == "x" and first is not None:
        step = int((ratio > 1).flatten(1).any(1).nonzero()[-1])
        first = step * ratio[0].numel() + int((ratio[step] > 1).flatten().nonzero()[0])
    vague, itself = (_is_vague(e, own, theirs) for e in (bound, exactly))
    resolution = tuple(_resolution(case, name, (bound / own.abs()).nan_to_num(nan=torch.inf, posinf=torch.inf)))
    return _Result(
        point(worst),
        None if first is None else point(first),
        int((ratio > 1).sum()),
        vague,
        vague and not itself,
        resolution,
        ratio,
    )


def _which(wrong: int, count: int, name: str) -> str:
    return f"dL/d{name}" if wrong == count else f"{wrong} of {count} entries of dL/d{name}"


def _resolution(case: ResultsCase, name: str, relative: Tensor) -> Iterator[GateResolution]:
    """For each unit the smallest relative error of all its numbers that would have been seen; `relative` is the bound
    of each number divided by the number. The units of a parameter are its rows."""
    spec, telling = case.spec, case.declared.telling
    if name in ("h0", "c0"):
        each = {at: relative[spec.row(*at)].amin(0) for at in spec.places}
    elif name == "x":
        each = {(0, spec.directions[0]): relative.flatten(0, 1).amin(0)}
    else:
        each = {_place_of_parameter(spec, name): relative.flatten(1).amin(1) if relative.dim() > 1 else relative}
    for at, units in each.items():
        yield resolution_of_units(at, f"grad.{name}", units, telling)


def ratio_of_results(own: Tensor, engine: Tensor, bound: Tensor) -> Tensor:
    """|difference| / bound; 0 where the bound is infinite."""
    ratio = (own - engine).abs() / bound
    ratio[(own == engine) | ~bound.isfinite()] = 0
    return ratio.nan_to_num_(nan=torch.inf, posinf=torch.inf)


def _address(spec: Spec, name: str, place: list[int]) -> tuple[str, int, str, int, int, int]:
    if name == "x":
        return "grad.x", 0, spec.directions[0], place[0], place[1], place[2]
    if name in ("h0", "c0"):
        return f"grad.{name}", *spec.places[place[0]], -1, place[1], place[2]
    return f"grad.{name}[{','.join(map(str, place))}]", *_place_of_parameter(spec, name), -1, 0, place[0]
