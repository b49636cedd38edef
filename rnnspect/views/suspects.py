"""The parameters that seem to be others in the engine, as labels and texts."""

from __future__ import annotations

from collections.abc import Iterator

from rnnspect.errors import listed
from rnnspect.judging.recovery import RecoveredLayer
from rnnspect.judging.suspect import Suspect
from rnnspect.judging.verdict import Verdict
from rnnspect.views import text


def told(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Those that are proof, or that explain a run which is wrong anyway; then those that rounding may be."""
    for one in verdict.suspects:
        place = f" ({one.place})" if one.place else ""
        if not one.certain:
            yield "Hint", f"perhaps {one.said}{place}; {floor(one)}"
            continue
        yield "Suspect", f"{one.said}{place}"
        yield "", f"with that, what differs is {text.times(one.shrinks)} smaller; {chance(one)}"
        if verdict.found_by == "evidence":
            yield "", floor(one)


def recovered(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """What the engine's parameters are, as far as what it gave shows them."""
    if verdict.recovered is None:
        return
    for layer in verdict.recovered.layers:
        where = f"layer {layer.layer} {layer.direction}"
        rows = text.counted(layer.rows, "step") if verdict.items == 1 else f"{layer.rows:,} steps and items"
        if not layer.explains:
            yield "Weights", f"no other weights explain {where}: its equations or its input differ"
            continue
        yield "Weights", f"{where}, from {rows}: {_how_close(layer)}"
        for one in layer.likenesses:
            yield "", text.printable(one.said)
        if layer.lost:
            units = "unit" if len(layer.lost) == 1 else "units"
            yield "", f"no other weights explain {units} {listed([*map(str, layer.lost)])}"
        if layer.together:
            yield "", "of two biases that are always added only the sum can be told; bias_hh keeps your value"
        if layer.untold:
            yield "", f"{layer.untold:,} of {layer.count:,} numbers cannot be told here, and keep your value"
    for said in verdict.recovered.left_out:
        yield "Weights", said


def _how_close(layer: RecoveredLayer) -> str:
    if not layer.likenesses:
        return "all weights that can be told are as here"
    return f"with these weights what differs is {text.times(layer.shrinks)} smaller"


def chance(one: Suspect) -> str:
    return f"by chance: 1 in 10^{-one.log10_chance:,.0f}"


def floor(one: Suspect) -> str:
    return f"rounding alone can look like a change of up to {one.floor:.1e}; this one is {one.size:.1e}"
