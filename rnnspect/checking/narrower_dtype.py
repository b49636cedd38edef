"""Why a run may differ although it is right: nobody said that it was computed, or stored, in a narrower dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase, expected
from rnnspect.judging.backward.results_words import results_verdict
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS, HALF_TYPES
from rnnspect.judging.observation import Observation, is_of
from rnnspect.judging.plain_steps import plainly
from rnnspect.judging.rounding import RecordedPrecision
from rnnspect.judging.stack import assumptions_of
from rnnspect.judging.verdict import Verdict

_NARROWER = ("bfloat16", "float16", "float32")
"""Ordered by bits, the fewest first, as nearly all numbers of a narrower dtype exist in the others, too."""
_MULTIPLIED = ("weight_ih", "weight_hh", "weight_hr")
_SHOWN = (
    "the output is rounded to {dtype}, which would explain this; if the state keeps more digits, check with "
    "--arithmetic {dtype}-wide"
)
_WHY = "{dtype} would explain this; if the engine ran in {dtype}, check a copy in {dtype} (--dtype {dtype})"
_ALLOWED = (
    "{dtype} would explain this: every value is a {dtype} number; if the engine ran in {dtype} or under autocast, "
    "check with --arithmetic {way}"
)
_WENT_BACK = (
    "{dtype} would explain this; if the engine ran in {dtype} or under autocast, check a copy in {dtype} (--dtype "
    "{dtype}), or with --arithmetic {dtype}; a run in {wider} only would show more"
)
Beginnings = list[tuple[Tensor, Tensor]]
"""Of each layer that was observed h of the first steps by the equations, and the engine's, (steps · items, units),
float64."""
_STEPS, _ROWS = 64, 256
"""How many steps are looked at, and steps × items together."""
_NEAR, _UNCERTAIN = 0.65, 0.2
"""How far from 1 a slope may be, and the standard deviation above which it says little. For gradients of runs in
bfloat16 slopes of 0.5 to 1.6 were measured, for runs with other errors of that size −0.7 to 0.3."""
_SLOPE, _SHARE = 0.25, 0.875
"""The least slope of a unit, and the share of units that need it. In LSTMs and GRUs of 8 units at least 15 of 16 had it
where parameters were rounded, and a third where weights had other errors of the same size."""


def if_narrower(case: Case, judged: Callable[[Case], Verdict]) -> str | None:
    """Why the run would be right in a narrower dtype; None where there is none in which it does not differ.

    Either the engine only shows its numbers rounded to that dtype; or it ran in it, or under autocast, which its errors
    show: they are those of rounding parameters and x. Where rounding these changes nothing, what was seen has to be
    numbers of that dtype. An engine may round other things than autocast does, such as the sum of its biases: if all
    that was seen are numbers of the dtype, it is enough that its arithmetic agrees, or that it does not differ and the
    errors are those of rounding in all values together.
    """
    layers = case.observation.layers.values()
    if not layers or not all("h" in seen for seen in layers):
        return None
    own, perhaps = beginnings(case), None
    for name, dtype in _narrower_than(case.spec.dtype):
        seen = case.observation.of_numbers(dtype)
        if seen and name in HALF_TYPES and judged(_shown_in(case, dtype)).verdict != "differ":
            return _SHOWN.format(dtype=name)
        made = _as_by_autocast(case, name, seen or replace(case.observation, kept={}))
        for one in (made, _with_own_biases(made, case)):
            share = _come_of_rounding(own, beginnings(one), seen is not None)
            if (share >= _SHARE or (share and seen)) and judged(one).verdict != "differ":
                if share >= _SHARE:
                    return _WHY.format(dtype=name)
                perhaps = perhaps or _ALLOWED.format(dtype=name, way=name)
    return _if_allowed(case, judged) or perhaps


def _if_allowed(case: Case, judged: Callable[[Case], Verdict]) -> str | None:
    """The first arithmetic that agrees with the run, of the narrowest dtype of which all that was seen are numbers:
    most of those of bfloat16 are numbers of float16 as well."""
    cell, one_by_one = case.spec.cell_type, case.observation.engine.one_by_one
    name = next((name for name, dtype in _narrower_than(case.spec.dtype) if case.observation.of_numbers(dtype)), None)
    ways = (name, f"{name}-wide", f"{name}-products") if name in HALF_TYPES else (name,)
    for way in filter(None, ways):
        if judged(replace(case, declared=ARITHMETICS[way].for_cell(cell, one_by_one))).agrees:
            return (_ALLOWED if name in HALF_TYPES else _WHY).format(dtype=name, way=way)
    return None


@torch.inference_mode()
def if_narrower_back(
    case: ResultsCase, told: Mapping[str, WithError], kept: Mapping[str, RecordedPrecision]
) -> str | None:
    """The same of the results of a pass backwards, which is only asked whether it ran in that dtype. `told` is what the
    equations give for each result, and `kept` how exactly each was recorded, by its name."""
    for name, dtype in _narrower_than(case.spec.dtype):
        made = _ran_in(case, name, dtype)
        again, d, e = expected(made), list[Tensor](), list[Tensor]()
        for result, g in case.given.named.items():
            changed = (again[result][0] - told[result][0]).double().flatten()
            if size := float(changed.square().mean().sqrt()):
                d.append(changed / size)
                e.append((g.double() - told[result][0].double()).flatten() / size)
        so_far = all(is_of(dtype, g) for g in case.given.named.values())
        fits = _slope_is_one(torch.cat(d), torch.cat(e)) if d else so_far
        if fits and results_verdict(made, again, kept).verdict != "differ":
            return (_WENT_BACK if name in HALF_TYPES else _WHY).format(dtype=name, wider=case.spec.dtype)
    return None


def _narrower_than(dtype: str) -> Iterator[tuple[str, torch.dtype]]:
    every = ((name, getattr(torch, name)) for name in _NARROWER)
    return ((name, one) for name, one in every if torch.finfo(one).eps > torch.finfo(getattr(torch, dtype)).eps)


def _ran_in(case: ResultsCase, name: str, dtype: torch.dtype) -> ResultsCase:
    """The same pass computed by a network in that dtype, from gradients in that dtype, as far as there are any."""
    return replace(
        case,
        spec=case.spec.with_changes(dtype=name),
        parameters={parameter: values.to(dtype) for parameter, values in case.parameters.items()},
        sequence=case.sequence.to(case.sequence.x.device, dtype),
        upstream=case.upstream.each(lambda g: g.to(dtype).to(g.dtype)),
        declared=ARITHMETICS[name],
    )


def _shown_in(case: Case, dtype: torch.dtype) -> Case:
    """The same run with its observations rounded to that dtype."""
    u = ROUNDOFF[dtype].stored
    seen = replace(case.observation, relative=u, absolute=torch.finfo(dtype).smallest_normal * u, kept={})
    return replace(case, observation=seen)


def _as_by_autocast(case: Case, name: str, seen: Observation) -> Case:
    declared = ARITHMETICS[name].for_cell(case.spec.cell_type, seen.engine.one_by_one)
    engine = replace(seen.engine, dtype=name, precision={"autocast": name})
    return replace(case, observation=replace(seen, engine=engine), declared=declared).under_autocast()


def _with_own_biases(made: Case, case: Case) -> Case:
    """Autocast rounds what goes into a product. What is added to one in an operation of its own keeps its dtype, and so
    does a parameter of a cell's own."""
    kept = {name: w for name, w in case.parameters.items() if not name.startswith(_MULTIPLIED)}
    return replace(made, parameters={**made.parameters, **kept})


def _come_of_rounding(own: Beginnings, rounded: Beginnings, otherwise: bool) -> float:
    """In what share of the units the errors of the run come from rounding parameters and x as in `rounded`. In the
    least-squares fit of the errors by the changes that rounding makes, the slope is near 1 if the run rounded them, in
    all values and in nearly every unit, and near 0 if it did not: then the answer is 0. `otherwise` is the answer where
    rounding changes nothing."""
    every, slopes = list[tuple[Tensor, Tensor]](), list[Tensor]()
    for (h, engine), (changed, _) in zip(own, rounded, strict=True):
        d, e = changed - h, engine - h
        every.append((d.flatten(), e.flatten()))
        slopes.append((e * d).sum(0) / d.square().sum(0))
    d, e = (torch.cat(each) for each in zip(*every, strict=True))
    if not bool(d.any()):
        return otherwise
    of_units = torch.cat(slopes)
    of_units = of_units[~of_units.isnan()]  # others have no error, and none is expected: those that ReLU keeps at zero
    return float((of_units > _SLOPE).double().mean()) if _slope_is_one(d, e) else 0.0


def _slope_is_one(d: Tensor, e: Tensor) -> bool:
    """Whether the least-squares fit of e by d has a slope near 1, and not by chance."""
    slope = float(e @ d / (d @ d))
    uncertain = float((e - slope * d).norm() / d.norm()) / math.sqrt(len(d))
    return abs(slope - 1) < _NEAR and uncertain < _UNCERTAIN


@torch.inference_mode()
def beginnings(case: Case) -> Beginnings:
    """Of the layers that were observed, in their order."""
    if case.spec.directions == ("forward",):  # layers that nobody observed are stepped no further
        case = case.begun(_STEPS)
    assumed = assumptions_of(case, plainly)
    return [_begun(assumed(*at)) for at in case.observation.layers]


def _begun(assumed: Assumption) -> tuple[Tensor, Tensor]:
    layer, run, found = assumed.equations, assumed.run.first(_STEPS), list[tuple[Tensor, Tensor]]()
    for compared in layer.compared(run, _ROWS, layer.one(None)):
        h, engine = compared.q["h"].v.double(), compared.after.double()
        inside = compared.chunk.inside
        found.append((h[inside], engine[inside]))
    h, engine = (torch.cat(each) for each in zip(*found, strict=True))
    return h, engine
