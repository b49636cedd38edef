"""A whole stack: each layer on what it really received, from the first to the last."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from rnnspect.judging.chunks import Run
from rnnspect.judging.estimate import estimate
from rnnspect.judging.finals import Expected, Key, before_last, is_coarse, last, meaning, past_use, where, without_last
from rnnspect.judging.finding import Place
from rnnspect.judging.inputs import Errors, beside
from rnnspect.judging.judge import Judge
from rnnspect.judging.look import Layer
from rnnspect.judging.not_finite import not_finite
from rnnspect.judging.recorded import judge_quantities
from rnnspect.kept import EXACT, Kept
from rnnspect.parameters import LayerParameters
from rnnspect.verdict import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rnnspect.arithmetic.roundoff import Roundoff
    from rnnspect.cells.functions import Nonlinearity
    from rnnspect.declared import Declared
    from rnnspect.judging.finding import Finding
    from rnnspect.judging.inputs import Steps
    from rnnspect.judging.look import State
    from rnnspect.observation import Observation
    from rnnspect.sequence import Sequence
    from rnnspect.spec import Spec
_COME_AND_GONE = 31 * 2**20
"""Bytes. Until glibc has seen a block of some size freed, it gives smaller ones back to the system at once, and to get
them again costs several times what is computed in them (mallopt(3), M_MMAP_THRESHOLD)."""


class Held(NamedTuple):
    p: LayerParameters
    nonlinearity: Nonlinearity
    run: Run
    u: Roundoff


@dataclass
class Judged:
    """What was found in each place, which final states are off, and which layers were only estimated."""

    places: list[Place] = field(default_factory=list)
    finals: list[Point] = field(default_factory=list)
    """The final state nearest to its bound in each layer and direction."""
    estimated: list[tuple[int, str]] = field(default_factory=list)
    runs: dict[tuple[int, str], Held] = field(default_factory=dict)
    """What was observed of each layer and direction, and what it is held to."""
    meanings: dict[Key, str] = field(default_factory=dict)
    """What a wrong final state is instead, where it is something else of the run: "that of layer 1"."""
    past_use: list[str] = field(default_factory=list)
    """Final states that nothing can be said of, and why."""
    not_finite: str | None = None
    """Where what the run was given is no number, if that kept something from being judged."""


@torch.inference_mode()
def judge_stack(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    observation: Observation,
    declared: Declared,
    progress: Callable[[Finding | None, int], None],
) -> Judged:
    torch.empty(_COME_AND_GONE, dtype=torch.uint8)
    cell = spec.cell_type
    lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
    judged = Judged()
    x: Steps = sequence.x
    error: Steps | None = None
    expected: dict[Key, Expected] = {}
    histories: dict[tuple[int, str], Tensor] = {}
    for layer in range(spec.num_layers):
        outputs: list[tuple[Tensor, Steps | None]] = []
        for index, direction in enumerate(spec.directions):
            at = layer * spec.num_directions + index
            p = LayerParameters.of(parameters, layer, direction)
            own = declared.over(p.weight_ih.shape[1] + p.weight_hh.shape[1] + 2)
            state = tuple(initial[at] for initial in sequence.state)
            seen = observation.layers.get((layer, direction), {})
            kept = {name: observation.kept_of((layer, direction, name)) for name in seen}
            c0 = state[1] if len(state) > 1 else None
            reverse = direction == "reverse"
            earlier: list[Callable[[], Tensor | None]]
            if "h" in seen:
                u = replace(own, relative=kept["h"].relative, absolute=kept["h"].absolute)
                received = observation.received.get((layer, direction))
                run = Run(x, seen["h"], state[0], c0, lengths, reverse, error, received=received)
                judge = Judge(cell, p, u, spec.nonlinearity_of(direction))
                judged.runs[layer, direction] = Held(p, spec.nonlinearity_of(direction), run, u)
                found, c = judge(run, progress=progress)
                judged.places.append(Place(layer, direction, "h", found))
                of_layer = judge.layer
                outputs.append((seen["h"], Errors(seen["h"], kept["h"]) if kept["h"].rounded else None))
                ending = last(seen["h"], sequence.lengths, reverse)
                known = [(ending, kept["h"].error(ending)), *_cell_state(c, judge.layer.own)]
                earlier = [
                    functools.partial(before_last, seen["h"], lengths, reverse),
                    functools.partial(_earlier_c, judge, run),
                ]
            else:
                found_here = estimate(
                    cell, p, own, spec.nonlinearity_of(direction), x, error, state, lengths, reverse,
                    lambda steps: progress(None, steps),
                )  # fmt: skip
                judged.estimated.append((layer, direction))
                run = Run(x, found_here.h, state[0], c0, lengths, reverse, error, found_here.error)
                of_layer = Layer(cell, p, own, spec.nonlinearity_of(direction))
                outputs.append((found_here.h, found_here.error))
                known = list(found_here.final)
                earlier = [functools.partial(before_last, found_here.h, lengths, reverse), lambda: None]
            for name, finding in judge_quantities(of_layer, run, seen, kept).items():
                judged.places.append(Place(layer, direction, name, finding))
            histories[layer, direction] = outputs[-1][0]
            for name, final, before in zip(("h_n", "c_n"), known, earlier, strict=False):
                expected[name, layer, direction] = _expected(final, declared, observation.kept_of(name), before)
        if layer + 1 < spec.num_layers:
            x, error = beside([h for h, _ in outputs], sequence.valid()), None
            if any(known is not None for _, known in outputs):
                error = beside([Errors(h, EXACT) if known is None else known for h, known in outputs])
    _judge_finals(spec, judged, expected, histories, sequence, observation)
    if any(place.finding.unjudged for place in judged.places):
        judged.not_finite = not_finite(parameters, sequence)
    return judged


def _cell_state(c: State | None, own: int) -> list[tuple[Tensor, Tensor | None]]:
    """The cell state that each item ended with."""
    if c is None:
        return []
    number = c.number(torch.float64)
    return [(number.v, number.e * own)]


def _earlier_c(judge: Judge, run: Run) -> Tensor | None:
    shorter = without_last(run)
    c = None if shorter is None else judge(shorter)[1]
    return None if c is None else c.number(torch.float64).v


def _expected(
    final: tuple[Tensor, Tensor | None],
    declared: Declared,
    kept: Kept,
    earlier: Callable[[], Tensor | None],
) -> Expected:
    u, value = declared.roundoff, final[0].double()
    bound = value.abs() * (u.stored + kept.relative) + kept.absolute + u.tiny
    return Expected(value, bound if final[1] is None else bound + final[1], earlier)


def _judge_finals(
    spec: Spec,
    judged: Judged,
    expected: dict[Key, Expected],
    histories: dict[tuple[int, str], Tensor],
    sequence: Sequence,
    observation: Observation,
) -> None:
    for key, own in expected.items():
        name, layer, direction = key
        given = observation.h_n if name == "h_n" else observation.c_n
        if given is None:
            continue
        engine = given[layer * spec.num_directions + spec.directions.index(direction)].double()
        unknown = ~own.bound.isfinite()
        if (layer, direction) in judged.estimated:  # a spread as wide as this is no bound: by then runs have parted
            unknown |= is_coarse(own)
        known = ~unknown
        ratio = (engine - own.value).abs() / own.bound
        ratio[(engine == own.value) | (engine.isnan() & own.value.isnan()) | unknown] = 0
        ratio[ratio.isnan()] = torch.inf
        differs = bool((ratio > 1).any())
        if (why := past_use(own)) and not differs:
            judged.past_use.append(f"{name} of {where(spec, layer, direction)} {why}")
            continue
        if not bool(known.any()):  # NaN, as the engine's is: there is nothing to compare
            continue
        b, j = divmod(int(torch.where(known, ratio, -1).argmax()), ratio.shape[1])
        values = (float(v[b, j]) for v in (own.value, engine, own.bound, ratio))
        judged.finals.append(Point(name, layer, direction, -1, b, j, *values))
        if differs and (said := meaning(spec, key, engine, expected, histories, sequence)):
            judged.meanings[key] = said
