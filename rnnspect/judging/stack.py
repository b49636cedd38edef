"""A whole stack: each layer on what it really received, from the first to the last."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from rnnspect.judging.chunks import Run
from rnnspect.judging.estimate import estimate
from rnnspect.judging.finding import Place
from rnnspect.judging.judge import Judge
from rnnspect.judging.recorded import judge_quantities
from rnnspect.parameters import LayerParameters
from rnnspect.verdict import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rnnspect.arithmetic.roundoff import Roundoff
    from rnnspect.declared import Declared
    from rnnspect.judging.finding import Finding
    from rnnspect.judging.look import State
    from rnnspect.observation import Observation
    from rnnspect.sequence import Sequence
    from rnnspect.spec import Spec


@dataclass
class Judged:
    """What was found in each place, which final states are off, and which layers were only estimated."""

    places: list[Place] = field(default_factory=list)
    finals: list[Point] = field(default_factory=list)
    """The final state nearest to its bound in each layer and direction."""
    estimated: list[tuple[int, str]] = field(default_factory=list)


@torch.inference_mode()
def judge_stack(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    observation: Observation,
    declared: Declared,
    progress: Callable[[Finding | None, int], None],
) -> Judged:
    u = replace(declared.roundoff, relative=observation.relative, absolute=observation.absolute)
    cell = spec.cell_type
    lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
    judged = Judged()
    x, error = sequence.x, None
    for layer in range(spec.num_layers):
        outputs: list[tuple[Tensor, Tensor | None]] = []
        for index, direction in enumerate(spec.directions):
            at = layer * spec.num_directions + index
            p = LayerParameters.of(parameters, layer, direction)
            state = tuple(initial[at] for initial in sequence.state)
            seen = observation.layers.get((layer, direction), {})
            reverse = direction == "reverse"
            if "h" in seen:
                c0 = state[1] if len(state) > 1 else None
                run = Run(x, seen["h"], state[0], c0, lengths, reverse, error)
                judge = Judge(cell, p, u, spec.nonlinearity_of(direction))
                found, c = judge(run, progress=progress)
                judged.places.append(Place(layer, direction, "h", found))
                others = {name: values for name, values in seen.items() if name != "h"}
                for name, finding in judge_quantities(judge.layer, run, others).items():
                    judged.places.append(Place(layer, direction, name, finding))
                outputs.append((seen["h"], None))
                known = [(_last(seen["h"], sequence, reverse), None), *_cell_state(c, judge.layer.own)]
            else:
                found_here = estimate(
                    cell, p, declared.roundoff, spec.nonlinearity_of(direction), x, error, state, lengths, reverse,
                    lambda steps: progress(None, steps),
                )  # fmt: skip
                judged.estimated.append((layer, direction))
                outputs.append((found_here.h, found_here.error))
                known = list(found_here.final)
            judged.finals += _finals(layer, direction, at, known, observation, declared)
        if layer + 1 < spec.num_layers:
            x, error = _input_of_next(outputs, sequence, u)
    return judged


def _input_of_next(
    outputs: list[tuple[Tensor, Tensor | None]], sequence: Sequence, u: Roundoff
) -> tuple[Tensor, Tensor | None]:
    """Both directions side by side, zero beyond an item's length; with an error where one was estimated, or where
    what was recorded is rounder than what the layer above received."""
    kind = functools.reduce(torch.promote_types, (value.dtype for value, _ in outputs))
    x, error = torch.cat([value.to(kind) for value, _ in outputs], -1), None
    if u.relative or u.absolute or any(error is not None for _, error in outputs):
        error = torch.cat([_kept(value, u) if error is None else error for value, error in outputs], -1)
    valid = sequence.valid()
    return (x, error) if valid is None else (torch.where(valid[..., None], x, 0), error)


def _kept(h: Tensor, u: Roundoff) -> Tensor:
    return h.double().abs().mul_(u.relative).add_(u.absolute)


def _last(h: Tensor, sequence: Sequence, reverse: bool) -> Tensor:
    """(B, P): h after the step that is processed last."""
    if reverse:
        return h[0]
    lengths = sequence.lengths or [sequence.steps] * sequence.batch
    return h[torch.tensor(lengths) - 1, torch.arange(sequence.batch)]


def _cell_state(c: State | None, own: int) -> list[tuple[Tensor, Tensor | None]]:
    """The cell state that each item ended with."""
    if c is None:
        return []
    number = c.number(torch.float64)
    return [(number.v, number.e * own)]


def _finals(
    layer: int,
    direction: str,
    at: int,
    known: list[tuple[Tensor, Tensor | None]],
    observation: Observation,
    declared: Declared,
) -> list[Point]:
    points = []
    u = declared.roundoff
    for name, given, (value, error) in zip(("h_n", "c_n"), (observation.h_n, observation.c_n), known, strict=False):
        if given is None:
            continue
        engine = given[at].double()
        exact = value.double()
        bound = exact.abs() * (u.stored + 2 * observation.relative) + 2 * observation.absolute + u.tiny
        if error is not None:
            bound = bound + error
        ratio = (engine - exact).abs() / bound
        ratio[(engine == exact) | (engine.isnan() & exact.isnan()) | ~bound.isfinite()] = 0
        ratio[ratio.isnan()] = torch.inf
        b, j = divmod(int(ratio.argmax()), ratio.shape[1])
        values = (float(v[b, j]) for v in (exact, engine, bound, ratio))
        points.append(Point(name, layer, direction, -1, b, j, *values))
    return points
