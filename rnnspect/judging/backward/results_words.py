"""From the results of a pass backwards alone to a verdict, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnnspect.errors import listed
from rnnspect.judging.backward.estimate import Told
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.judging.backward.sums import worst_and_first
from rnnspect.judging.finding import PAST_USE
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.judging.verdict import Answer, Point, Verdict
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec


def results_verdict(case: ResultsCase, told: Mapping[str, Told], kept: Mapping[str, RecordedPrecision]) -> Verdict:
    """The verdict on results alone: `told` is what the equations give for each, and `kept` how exactly each was
    recorded, by its name."""
    given = case.given.named
    compared = {name: _result(case, name, told[name], g, kept.get(name, EXACT)) for name, g in given.items()}
    ordered = sorted(compared.items(), key=lambda one: _place_of(case.spec, one[0]))
    first = next((one.first for _, one in ordered if one.first), None)
    vague = [name for name, one in ordered if one.is_vague]
    unsure = None
    untold = sum(int(told[name][1].isinf().sum()) for name in given)
    if untold:
        total = sum(g.numel() for g in given.values())
        unsure = f"{untold} of {total} gradients may overflow {case.spec.dtype} on the way; use smaller numbers"
    elif len(vague) == len(compared):
        unsure = (
            f"a correct engine could be off by more than {PAST_USE:.0%} in most of {listed(vague)}; "
            f"use fewer steps, or a wider dtype than {case.spec.dtype}"
        )
    answer: Answer = "differ" if first else "cannot tell" if unsure else "agree"
    wrong = [f"dL/d{name}" for name, one in ordered if one.first]
    return Verdict(
        verdict=answer,
        reason=None if first else unsure,
        arithmetic=case.declared.name,
        worst=max((one.worst for _, one in ordered), key=lambda point: point.ratio, default=None),
        first=first,
        pattern=listed(wrong) if first else None,
        resolution=(),
        observed=tuple(f"results dL/d{name}" for name in compared),
        estimated=(),
        steps=case.sequence.steps,
        values=sum(g.numel() for g in given.values()),
        cleared=0,
        spec=case.spec,
        engine=case.given.engine,
        telling=case.declared.telling,
        items=case.sequence.batch,
        backward=True,
    )


def _place_of(spec: Spec, name: str) -> tuple[int, int]:
    """From the top layer down, and dL/dx and the initial states at the end."""
    if name in ("x", "h0", "c0"):
        return 0, ("h0", "c0", "x").index(name) + 1
    places = {suffix(*at): at for at in spec.places}
    layer, direction = next(
        at for end, at in sorted(places.items(), key=lambda one: -len(one[0])) if name.endswith(end)
    )
    return -layer, -len(spec.directions) + spec.directions.index(direction)


@dataclass(frozen=True)
class _Result:
    worst: Point
    first: Point | None
    """The first wrong entry: of dL/dx from the last step on, item by item; of others item by item, or row by row."""
    is_vague: bool
    """Whether its bound is too wide to say anything."""


def _result(case: ResultsCase, name: str, told: Told, given: Tensor, kept: RecordedPrecision) -> _Result:
    own, theirs = told[0], given.double()
    bound = told[1] + kept.error(given) + own.abs() * case.declared.roundoff.stored
    ratio = ratio_of_results(own, theirs, bound)

    def point(at: int) -> Point:
        place = [int(n) for n in np.unravel_index(at, tuple(ratio.shape))]
        numbers = tuple(float(one.reshape(-1)[at]) for one in (own, theirs, bound, ratio))
        return Point(*_address(case.spec, name, place), *numbers)

    worst, first = worst_and_first(ratio)
    if name == "x" and first is not None:
        step = int((ratio > 1).flatten(1).any(1).nonzero()[-1])
        first = step * ratio[0].numel() + int((ratio[step] > 1).flatten().nonzero()[0])
    vague = float((bound > PAST_USE * own.abs()).double().mean()) > 0.5
    return _Result(point(worst), None if first is None else point(first), vague)


def ratio_of_results(own: Tensor, engine: Tensor, bound: Tensor) -> Tensor:
    """|difference| / bound; 0 where nothing is told."""
    ratio = (own - engine).abs() / bound
    ratio[(own == engine) | ~bound.isfinite()] = 0
    return ratio.nan_to_num_(nan=torch.inf, posinf=torch.inf)


def _address(spec: Spec, name: str, place: list[int]) -> tuple[str, int, str, int, int, int]:
    if name == "x":
        return "grad.x", 0, spec.directions[0], place[0], place[1], place[2]
    if name in ("h0", "c0"):
        return f"grad.{name}", *spec.places[place[0]], -1, place[1], place[2]
    return f"grad.{name}[{','.join(map(str, place))}]", 0, spec.directions[0], -1, 0, place[0]
