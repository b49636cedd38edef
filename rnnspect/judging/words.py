"""From what was found to a verdict, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.verdict import Answer, GateResolution, Point, Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.declared import Declared
    from rnnspect.judging.finding import Over, Place, Seen
    from rnnspect.judging.stack import Judged
    from rnnspect.observation import Observation
    from rnnspect.spec import Spec


def verdict_of(spec: Spec, observation: Observation, declared: Declared, steps: int, judged: Judged) -> Verdict:
    """`differ` if any address is above its bound, else `cannot tell` if too much could hide, else `agree`."""
    first = _first(judged)
    unsure = _unsure(spec, judged)
    answer: Answer = "differ" if first else "cannot tell" if unsure else "agree"
    points = [_point(place, place.finding.worst) for place in judged.places if place.finding.worst] + judged.finals
    hidden = [place for place in judged.places if place.quantity == "h"]
    return Verdict(
        verdict=answer,
        reason=None if first else unsure,
        arithmetic=declared.name,
        worst=max(points, key=lambda point: point.ratio, default=None),
        first=first,
        pattern=_pattern(spec, judged, first, steps) if first else None,
        resolution=tuple(line for place in hidden for line in _resolution(spec, place)),
        observed=_observed(judged),
        estimated=tuple(f"layer {layer} {direction}" for layer, direction in judged.estimated),
        steps=steps,
        values=sum(place.finding.values for place in judged.places),
        explained=sum(place.finding.explained for place in judged.places),
        spec=spec,
        engine=observation.engine,
    )


def _first(judged: Judged) -> Point | None:
    """Lowest layer, then processing order, then direction, batch, unit; a final state comes after all steps."""
    found = [(place, place.finding.first) for place in judged.places]
    wrong = [(place.layer, seen.order, place.direction, _point(place, seen)) for place, seen in found if seen]
    if wrong:
        return min(wrong, key=lambda one: one[:3])[3]
    return next((point for point in judged.finals if point.ratio > 1), None)


def _unsure(spec: Spec, judged: Judged) -> str | None:
    for place in judged.places:
        finding, where = place.finding, f"layer {place.layer} {place.direction}"
        if finding.unjudged:
            return f"{where}: {finding.unjudged} of {finding.values} values leave the range of {spec.dtype}"
        if place.quantity == "h" and int(finding.coarse.sum()) * 2 > len(finding.coarse):
            coarse, units = int(finding.coarse.sum()), len(finding.coarse)
            return f"{where}: in {coarse} of {units} units a gate could be off by 0.01 and nobody would see it"
    if not judged.places and not judged.finals:
        return "nothing of this run was observed"
    if not any(place.quantity == "h" and place.layer == spec.num_layers - 1 for place in judged.places):
        return "the top layer's h was not observed at each step"
    return None


def _observed(judged: Judged) -> tuple[str, ...]:
    seen = [f"layer {place.layer} {place.direction} {place.quantity}" for place in judged.places]
    return (*seen, *(f"layer {point.layer} {point.direction} {point.quantity}" for point in judged.finals))


def _point(place: Place, seen: Seen) -> Point:
    return Point(
        place.quantity, place.layer, place.direction, seen.step, seen.batch, seen.unit,
        seen.manual, seen.engine, seen.bound, seen.ratio,
    )  # fmt: skip


def _resolution(spec: Spec, place: Place) -> list[GateResolution]:
    lines = []
    for gate, units in zip(spec.cell_type.gates, place.finding.resolution, strict=True):
        at = int(units.argmax())
        coarse = int((units > 0.01).sum())
        numbers = (float(units.min()), float(units.median()), float(units[at]))
        lines.append(GateResolution(place.layer, place.direction, gate, *numbers, at, coarse))
    return lines


def _pattern(spec: Spec, judged: Judged, first: Point, steps: int) -> str:
    """Where the differences are, in words."""
    wrong = [place for place in judged.places if place.finding.over]
    if not wrong:
        return f"only the final state {first.quantity}"
    said = []
    layers = sorted({place.layer for place in wrong})
    hidden = [place for place in judged.places if place.quantity == "h"]
    if spec.num_layers > 1 and len(layers) < len({place.layer for place in hidden}):
        said.append("only layer " + ", ".join(map(str, layers)))
    directions = {place.direction for place in wrong}
    if spec.bidirectional and len(directions) == 1:
        said.append(f"only the {directions.pop()} direction")
    gates = [place.quantity for place in wrong if place.quantity in spec.cell_type.gates]
    if gates and spec.cell_type.gates != ("h",):
        said.append("gate " + ", ".join(dict.fromkeys(gates)))
    place = next(place for place in wrong if (place.layer, place.direction) == (first.layer, first.direction))
    over = place.finding.over
    assert over is not None
    said += _where(over, place, steps)
    count = sum(place.finding.over.count for place in wrong if place.finding.over)
    said.append(f"{count} of {sum(place.finding.values for place in judged.places)} values")
    return "; ".join(said)


def _where(over: Over, place: Place, steps: int) -> list[str]:
    said = []
    reverse = place.direction == "reverse"
    if place.quantity == "c":
        onset = over.last_step if reverse else over.first_step
        said.append(f"c from step {onset} on")
    elif over.steps == 1:
        said.append(f"step {over.first_step} alone")
    elif not reverse and over.first_step > 0 and over.last_step == steps - 1:
        before = "step 0 is" if over.first_step == 1 else f"steps 0 to {over.first_step - 1} are"
        said.append(f"from step {over.first_step} on, {before} inside the bound")
    elif reverse and over.last_step < steps - 1 and over.first_step == 0:
        said.append(f"from step {over.last_step} down, the later ones are inside the bound")
    elif over.steps < place.finding.steps:
        said.append(f"{over.steps} steps between {over.first_step} and {over.last_step}")
    if int(over.units.sum()) < len(over.units):
        said.append(_listed("unit", over.units))
    if len(over.items) > 1 and int(over.items.sum()) < len(over.items):
        said.append(_listed("batch item", over.items))
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
