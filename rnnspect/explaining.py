"""Why a run differs: the known mistakes after which it agrees."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rnnspect.causes import catalogue
from rnnspect.causes.interface import Reading
from rnnspect.judging.chunks import chunks
from rnnspect.judging.judge import Judge
from rnnspect.verdict import Explanation

if TYPE_CHECKING:
    from rnnspect.arithmetic.roundoff import Roundoff
    from rnnspect.causes.interface import Cause
    from rnnspect.judging.chunks import Run
    from rnnspect.judging.finding import Finding
    from rnnspect.judging.stack import Judged
    from rnnspect.spec import Spec
    from rnnspect.verdict import Point

SECONDS = 10.0
"""How long causes are tried, unless told otherwise."""
_STEPS = 8
"""Steps after the first difference on which a cause is refuted; only survivors see the whole run."""
_ROWS, _HOPELESS = 64, 100.0
"""Rows that are looked at once before anything else, and the ratio that no second look brings down."""


@torch.inference_mode()
def explain(spec: Spec, judged: Judged, first: Point, seconds: float = SECONDS) -> tuple[Explanation, ...]:
    """Every known mistake that explains the layer and direction of the first difference, the likeliest first: those
    that explain more of the layers that differ, then in the order of the catalogue.

    A layer above runs on what the one below really gave, so each shows its own mistakes only.
    """
    wrong = {(place.layer, place.direction): place.finding for place in judged.places if place.finding.first}
    at = first.layer, first.direction
    if at not in judged.runs or at not in wrong or first.quantity != "h":
        return ()
    if judged.runs[at].run.received is not None:  # h as its products received it is no state that a cause can change
        return ()
    until = time.monotonic() + seconds
    readings = {place: _reading(spec, judged, place) for place in wrong if place in judged.runs}
    found = []
    for family, cause in catalogue(readings[at]):
        if time.monotonic() > until:
            break
        ratio = _after(cause, readings[at], wrong[at], judged.runs[at].u)
        if ratio is None:
            continue
        ratios = {at: ratio}
        for place in [place for place in readings if place != at]:
            for _, same in catalogue(readings[place]):
                if (same.name, same.parameters) == (cause.name, cause.parameters):
                    other = _after(same, readings[place], wrong[place], judged.runs[place].u)
                    ratios |= {} if other is None else {place: other}
        before = max(finding.worst.ratio for place in ratios if (finding := wrong[place]).worst)
        scope = tuple(f"layer {layer} {direction}" for layer, direction in ratios)
        left = tuple(f"layer {layer} {direction}" for layer, direction in wrong if (layer, direction) not in ratios)
        found.append(
            Explanation(
                cause.name, family, cause.parameters, cause.explanation, cause.fix, before, max(ratios.values()),
                scope, left,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda one: len(one.left)))


def _reading(spec: Spec, judged: Judged, place: tuple[int, str]) -> Reading:
    held = judged.runs[place]
    return Reading(spec.cell_type, held.nonlinearity, held.p, held.run)


def _after(cause: Cause, reading: Reading, finding: Finding, u: Roundoff) -> float | None:
    """The worst ratio once the cause is taken into account; None where the run differs all the same."""
    assert finding.first is not None
    short = replace(reading, run=_begin(reading.run, finding.first.order + _STEPS))
    if short.run is not reading.run and _ratio(cause.change(short), u) is None:
        return None
    return _ratio(cause.change(reading), u)


def _ratio(reading: Reading, u: Roundoff) -> float | None:
    """The worst ratio of a run that agrees with the reading; None where it does not."""
    run = reading.run
    if not len(run.h):
        return None
    judge = Judge(reading.cell, reading.p, u, reading.nonlinearity)
    head = next(chunks(run, 1 if judge.layer.stepwise else _ROWS))
    if not judge.layer.look(head, judge.layer.begin(run.c0), judge.layer.plain).top < _HOPELESS:
        return None
    found, _ = judge(run)
    if found.first is not None or found.unjudged or not found.values:
        return None
    return found.worst.ratio if found.worst else 0.0


def _begin(run: Run, steps: int) -> Run:
    """The first steps in processing order; of reversed items that end differently, all."""
    total = run.x.shape[0]
    if steps >= total or (run.reverse and run.lengths is not None):
        return run
    here = slice(total - steps, None) if run.reverse else slice(steps)
    lengths = None if run.lengths is None else run.lengths.clamp(max=steps)
    error = None if run.error is None else run.error[here]
    return replace(run, x=run.x[here], h=run.h[here], lengths=lengths, error=error)
