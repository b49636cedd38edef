"""Makes a verdict in words from what was found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from rnnspect.judging.advice import hidden_share, losable, untested
from rnnspect.judging.assumption import At
from rnnspect.judging.case import Case
from rnnspect.judging.final_states import where
from rnnspect.judging.finding import PAST_USE, Deviation, Finding, PlaceFinding, WrongValues
from rnnspect.judging.stack import Judged
from rnnspect.judging.verdict import Answer, GateResolution, Point, Verdict
from rnnspect.network.sequence import Sequence
from rnnspect.network.shown import counted
from rnnspect.network.spec import Spec

RECORD = "record the output at every step"
"""What to do where only final states were."""


def verdict_of(case: Case, judged: Judged) -> Verdict:
    """`differ` if any address is above its bound, else `cannot tell` if too much could hide, else `agree`."""
    spec, declared, steps = case.spec, case.declared, case.sequence.steps
    first = _first(spec, judged)
    unsure = _unsure(case, judged)
    answer: Answer = "differ" if first else "cannot tell" if unsure else "agree"
    hides = [] if unsure else [hidden_share(case, place.finding) for place in judged.places if place.quantity == "h"]
    points = [_point(place, place.finding.worst) for place in judged.places if place.finding.worst] + judged.finals
    seen: list[PlaceFinding | Point] = [*judged.places, *judged.finals]
    return Verdict(
        verdict=answer,
        reason=None if first else unsure,
        arithmetic=declared.name,
        worst=max(points, key=lambda point: point.ratio, default=None),
        first=first,
        pattern=_pattern(spec, judged, first, steps) if first else None,
        resolution=tuple(
            resolution_of_gates(
                spec, [(place.at, place.finding) for place in judged.places if place.quantity == "h"], declared.telling
            )
        ),
        compared=tuple((f"layer {one.layer} {one.direction}", one.quantity) for one in seen),
        estimated=tuple(f"layer {layer} {direction}" for layer, direction in judged.estimated),
        steps=steps,
        values=_values(judged) or _of_final_states(case, judged),
        cleared=sum(place.finding.cleared for place in judged.places),
        spec=spec,
        engine=case.observation.engine,
        telling=declared.telling,
        items=case.sequence.batch,
        wrong=_wrong(judged),
        rounded=any(how.rounded for how in case.observation.kept.values()),
        notes=tuple(dict.fromkeys(filter(None, hides if answer == "agree" else ()))),
    )


def _first(spec: Spec, judged: Judged) -> Point | None:
    """The first address above its bound: in the lowest layer, then in processing order, then by direction, batch item,
    and by what a step computes first: c, of which h is made, before h. A final state comes after all steps."""
    quantities = spec.cell_type.quantities
    names = [*quantities, *(f"{name}_n" for name in quantities if name in spec.cell_type.states)]
    wrong = [(seen.order, _point(place, seen)) for place in judged.places if (seen := place.finding.first)]
    last = max((place.finding.steps for place in judged.places), default=0)
    ordered = [*wrong, *((last + 1, point) for point in judged.first_finals)]

    def key(one: tuple[int, Point]) -> tuple[int, ...]:
        order, at = one
        directions = spec.directions.index(at.direction)
        return at.layer, order, directions, at.batch, names.index(at.quantity), at.unit

    return min(ordered, key=key)[1] if ordered else None


_LARGER = "check with larger numbers in x, h0 or the biases"


def _zeros_would_agree(case: Case, place: PlaceFinding) -> bool:
    nearest, h = place.finding.worst, case.observation.layers.get(place.at, {}).get("h")
    if h is None or (nearest is not None and not abs(nearest.manual) <= nearest.bound):
        return False
    return float(h.abs().max()) <= (0.0 if nearest is None else nearest.bound)


def _unsure(case: Case, judged: Judged) -> str | None:
    """Why it cannot be told whether a run of which nothing is above its bound agrees; None where it can."""
    spec, telling = case.spec, case.declared.telling
    for place in judged.places:
        finding, where = place.finding, f"layer {place.layer} {place.direction}"
        if finding.unjudged:
            values = f"{finding.unjudged} of {finding.values} values"
            if any(layer == place.layer - 1 for layer, _ in judged.estimated):
                beyond = f"{where}: its input was not recorded, and rounding alone could explain any {values}"
            else:
                beyond = f"{where}: {values}, or {_overflow(case, place)}"
            return not_finite(case.parameters, case.sequence) or beyond
        if place.quantity == "h" and finding.coarse(telling) * 2 > finding.units:
            return f"{where}: {untested(case, place, telling)}"
        if place.quantity == "h" and (block := finding.could_be_lost):
            return f"{where}: {losable(case, finding, block)}"
        if finding.past_use * 2 > finding.values:
            return (
                f"{where}: its input was not recorded, and a correct engine could be off by more than {PAST_USE} at "
                f"{finding.past_use} of {finding.values} values; record the layers below it too"
            )
        if place.quantity == "h" and _zeros_would_agree(case, place):
            return f"{where}: every value of h is so small that zeros would agree, too; {_LARGER}"
    if judged.past_use:
        return "; ".join(judged.past_use)
    if not judged.places and not judged.finals:
        return "no value of this run was recorded"
    seen = {place.direction for place in judged.places if (place.layer, place.quantity) == (spec.num_layers - 1, "h")}
    if len(seen) < spec.num_directions:
        which = f" {next(d for d in spec.directions if d not in seen)}" if seen else ""
        return f"the top layer's{which} h was not recorded at every step; {RECORD}"
    return None


def _overflow(case: Case, place: PlaceFinding) -> str:
    """What left its range where values cannot be judged, in words that follow them: the recording, if it is of a dtype
    of less range than the engine's and holds an infinity; else the engine."""
    kept, dtype = case.observation.kept_of((*place.at, place.quantity)), case.spec.dtype
    seen = case.observation.layers.get(place.at, {}).get(place.quantity)
    less = kept.dtype is not None and 2 * torch.finfo(kept.dtype).max < torch.finfo(getattr(torch, dtype)).max
    if less and seen is not None and bool((seen.abs() >= kept.largest).any()):
        return f"values that lead to them, are beyond the range in which they were recorded ({kept.how}); use {dtype}"
    return f"sums that lead to them, overflow {dtype}"


def _point(place: PlaceFinding, seen: Deviation) -> Point:
    address = place.quantity, *place.at, seen.step, seen.batch, seen.unit
    return Point(*address, seen.manual, seen.engine, seen.bound, seen.ratio)


def resolution_of_gates(spec: Spec, found: Iterable[tuple[At, Finding]], telling: float) -> Iterator[GateResolution]:
    """What would have been seen of each gate of some layers and directions."""
    for at, finding in found:
        for gate, units in zip(spec.cell_type.gates, finding.resolution, strict=True):
            yield resolution_of_units(at, gate, units, telling)


def resolution_of_units(at: At, name: str, units: Tensor, telling: float) -> GateResolution:
    """What would have been seen of a gate, or of a result, by what would have been of each of its units."""
    worst = int(units.argmax())
    numbers = float(units.min()), float(units.median()), float(units[worst])
    return GateResolution(*at, name, *numbers, worst, int((units > telling).sum()))


def _pattern(spec: Spec, judged: Judged, first: Point, steps: int) -> str:
    """Where the differences are, in words: first in the layer and direction of the first one, then elsewhere."""
    wrong = [place for place in judged.places if place.finding.over]
    how_many = f"{_wrong(judged)} of {_values(judged)} values"
    if first.step < 0:
        others = dict.fromkeys(f"layer {place.layer}" for place in wrong)
        alone = not wrong and all(point.ratio <= 1 for point in judged.finals if point.quantity != first.quantity)
        at = where(spec, *first.at)
        begun = f"only the final state {first.quantity}" if alone else f"the final state {first.quantity} of {at}"
        rest = [f"then {', '.join(others)}", how_many] if wrong else []
        return "; ".join([begun, *_final_states(spec, judged, first), *rest])
    said = []
    layers = sorted({place.layer for place in wrong})
    if len(layers) < len({place.layer for place in judged.places}):
        said.append(f"only layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}")
    directions = {place.direction for place in wrong if place.layer == first.layer}
    if len(directions) < len({place.direction for place in judged.places if place.layer == first.layer}):
        in_layer = f" of layer {first.layer}" if len(layers) > 1 else ""
        said.append(f"only the {directions.pop()} direction{in_layer}")
    here = [place for place in wrong if place.at == first.at]
    gates = [place.quantity for place in here if place.quantity in spec.cell_type.gates]
    if gates and spec.cell_type.gates != ("h",):
        said.append("gate " + ", ".join(dict.fromkeys(gates)))
    place = next(place for place in here if place.quantity == first.quantity)
    assert place.finding.over is not None
    details = _where(place.finding.over, place, steps)
    if details and len({one.at for one in wrong}) > 1:
        details[0] = f"in {where(spec, *first.at)} {details[0]}"
    return "; ".join([*said, *details, *_final_states(spec, judged, first), how_many])


def _values(judged: Judged) -> int:
    return sum(place.finding.values for place in judged.places)


def _of_final_states(case: Case, judged: Judged) -> int:
    """How many values of final states were compared: said where nothing else was."""
    return sum(case.sequence.batch * case.spec.units(point.quantity) for point in judged.finals)


def _wrong(judged: Judged) -> int:
    return sum(place.finding.over.count for place in judged.places if place.finding.over)


def _final_states(spec: Spec, judged: Judged, first: Point) -> list[str]:
    """The other states that wrong final states equal; then the names of those that equal none."""
    said, plain = [], []
    for point in judged.finals:
        if point.ratio <= 1:
            continue
        place = where(spec, *point.at)
        if found := judged.meanings.get((point.quantity, *point.at)):
            said.append(f"{point.quantity} of {place} holds {found.said}")
        elif point.quantity != first.quantity or first.step >= 0:
            plain.append(f"{point.quantity} of {place}")
    return said + ([f"also {', '.join(plain)}"] if plain else [])


def _where(over: WrongValues, place: PlaceFinding, steps: int) -> list[str]:
    """Which steps, units and batch items are above the bound, where these are not all of them."""
    said, found = [], place.finding
    reverse = place.direction == "reverse"
    infinite = any(seen is not None and not math.isfinite(seen.engine) for seen in (found.first, found.worst))
    following = found.unjudged if infinite else 0
    dense = 2 * over.steps > over.last_step - over.first_step + 1
    if place.quantity == "c":  # an error in c fades on, so where it began says more than where it is
        said.append(f"c from step {over.last_step} down" if reverse else f"c from step {over.first_step} on")
    elif over.first_step == over.last_step:
        said += [f"step {over.first_step}" + ("" if following else " alone")] if steps > 1 else []
    elif dense and not reverse and over.first_step > 0 and over.last_step == steps - 1:
        before = "step 0 is" if over.first_step == 1 else f"steps 0 to {over.first_step - 1} are"
        said.append(f"from step {over.first_step} on ({before} right)")
    elif dense and reverse and over.last_step < steps - 1 and over.first_step == 0:
        said.append(f"from step {over.last_step} down (later steps are right)")
    elif over.last_step - over.first_step + 1 < steps or 2 * over.steps < found.steps:
        gaps = over.steps < over.last_step - over.first_step + 1
        between = f"{over.first_step} {'and' if gaps else 'to'} {over.last_step}"
        said.append(f"{over.steps} steps between {between}" if gaps else f"steps {between}")
    if int(over.units.sum()) < len(over.units):
        said.append(_listed("unit", over.units))
    if len(over.items) > 1 and int(over.items.sum()) < len(over.items):
        said.append(_listed("batch item", over.items))
    if following:
        said.append(f"{counted(following, 'more value')} cannot be checked, as they follow from one that is not finite")
    return said


def _listed(noun: str, chosen: Tensor) -> str:
    """unit 3; units 64–127; units 1, 4, 9; 17 of 128 units."""
    places: list[int] = chosen.nonzero().flatten().tolist()
    if len(places) == 1:
        return f"{noun} {places[0]}"
    if places[-1] - places[0] == len(places) - 1:
        return f"{noun}s {places[0]}–{places[-1]}"
    if len(places) <= 8:
        return f"{noun}s {', '.join(map(str, places))}"
    return f"{len(places)} of {len(chosen)} {noun}s"


def not_finite(parameters: Mapping[str, Tensor], sequence: Sequence) -> str | None:
    """Where the first NaN or infinity of what the run was given is, in words; None where there is none."""
    for name, tensor in parameters.items():
        if not name.startswith("head.") and (kind := _kind(tensor)):
            return f"{name} contains {kind}: nothing can be checked"
    for name, state in (("h0", sequence.h0), ("c0", sequence.c0)):
        if state is not None and (kind := _kind(state)):
            item = int((~state.isfinite()).any(2).any(0).nonzero()[0])
            return f"{name} contains {kind} for batch item {item}, which cannot be checked"
    valid = sequence.valid()
    bad = ~sequence.x.isfinite().all(-1)
    bad = bad if valid is None else bad & valid
    if not bool(bad.any()):
        return None
    step, item = (int(at) for at in bad.nonzero()[0])
    kind = _kind(sequence.x[step, item])
    return f"x contains {kind} at step {step}, batch item {item}; nothing after it can be checked"


def _kind(values: Tensor) -> str | None:
    if bool(torch.isfinite(values).all()):
        return None
    return "NaN" if bool(values.isnan().any()) else "infinity"
