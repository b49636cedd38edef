"""What a run says of its engine's parameters, as JSON: suspects, sentences, and the pictures of each parameter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnspect.judging.suspect import Suspect
from rnnspect.judging.verdict import Verdict
from rnnspect.network.shown import apart
from rnnspect.reporting.data import RunReport
from rnnspect.reporting.parameters import Array, ScoredLayer
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
    """What stands out of a layer that has no suspect: nothing; and of which layers nothing can be said."""
    verdict = run.verdict
    if any(not cause.left for cause in verdict.causes):
        yield "A known mistake explains this run. What a parameter explains of it is a consequence of that, or chance."
    suspected = {(one.layer, one.direction) for one in verdict.suspects}
    for layer in run.parameters.layers:
        where = f"layer {layer.layer} {layer.direction}"
        if layer.why_not is not None:
            yield f"The parameters of {where} have no score: {layer.why_not}."
        elif not layer.top:
            yield f"Nothing is left of {where} that a parameter could explain."
        elif (layer.layer, layer.direction) not in suspected:
            yield f"No single parameter stands out in {where}: {_top(layer, verdict)}."


def _top(layer: ScoredLayer, verdict: Verdict) -> str:
    """The largest score, and how large one is that means nothing."""
    assert layer.entry is not None
    name, at = layer.entry
    most = f"{name}[{','.join(map(str, at))}] explains most, {_percent(layer.top)} of what is left in its unit"
    steps = text.counted(layer.rows, "step")
    more = "" if layer.top <= layer.chance or verdict.verdict == "differ" else ", and rounding to one side more"
    return f"{most} over {steps}; chance alone gives up to {_percent(layer.chance)}{more}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _to_two_digits(values: Array) -> dict[str, Any]:
    """The first two bytes of each number's float32; infinite where nothing is told."""
    halves = values.astype(np.float32).view(np.uint32) >> 16
    return array(halves, "<u2") | {"type": "b2"}
