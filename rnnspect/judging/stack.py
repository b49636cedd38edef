"""A whole stack: each layer on what it really received, from the first to the last."""

from __future__ import annotations

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
                judge = Judge(cell, p, u, spec.nonlinearity or "tanh")
                found, c = judge(run, progress=progress)
                judged.places.append(Place(layer, direction, "h", found))
                others = {name: values for name, values in seen.items() if name != "h"}
                for name, finding in judge_quantities(judge.layer, run, others).items():
                    judged.places.append(Place(layer, direction, name, finding))
                outputs.append((seen["h"], None))
                known = [(_last(seen["h"], sequence, reverse), None), *_cell_state(c, lengths)]
            else:
                found_here = estimate(
                    cell, p, declared.roundoff, spec.nonlinearity or "tanh", x, error, state, lengths, reverse,
                    lambda steps: progress(None, steps),
                )  # fmt: skip
                judged.estimated.append((layer, direction))
                outputs.append((found_here.h, found_here.error))
                known = list(found_here.final)
            judged.finals += _finals(layer, direction, at, known, observation, declared)
        x, error = _input_of_next(outputs, sequence)
    return judged


def _input_of_next(outputs: list[tuple[Tensor, Tensor | None]], sequence: Sequence) -> tuple[Tensor, Tensor | None]:
    """Both directions side by side, zero beyond an item's length; with an error where one was estimated."""
    values, errors = zip(*outputs, strict=True)
    x = (
        values[0]
        if len(values) == 1
        else torch.cat([value.to(torch.promote_types(*_types(values))) for value in values], -1)
    )
    error = None
    if any(e is not None for e in errors):
        full = [
            torch.zeros_like(v, dtype=torch.float64) if e is None else e for v, e in zip(values, errors, strict=True)
        ]
        error = torch.cat(full, -1)
    valid = sequence.valid()
    return (x, error) if valid is None else (torch.where(valid[..., None], x, 0), error)


def _types(values: tuple[Tensor, ...]) -> tuple[torch.dtype, torch.dtype]:
    return values[0].dtype, values[-1].dtype


def _last(h: Tensor, sequence: Sequence, reverse: bool) -> Tensor:
    """(B, P): h after the step that is processed last."""
    if reverse:
        return h[0]
    lengths = sequence.lengths or [sequence.steps] * sequence.batch
    return h[torch.tensor(lengths) - 1, torch.arange(sequence.batch)]


def _cell_state(c: State | None, lengths: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """The cell state that a run ended with; a padded item's is not that of the last step of the batch."""
    if c is None or lengths is not None:
        return []
    number = c.number(torch.float64)
    return [(number.v, number.e)]


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
        apart = torch.where((engine == exact) | (engine.isnan() & exact.isnan()), 0, (engine - exact).abs())
        ratio = torch.where(apart == 0, 0, apart / bound).nan_to_num(torch.inf)
        b, j = divmod(int(ratio.argmax()), ratio.shape[1])
        values = (float(v[b, j]) for v in (exact, engine, bound, ratio))
        points.append(Point(name, layer, direction, -1, b, j, *values))
    return points
