"""Which known mistake of going back explains gradients of which only the results were recorded.

The pass of one layer is gone over freely once more with the mistake in it, in each direction that can have it. Mistakes
that change what nobody recorded, such as the terms of a sum, are not tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.causes.backward.known import catalogue
from rnnspect.causes.search.effort import Effort
from rnnspect.judging.backward.case import BackwardReading, SeenLayer
from rnnspect.judging.backward.estimate import FreeLayer, Told
from rnnspect.judging.backward.judge import BackwardRun
from rnnspect.judging.backward.passing import Otherwise
from rnnspect.judging.backward.results import ResultsCase, expected
from rnnspect.judging.backward.results_words import ratio_of_results
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.interpretation import At
from rnnspect.judging.verdict import Explained, Explanation
from rnnspect.network.parameters import LayerParameters, suffix

Ratios = Mapping[str, float]
"""By the name of a recorded gradient the largest |difference| / bound."""
_STEP = 3_000_000  # nanoseconds that a step of a layer takes, there and back
_OF_BOUNDS = ("slopes",)
"""Families whose changes are written for numbers with a bound."""


def explain_results(
    case: ResultsCase, told: Mapping[str, Told], kept: Mapping[str, Tensor], seconds: float | None = None
) -> Explained:
    """`told` is what the equations give, `kept` how far each recorded number may be off by how it was written down.

    The search ends after a fixed amount of work, or after so many `seconds`; with 0 none is made.
    """
    if seconds is not None and seconds <= 0:
        return Explained()
    if case.spec.num_layers > 1:
        return Explained(note="known mistakes of going back are looked for in recordings of one layer; check it alone")
    effort, before = Effort(seconds), _ratios(case, told, kept)
    readings = {at: _reading(case, at) for at in case.spec.places}
    known = {at: {one.key: one for one in _catalogue(case, one_reading, told)} for at, one_reading in readings.items()}
    first = next(iter(known.values()))
    steps_wrong = any(before.get(name, 0.0) > 1 for name in ("x", "h0", "c0"))
    found: list[tuple[BackwardCause, float]] = []
    tried = 0
    for key, cause in first.items():
        if effort.is_over:
            break
        if (cause.shows == "sums") == steps_wrong or any(key not in there for there in known.values()):
            continue
        made = {at: known[at][key].change(reading) for at, reading in readings.items()}
        if (after := _after(case, told, readings, made, effort)) is None:
            continue
        tried += 1
        if (ratio := max(_ratios(case, after, kept).values(), default=0.0)) <= 1:
            found.append((cause, ratio))
    worst = max(before.values(), default=0.0)
    scope = tuple(f"layer {layer} {direction}" for layer, direction in readings)
    causes = tuple(
        Explanation(one.name, one.family, one.parameters, one.explanation, one.fix, worst, ratio, scope, ())
        for one, ratio in found
    )
    groups = (tuple(one.name for one in causes),) if len(causes) > 1 else ()
    note = None if causes else f"none of {tried} known mistakes of going back explains it"
    return Explained(causes, groups, note)


def _ratios(case: ResultsCase, told: Mapping[str, Told], kept: Mapping[str, Tensor]) -> dict[str, float]:
    found = {}
    for name, given in case.given.named.items():
        own, bound = told[name]
        allowed = bound + kept[name] + own.abs() * case.declared.roundoff.stored
        found[name] = float(ratio_of_results(own, given.double(), allowed).max())
    return found


def _reading(case: ResultsCase, at: At) -> BackwardReading:
    """As much of a reading as there is: nobody saw the gates' gradients."""
    spec, sequence, end = case.spec, case.sequence, suffix(*at)
    row, p = spec.row(*at), LayerParameters.of(case.parameters, *at)
    lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
    state = [initial[row] for initial in sequence.state]
    shape = sequence.steps, sequence.batch
    parts = case.upstream.output.chunk(spec.num_directions, -1)
    upstream = parts[spec.directions.index(at[1])]
    h = torch.zeros(*shape, spec.output_size, dtype=sequence.x.dtype)
    run = LayerRun(sequence.x, h, state[0], state[1] if len(state) > 1 else None, lengths, at[1] == "reverse")
    seen = torch.zeros(*shape, len(p.weight_ih), dtype=sequence.x.dtype)
    finals = {name: g[row] for name, g in (("h", case.upstream.h_n), ("c", case.upstream.c_n)) if g is not None}
    gradients = {name.removesuffix(end): g for name, g in case.given.parameters.items() if name.endswith(end)}
    states = {name[0]: g[row] for name, g in case.given.named.items() if name in ("h0", "c0")}
    return BackwardReading(
        *at, spec.cell_type, spec.nonlinearity_of(at[1]), p, case.declared.over(p.terms),
        BackwardRun(run, seen, upstream, finals), torch.zeros_like(sequence.x), states, gradients,
    )  # fmt: skip


def _catalogue(case: ResultsCase, reading: BackwardReading, told: Mapping[str, Told]) -> Iterator[BackwardCause]:
    end = suffix(*reading.at)
    known = {name.removesuffix(end): one for name, one in told.items() if name.endswith(end)}
    back = reading.back
    there = {name: g for name, g in case.given.parameters.items() if name.endswith(end)}
    layer = SeenLayer(back.run.x, None, back.upstream, back.last, reading.grad_x, {}, reading.states, there)  # type: ignore[arg-type]
    seen = Seen(reading, layer, known, _order(case, told))
    yield from (cause for cause in catalogue(seen) if cause.family not in _OF_BOUNDS)


def _order(case: ResultsCase, told: Mapping[str, Told]) -> int | None:
    """How many steps are gone back over before the first wrong dL/dx, where the steps are read forwards."""
    if case.given.x is None or case.spec.directions != ("forward",):
        return None
    own, bound = told["x"]
    wrong = ((own - case.given.x.double()).abs() > bound).flatten(1).any(1).nonzero()
    return case.sequence.steps - 1 - int(wrong[-1]) if len(wrong) else None


def _after(
    case: ResultsCase,
    told: Mapping[str, Told],
    before: Mapping[At, BackwardReading],
    made: Mapping[At, BackwardReading],
    effort: Effort,
) -> dict[str, Told] | None:
    """What the mistakes would have given; None where that needs what nobody recorded."""
    changed = False
    for at, reading in made.items():
        back, own = reading.back, before[at]
        if (
            reading.otherwise.terms
            or reading.shown is not None
            or back.seen is not own.back.seen
            or back.run is not own.run
        ):
            return None
        plain = (reading.changes, reading.cell, reading.otherwise) == (own.changes, own.cell, Otherwise())
        changed |= not plain or back is not own.back
    found = dict(told)
    if changed:
        effort.spend(_STEP * case.sequence.steps * len(made), 0)
        found = expected(_with_upstream(case, made), lambda layer, at: _with(layer, made[at]))
    for at, reading in made.items():
        if reading.sums is not None:
            end = suffix(*at)
            own_sums = {name.removesuffix(end): one for name, one in found.items() if name.endswith(end)}
            found |= {name + end: one for name, one in reading.sums(own_sums).items()}
    return found


def _with(layer: FreeLayer, reading: BackwardReading) -> FreeLayer:
    return replace(layer, back=reading.cell, changes=reading.changes, otherwise=reading.otherwise)


def _with_upstream(case: ResultsCase, made: Mapping[At, BackwardReading]) -> ResultsCase:
    output = torch.cat([one.back.upstream for one in made.values()], -1)
    states = {}
    for name, given in (("h", case.upstream.h_n), ("c", case.upstream.c_n)):
        if given is not None:
            rows = [made[at].back.last.get(name, torch.zeros_like(given[0])) for at in case.spec.places]
            states[f"{name}_n"] = torch.stack(rows)
    return replace(case, upstream=replace(case.upstream, output=output, **states))
