"""The parameters that seem to differ in the engine, as labels and texts."""

from __future__ import annotations

from collections.abc import Iterator

from rnnspect.errors import listed
from rnnspect.judging.recovery import RecoveredLayer
from rnnspect.judging.suspect import Suspect
from rnnspect.judging.verdict import Verdict
from rnnspect.network.recording import RECORDING
from rnnspect.views import text


def lines(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """The suspects, as labels and texts: those that are proof, or that explain a run which is wrong anyway, and hints,
    which may be rounding."""
    for one in verdict.suspects:
        place = f" ({one.place})" if one.place else ""
        if not one.certain:
            yield "Hint", f"possibly {one.said}{place}; {floor(one)}"
            continue
        yield "Suspect", f"{one.said}{place}"
        yield "", f"with that, the differences are {text.times(one.shrinks)} smaller; {chance(one)}"
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
            said = f"no other weights were found that explain {where}; its equations or its input may differ"
            yield "Weights", said
            continue
        yield "Weights", f"{where}, from {rows}: {_how_close(layer, verdict)}"
        for one in layer.likenesses:
            yield "", text.printable(one.said)
        for name in verdict.recovered.compared:
            if layer.likenesses and all(one.checkpoint != name for one in layer.likenesses):
                yield "", f"no weight of {text.printable(name)} was found in the engine"
        if layer.lost:
            units = "unit" if len(layer.lost) == 1 else "units"
            yield "", f"no other weights were found that explain {units} {listed([*map(str, layer.lost)])}"
        if layer.exact and layer.likenesses:
            yield (
                "",
                "weights that the lines above give exactly are set to that, which explains the run equally well",
            )
        if layer.together and not (layer.exact and layer.likenesses):
            yield "", "where only the sum bias_ih + bias_hh can be recovered, your bias_hh is kept"
        if layer.untold:
            kept = "do not show in this run; yours are kept"
            moved = "cannot be distinguished by this run; they are set to one choice that gives this h"
            yield "", f"{layer.untold:,} of {layer.count:,} weights {kept if layer.kept else moved}"
            yield "", f"{layer.why_untold}"
    for said in verdict.recovered.left_out:
        yield "Weights", said


def to_try(verdict: Verdict) -> Iterator[str]:
    """What to do about a recording that nothing explains."""
    explained = verdict.recovered is not None and any(layer.explains for layer in verdict.recovered.layers)
    if verdict.engine.name != RECORDING or verdict.causes or verdict.suspects or verdict.reason or explained:
        return
    if verdict.backward or verdict.estimated:  # whose note says what to record
        return
    seen = {quantity for _, quantity in verdict.compared}
    gates = [gate for gate in verdict.spec.cell_type.gates if gate not in seen]
    yield "compare the engine's weights, input and initial state with yours" + (
        f"; record gates too (l0.forward.{gates[0]}, …): the first wrong one shows where to look" if gates else ""
    )


def _how_close(layer: RecoveredLayer, verdict: Verdict) -> str:
    if not layer.likenesses:
        here = layer.layer, layer.direction
        if any((one.layer, one.direction) == here for one in verdict.suspects):
            return "apart from those above, no weight was found to differ from yours"
        first = verdict.first
        if layer.kept and first and (first.layer, first.direction, first.quantity) == (*here, "h"):
            return "no weight was found to differ from yours: none does, or the differences are too small to show which"
        if layer.kept or verdict.agrees:
            return "all weights that this run shows are equal to yours"
    return f"with the recovered weights the differences are {text.times(layer.shrinks)} smaller"


def chance(one: Suspect) -> str:
    return f"probability of coincidence: 1 in 10^{-one.log10_chance:,.0f}"


def floor(one: Suspect) -> str:
    return f"rounding alone can look like a change of {one.floor:.1e} or less; this one is {one.size:.1e}"
