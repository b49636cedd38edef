"""Two things that a training step does to the gradients of all parameters, one after the other: it adds a multiple of
each parameter, as weight decay does, and clips them by their norm, or takes a mean."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.backward.given import GivenCause, Results
from rnnspect.causes.backward.interface import Seen, times
from rnnspect.causes.backward.known.decay import WITHOUT_PENALTY
from rnnspect.causes.backward.known.scaled import BEFORE_CLIPPING, NEAR, SUMMED, named_factors, of_factor
from rnnspect.causes.backward.multiples import MANY, Multiple, allowed_of, multiple_of


@dataclass(frozen=True)
class _Fitted:
    """What was given as `factor` times the gradients of the equations and `added` times the parameters `w`."""

    factor: float
    added: Multiple
    w: Tensor


@dataclass(frozen=True)
class _Named:
    """What the factor most likely is, and by which factor the parameters were added."""

    name: str
    said: str
    fix: str
    how: dict[str, Any]
    decay: float
    decay_first: bool


def decayed_and_multiplied(seen: Seen, parameters: Mapping[str, Tensor]) -> Iterator[tuple[GivenCause, GivenCause]]:
    """`seen`: all layers taken together. Each pair is in the order in which the two things were done."""
    weights = [name for name in seen.names if name.startswith("weight")]
    for names, of in ((seen.names, "parameters"), (weights, "weights")):
        decayed = {name: parameters[name].double().view(seen.known[name][0].shape) for name in names}
        if (fitted := _fitted(seen, decayed)) is None:
            continue
        for one in _named(seen, fitted):
            added = GivenCause(
                "grad-decay-added",
                f"{one.decay:g} × the {of} is added to their gradients, as by weight decay",
                WITHOUT_PENALTY,
                functools.partial(_added, decayed=decayed, factor=one.decay, unit=seen.unit),
                {"factor": one.decay, "of": of},
            )
            change = functools.partial(_times, names=seen.names, factor=fitted.factor, unit=seen.unit)
            said = f"the gradients of the parameters are {one.said}"
            other = GivenCause(one.name, said, one.fix, change, one.how)
            yield (added, other) if one.decay_first else (other, added)


def _fitted(seen: Seen, decayed: Mapping[str, Tensor]) -> _Fitted | None:
    """By least squares; None where too few numbers were given to tell two factors."""
    if not decayed:
        return None
    own, bound = (torch.cat([seen.known[name][part].flatten() for name in seen.names]) for part in (0, 1))
    w = torch.cat([decayed.get(name, torch.zeros_like(seen.known[name][0])).flatten() for name in seen.names])
    given = seen.engine()
    allowed = allowed_of(bound, own, given, seen.recorded + seen.unit)
    alone, alike = multiple_of(own, given, allowed), multiple_of(own, w, allowed)
    if alone is None or alike is None or len(given) < MANY:
        return None
    added = multiple_of(w - alike.factor * own, given - alone.factor * own, allowed)
    factor = 0.0 if added is None else alone.factor - added.factor * alike.factor
    return _Fitted(factor, added, w) if added is not None and factor else None  # 0: nothing of the gradients is left


def _named(seen: Seen, fitted: _Fitted) -> Iterator[_Named]:
    """A factor that has a name, as that of a mean, came before the decay. Any other has to be that of clipping by norm,
    before or after."""
    before, after = fitted.added.written(), fitted.added.over(fitted.factor).written()
    named = [one for one in named_factors(seen) if abs(fitted.factor / one[0] - 1) < NEAR]
    if named:
        if before is not None:
            for factor, name, said, fix in named:
                yield _Named(name, said, fix, {"factor": factor, "of": "parameters"}, before, False)
        return
    for decay, norm, decay_first in (
        (after, seen.engine().norm(), True),
        (before, (seen.engine() - (before or 0) * fitted.w).norm(), False),
    ):
        name, said, how = of_factor(fitted.factor, float(norm), max(SUMMED * seen.unit, seen.recorded))
        if decay is not None and name == "grad-clipped-by-norm":
            yield _Named(name, said, BEFORE_CLIPPING, how, decay, decay_first)


def _added(found: Results, decayed: Mapping[str, Tensor], factor: float, unit: float) -> Results:
    made = dict(found)
    for name, w in decayed.items():
        value, bound = found[name]
        made[name] = value + factor * w, bound + (value.abs() + (factor * w).abs()) * 2 * unit
    return made


def _times(found: Results, names: list[str], factor: float, unit: float) -> Results:
    return {**found, **times({name: found[name] for name in names}, factor, unit)}
