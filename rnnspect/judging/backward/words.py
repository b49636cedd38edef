"""Makes a verdict in words from what was found in a pass backwards."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator

import torch

from rnnspect.judging.assumption import At
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import BackwardJudged
from rnnspect.judging.backward.sums import SumEntry, SumFinding
from rnnspect.judging.finding import Deviation, Finding
from rnnspect.judging.verdict import Answer, Point, Verdict
from rnnspect.judging.words import not_finite, resolution_of_gates
from rnnspect.network.parameters import suffix
from rnnspect.network.shown import counted
from rnnspect.network.spec import Spec

NO_LOSS = "dL/d output is zero everywhere, so that every gradient is zero, and no mistake would be seen"


def backward_verdict(case: BackwardCase, judged: BackwardJudged) -> Verdict:
    """`differ` if any gradient is above its bound, else `cannot tell` if too much could hide, else `agree`."""
    spec, telling = case.spec, case.declared.telling
    points = list(_points(spec, judged))
    first = next((point for _, point in sorted(_wrong(spec, judged), key=lambda one: one[0])), None)
    unsure = _unsure(case, judged)
    answer: Answer = "differ" if first else "cannot tell" if unsure else "agree"
    return Verdict(
        verdict=answer,
        reason=None if first else unsure,
        arithmetic=case.declared.name,
        worst=max(points, key=lambda point: point.ratio, default=None),
        first=first,
        pattern=_pattern(spec, judged) if first else None,
        resolution=tuple(resolution_of_gates(spec, judged.gates.items(), telling)),
        compared=tuple(_compared(judged)),
        estimated=(),
        steps=case.sequence.steps,
        values=sum(one.values for one in (*judged.gates.values(), *judged.x.values())),
        cleared=sum(one.cleared for one in (*judged.gates.values(), *judged.x.values())),
        spec=spec,
        engine=case.engine,
        telling=telling,
        items=case.sequence.batch,
        backward=True,
    )


def _gate_point(spec: Spec, at: At, seen: Deviation) -> Point:
    starts = [0, *itertools.accumulate(spec.gate_sizes)]
    gate = bisect.bisect_right(starts, seen.unit) - 1
    name, unit = f"grad.{spec.cell_type.gates[gate]}_pre", seen.unit - starts[gate]
    return Point(name, *at, seen.step, seen.batch, unit, seen.manual, seen.engine, seen.bound, seen.ratio)


def _x_point(spec: Spec, layer: int, seen: Deviation) -> Point:
    numbers = seen.manual, seen.engine, seen.bound, seen.ratio
    return Point("grad.x", layer, spec.directions[0], seen.step, seen.batch, seen.unit, *numbers)


def _sum_point(at: At, found: SumFinding, entry: SumEntry) -> Point:
    name = f"grad.{found.parameter}{suffix(*at)}[{','.join(map(str, entry.place))}]"
    return Point(name, *at, -1, 0, entry.place[0], entry.manual, entry.engine, entry.bound, entry.ratio)


def _points(spec: Spec, judged: BackwardJudged) -> Iterator[Point]:
    for at, finding in judged.gates.items():
        if finding.worst:
            yield _gate_point(spec, at, finding.worst)
        yield from (one.worst for one in judged.states[at])
        yield from (_sum_point(at, one, one.worst) for one in judged.parameters[at])
    for layer, finding in judged.x.items():
        if finding.worst:
            yield _x_point(spec, layer, finding.worst)


def _wrong(spec: Spec, judged: BackwardJudged) -> Iterator[tuple[tuple[int, ...], Point]]:
    """The first of each kind that is above its bound, with its place: from the top layer down, in the order of going
    back; then dL/dx, the initial states and the parameters of the layer, item by item and row by row."""

    def key(layer: int, kind: int, *rest: int) -> tuple[int, ...]:
        return -layer, kind, *rest

    for at, finding in judged.gates.items():
        direction = spec.directions.index(at[1])
        if seen := finding.first:
            yield key(at[0], 0, seen.order, direction, seen.batch, seen.unit), _gate_point(spec, at, seen)
        for n, state in enumerate(judged.states[at]):
            if state.first:
                yield key(at[0], 2, direction, n), state.first
        for n, found in enumerate(judged.parameters[at]):
            if found.first:
                yield key(at[0], 3, direction, n), _sum_point(at, found, found.first)
    for layer, finding in judged.x.items():
        if seen := finding.first:
            yield key(layer, 1, seen.order), _x_point(spec, layer, seen)


def _unsure(case: BackwardCase, judged: BackwardJudged) -> str | None:
    telling = case.declared.telling
    for top in case.layers[-1:]:
        if not any(bool(g.any()) for g in (top.upstream, *top.last.values())):
            return NO_LOSS
    for (layer, direction), finding in judged.gates.items():
        where = f"layer {layer} {direction}"
        if beyond := _beyond(judged, (layer, direction)):
            return not_finite(case.parameters, case.sequence) or f"{where}: {beyond} overflow {case.spec.dtype}"
        if finding.coarse(telling) * 2 > finding.units:
            units = f"{finding.coarse(telling)} of {finding.units} units"
            return (
                f"{where}: in {units} {_coarse(case.spec, finding, telling)} could be wrong by {100 * telling:.0f} % "
                "unseen: it is zero, or lost in rounding; use a loss of more steps, or an input that leaves the gates "
                "half open"
            )
    return None


def _beyond(judged: BackwardJudged, at: At) -> str | None:
    """Which gradients of a layer and direction cannot be judged, in words; None where all can."""
    gates, x = judged.gates[at], judged.x[at[0]]
    if gates.unjudged:  # those of the initial states are among them
        return f"{counted(gates.unjudged, 'gradient')} of its pre-activations and initial states"
    for one in judged.parameters[at]:
        if one.unjudged:
            return f"{one.unjudged} of {one.count} entries of dL/d{one.parameter}{suffix(*at)}"
    return f"{x.unjudged} of {x.values} entries of dL/dx" if x.unjudged else None


def _coarse(spec: Spec, finding: Finding, telling: float) -> str:
    """The gates whose gradients could be wrong unseen, in words: the gradient of f or o."""
    gates = spec.cell_type.gates
    coarse = [gate for gate, units in zip(gates, finding.resolution, strict=True) if bool((units > telling).any())]
    return "a gradient" if len(gates) == 1 else f"the gradient of {' or '.join(coarse)}"


def _compared(judged: BackwardJudged) -> Iterator[tuple[str, str]]:
    for at in judged.gates:
        where = f"layer {at[0]} {at[1]}"
        yield where, "dL/dpre-activations"
        yield from ((where, f"dL/d{state.worst.quantity.removeprefix('grad.')[0]}0") for state in judged.states[at])
        yield from ((where, f"dL/d{one.parameter}") for one in judged.parameters[at])
    yield from ((f"layer {layer}", "dL/dx") for layer in judged.x)


def _pattern(spec: Spec, judged: BackwardJudged) -> str:
    """Where the wrong gradients are."""
    said = []
    for at, finding in judged.gates.items():
        if finding.over:
            said.append(f"layer {at[0]} {at[1]}: {_gates(spec, finding)}")
    said += [f"dL/dx of layer {layer}" for layer, finding in judged.x.items() if finding.over]
    for at in judged.gates:
        said += [
            f"dL/d{state.first.quantity.removeprefix('grad.')} of layer {at[0]} {at[1]}"
            for state in judged.states[at]
            if state.first
        ]
        said += [
            f"{found.wrong} of {found.count} entries of dL/d{found.parameter}{suffix(*at)}"
            for found in judged.parameters[at]
            if found.first
        ]
    return "; ".join(said)


def _gates(spec: Spec, finding: Finding) -> str:
    over = finding.over
    assert over is not None
    blocks = over.units.split_with_sizes(spec.gate_sizes)
    gates = [gate for gate, units in zip(spec.cell_type.gates, blocks, strict=True) if bool(units.any())]
    alike = len(set(spec.gate_sizes)) == 1
    units = torch.stack(blocks).any(0) if alike else over.units
    which = f"gate{'s' if len(gates) > 1 else ''} {', '.join(gates)}, " if spec.cell_type.gates != ("h",) else ""
    first, last = over.first_step, over.last_step
    steps = f"step {first}" if first == last else f"steps {first}–{last}"
    few = f", {int(units.sum())} of {len(units)} units" if not bool(units.all()) else ""
    return f"{which}{steps}{few}, {over.count} of {finding.values} gradients"
