"""Mistakes in gradients after a right pass backwards: gradients that were accumulated twice, clipped, or stored under
another name. They show in the given numbers, so that the pass need not be computed again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import Seen, times
from rnnspect.causes.backward.known.scaled import (
    BEFORE_CLIPPING,
    FEW,
    NEAR,
    SUMMED,
    clipped_to,
    factor_of,
    is_limit,
    named_factors,
    of_factor,
    rounded,
)
from rnnspect.causes.interface import Mistake
from rnnspect.errors import listed
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.network.parameters import suffix

_FEW_OF_ONE = 16
"""Of one gradient alone, fewer numbers than these may have a common factor by chance."""
Results = Mapping[str, WithError]


@dataclass(frozen=True)
class GivenCause(Mistake[Results]):
    """A known mistake in the results: `change` turns what the equations give into what the engine gives."""

    family: str = field(default="given", kw_only=True)


def given_causes(case: ResultsCase, told: Results, wrong: Mapping[str, bool], seen: Seen) -> Iterator[GivenCause]:
    """The mistakes that may have been made. `wrong` says of each gradient whether it is wrong; `seen` is what all
    layers have in common."""
    given = {name: g.double() for name, g in case.given.named.items()}
    names = [name for name, is_wrong in wrong.items() if is_wrong]
    factors = {name: factor_of(told[name][0], given[name]) for name in names}
    yield from _beyond(case, given, names)
    yield from _exchanged(told, given)
    yield from _multiplied(told, factors, seen, len(names) == len(given))
    if names:
        yield from _by_value(told, given, names, max(seen.unit, seen.recorded))
        yield from _by_norm(given, factors, seen)
        yield from _alike(given, factors, seen)


def places_of(case: ResultsCase, causes: Iterable[GivenCause]) -> tuple[At, ...]:
    """The places of the parameters that mistakes are in; all where they are in more than some parameters."""
    names = {name for one in causes for name in str(one.parameters.get("of")).split(", ")}
    if not names <= case.parameters.keys():
        return tuple(case.spec.places)
    return tuple(at for at in case.spec.places if any(name.endswith(suffix(*at)) for name in names))


def _beyond(case: ResultsCase, given: Mapping[str, Tensor], names: list[str]) -> Iterator[GivenCause]:
    """dL/dx has numbers beyond an item's end, and is right elsewhere."""
    valid = case.sequence.valid()
    if names != ["x"] or valid is None:
        return

    def change(told: Results) -> Results:
        value, bound = told["x"]
        return {**told, "x": (torch.where(valid.unsqueeze(-1), value, given["x"]), bound)}

    yield GivenCause(
        "grad-through-padding",
        "dL/dx has numbers in the padding, which no gradient reaches",
        "Set dL/dx to zero beyond an item's end.",
        change,
        {"how": "given"},
    )


def _exchanged(told: Results, given: Mapping[str, Tensor]) -> Iterator[GivenCause]:
    """The parameters of each direction have the gradients of the other direction."""
    end = "_reverse"
    pairs = {name: name + end for name in given if name + end in given}
    if not pairs or any(given[one].shape != given[other].shape for one, other in pairs.items()):
        return
    other = pairs | {there: one for one, there in pairs.items()}
    yield GivenCause(
        "grad-halves-exchanged",
        "the parameters of the two directions have each other's gradients",
        "Give the parameters whose names end in _reverse the gradients of the reverse direction.",
        lambda found: {name: found[other.get(name, name)] for name in told if name in found},
        {"of": "parameters"},
    )


def _multiplied(told: Results, factors: Mapping[str, float], seen: Seen, every: bool) -> Iterator[GivenCause]:
    """Some gradients are multiplied by a factor that has a name. Where all are, the mistake is in the loss
    (`known/scaled.py`)."""
    if every or not factors:
        return
    for factor, name, said, fix in named_factors(seen):
        if not _is_of_both_biases(told, factors, factor) and all(
            abs(one / factor - 1) < NEAR for one in factors.values()
        ):
            which = listed(f"dL/d{one}" for one in factors)
            what = f"{which} {'is' if len(factors) == 1 else 'are'} {said}"
            change = _times(dict.fromkeys(factors, factor), seen.unit)
            yield GivenCause(name, what, fix, change, {"factor": factor, "of": listed(factors)})


def _is_of_both_biases(told: Results, names: Collection[str], factor: float) -> bool:
    """Whether the factor is due to the two biases: half of the gradient for both, or twice the gradient where the two
    have the same one. `known/biases.py` names these."""
    beside = {name: name.replace("_ih", "_hh") for name in names if name.startswith("bias_ih")}
    pairs = [(told[one][0], told[other][0]) for one, other in beside.items() if other in told]
    alike = factor == 0.5 or all(torch.equal(*pair) for pair in pairs)
    return 2 * len(pairs) == len(names) and alike


def _times(factors: Mapping[str, float], unit: float) -> Callable[[Results], Results]:
    def change(told: Results) -> Results:
        return {**told, **{name: times({name: told[name]}, f, unit)[name] for name, f in factors.items()}}

    return change


def _by_value(told: Results, given: Mapping[str, Tensor], names: list[str], unit: float) -> Iterator[GivenCause]:
    """Gradients are clipped by value: all of them where no given gradient is above the limit, else the wrong ones."""
    limit = max(float(given[name].abs().max()) for name in names)
    every_one = torch.cat([g.flatten() for g in given.values()])
    if not is_limit(limit, every_one, torch.cat([told[name][0].flatten() for name in names]), unit):
        return
    every = all(float(g.abs().max()) <= limit for g in given.values())
    which = "all gradients" if every else listed(f"dL/d{name}" for name in names)
    yield GivenCause(
        "grad-clipped-by-value",
        f"{which} {'are' if every or len(names) > 1 else 'is'} clipped by value, to ±{rounded(limit):g}",
        BEFORE_CLIPPING,
        lambda found: {**found, **clipped_to({name: found[name] for name in names}, limit)},
        {"limit": rounded(limit), "of": "everything" if every else listed(names)},
    )


def _by_norm(given: Mapping[str, Tensor], factors: Mapping[str, float], seen: Seen) -> Iterator[GivenCause]:
    """Each gradient is clipped by its own norm: no given gradient has a larger one."""
    parameters = set(factors) <= set(seen.names)
    sizes = {name: float(g.norm()) for name, g in given.items() if name in seen.names or not parameters}
    largest = max(sizes.values())
    is_one_number = sum(given[name].numel() for name in factors) == 1  # one number is a multiple of any other
    if is_one_number or not all(0 < one < 1 - NEAR for one in factors.values()):
        return
    if len(sizes) > 1 and all(sizes[name] > largest * (1 - NEAR) for name in factors):
        yield GivenCause(
            "grad-clipped-by-norm",
            f"each gradient is clipped by its own norm, to {rounded(largest):g}",
            BEFORE_CLIPPING,
            _times(factors, seen.unit),
            {"norm": rounded(largest), "of": "each"},
        )


def _alike(given: Mapping[str, Tensor], factors: Mapping[str, float], seen: Seen) -> Iterator[GivenCause]:
    """All gradients are multiplied by one factor that has no name, or by a whole number that was measured."""
    first = next(iter(factors.values()))
    alike = first != 0 and all(abs(one / first - 1) < NEAR for one in factors.values())
    named = next((one for one in named_factors(seen) if abs(first / one[0] - 1) < NEAR), None)
    few = sum(g.numel() for g in given.values()) < (FEW if len(given) > 1 else _FEW_OF_ONE)
    if not alike or few or len(factors) < len(given) or abs(first - 1) < NEAR:
        return
    if named is None:
        norm = sum(float(g.norm()) ** 2 for g in given.values()) ** 0.5
        name, said, of = of_factor(first, norm, max(SUMMED * seen.unit, seen.recorded))
        fix = "Compare gradients before they are clipped or multiplied, and those of the loss itself."
    else:
        factor, name, said, fix = named
        if factor <= 3 or name != "grad-accumulated":
            return  # `known/scaled.py` tries this from the loss on
        factors, of = dict.fromkeys(factors, factor), {"factor": factor}
    which = "all gradients are" if len(given) > 1 else f"dL/d{next(iter(given))} is"
    yield GivenCause(name, f"{which} {said}", fix, _times(factors, seen.unit), {**of, "of": "everything"})
