"""What a run says of its engine's parameters, as JSON: suspects, sentences, and the pictures of each parameter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnspect.arithmetic.evaluation import Floats
from rnnspect.errors import listed
from rnnspect.judging.suspect import Suspect
from rnnspect.judging.verdict import Verdict
from rnnspect.network.shown import apart
from rnnspect.reporting.data import RunReport
from rnnspect.reporting.parameters import ScoredLayer
from rnnspect.views import suspects, text
from rnnspect.views.report.pictures import array, picture_document


def parameters_document(run: RunReport) -> dict[str, Any]:
    """`scores` and `differences` (recovered − ours, with their standard `errors`) by the name of a parameter."""
    found, verdict = run.parameters, run.verdict
    return {
        "suspects": [_suspect(one, verdict) for one in verdict.suspects],
        "recovered": [said for _, said in suspects.recovered(verdict)],
        "said": list(_said(run)),
        "layers": [vars(one) for one in found.layers],
        "scores": {name: picture_document(picture) for name, picture in found.scores.items()},
        "differences": {name: picture_document(picture) for name, picture in found.differences.items()},
        "errors": {name: _to_two_digits(values) for name, values in found.errors.items()},
        "least": found.least,
    }


def _suspect(one: Suspect, verdict: Verdict) -> dict[str, Any]:
    """Both values in as many digits as tell them apart; of a factor, 1 and that."""
    if one.ours is not None and one.theirs is not None:
        theirs, ours = apart(one.theirs, one.ours)
    elif one.factor is not None:
        theirs, ours = (f"× {said}" for said in apart(one.factor, 1.0))
    else:
        theirs = ours = ""
    evidence = [suspects.chance(one)]
    if not one.certain or verdict.found_by == "evidence":
        evidence.append(suspects.floor(one))
    return {
        "name": one.name,
        "kind": one.kind,
        "entry": one.entry,
        "place": one.place,
        "certain": one.certain,
        "said": one.said.removeprefix(one.name),
        "ours": ours,
        "theirs": theirs,
        "shrinks": f"{text.times(one.shrinks)} smaller",
        "evidence": "; ".join(evidence),
    }


def _said(run: RunReport) -> Iterator[str]:
    """Of layers without a suspect, that no parameter stands out; and which layers have no scores, and why."""
    verdict = run.verdict
    if any(not cause.left for cause in verdict.causes):
        yield "A known mistake explains this run. What a parameter explains of it is a consequence of that, or chance."
    suspected = {(one.layer, one.direction) for one in verdict.suspects}
    layers = [one for one in run.parameters.layers if (one.layer, one.direction) not in suspected]
    scored = [one for one in layers if one.entry is not None]
    if scored:
        yield f"{_nothing(scored, verdict)} over {text.counted(scored[0].rows, 'step')}{_chance(scored, verdict)}."
    for why in dict.fromkeys(one.why_not for one in layers if one.why_not is not None):
        places = _places([one for one in layers if one.why_not == why])
        yield f"The parameters of {places} have no score: {why}."


def _places(layers: list[ScoredLayer]) -> str:
    return listed([f"layer {one.layer} {one.direction}" for one in layers])


def _top(layers: list[ScoredLayer]) -> ScoredLayer:
    return max(layers, key=lambda one: one.top)


def _nothing(layers: list[ScoredLayer], verdict: Verdict) -> str:
    top = _top(layers)
    assert top.entry is not None
    name, at = top.entry
    found = "explains what differs" if verdict.verdict == "differ" else "stands out"
    most = f"{name}[{','.join(map(str, at))}] explains most, {_percent(top.top)} of the differences in its unit"
    return f"No single parameter {found} in {_places(layers)}: {most}"


def _chance(layers: list[ScoredLayer], verdict: Verdict) -> str:
    """How much chance alone explains, as the end of a sentence; nothing where the run differs."""
    top = _top(layers)
    if verdict.verdict == "differ":
        return ""
    more = "" if top.top <= top.chance else "; roundings that all go one way may give more"
    return f"; chance alone explains up to {_percent(top.chance)}{more}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _to_two_digits(values: Floats) -> dict[str, Any]:
    """The first two bytes of each number's float32; infinite where nothing is told."""
    halves = values.astype(np.float32).view(np.uint32) >> 16
    return array(halves, "<u2") | {"type": "b2"}
