"""Decides in which order mistakes are tried, and in which layers: the likely ones first."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rnnspect.causes.interface import Cause
from rnnspect.causes.known import families
from rnnspect.causes.known.reduced import SUMS
from rnnspect.causes.search.rejudging import CauseGroup
from rnnspect.judging.assumption import At
from rnnspect.judging.case import Case

Judged = TypeVar("Judged")

PAIRED = ("gates", "gru", "biases", "kernels", "directions")
"""Families whose mistakes are tried in pairs with each other."""
_BESIDE = ("state-ignored", "h-c-exchanged", "shifted-by-one", "hard-sigmoid")
"""Mistakes that leave the parameters unchanged. Each is also tried in a pair with a mistake of these families, in one
order only, since neither changes the effect of the other."""


@dataclass
class Tried:
    """How many mistakes were tried in some places, alone and in pairs."""

    scope: tuple[At, ...]
    counts: dict[int, int] = field(default_factory=dict)

    def add(self, hypothesis: CauseGroup) -> None:
        self.counts[len(hypothesis)] = self.counts.get(len(hypothesis), 0) + 1


def likeliest_first(causes: Iterable[Cause], case: Case) -> list[Cause]:
    """By family; within a family first what the framework in use is known for, then what any framework is known for,
    then the rest."""
    order = families()
    named = {case.observation.engine.name, case.spec.layout}

    def unlikely(cause: Cause) -> tuple[bool, int, bool]:
        return (
            not cause.frameworks and cause.family == "gates",
            order.index(cause.family),
            named.isdisjoint(cause.frameworks),
        )

    return sorted(causes, key=unlikely)


def without_sums(found: list[tuple[CauseGroup, Judged]]) -> list[tuple[CauseGroup, Judged]]:
    """What explains a run, without sums in float16 that only the size of the errors tells where there is anything else,
    which its numbers tell."""
    exact = [each for each in found if all(cause.name != SUMS or cause.parameters for cause in each[0])]
    return exact or found


def scopes_below(unseen: Sequence[At], above: Sequence[At], every: Sequence[At]) -> Iterator[tuple[At, ...]]:
    """Places where one mistake may have been made in layers that were not observed: in one of these layers; in all of
    them, with or without what is wrong above, or without the lowest layer, which receives x; in one direction of one
    layer; and in the whole stack."""
    layers = list(dict.fromkeys(layer for layer, _ in unseen))
    each = [tuple(other for other in unseen if other[0] == layer) for layer in layers]
    whole = tuple(other for other in every if other in unseen or other in above)
    between = tuple(other for other in whole if other[0] > 0)
    places = [(other,) for other in unseen]
    scopes = [*each, whole, tuple(unseen), between, *places, tuple(every)]
    yield from (scope for scope in dict.fromkeys(scopes) if any(other in unseen for other in scope))


def reaches(cause: Cause, scope: Sequence[At], every: Sequence[At]) -> bool:
    """Whether the scope covers all places that the mistake reaches (`Cause.reach`)."""
    if cause.reach == "stack":
        return set(scope) == set(every)
    layers = {layer for layer, _ in scope}
    return cause.reach == "place" or all(other in scope for other in every if other[0] in layers)


def in_words(case: Case, scope: Sequence[At]) -> str:
    """layer 0; layers 0 and 1; layer 1 reverse."""
    layers = sorted({layer for layer, _ in scope})
    whole = all((layer, direction) in scope for layer in layers for direction in case.spec.directions)
    if not whole:
        return " and ".join(f"layer {layer} {direction}" for layer, direction in scope)
    return f"layer{'s' if len(layers) > 1 else ''} {' and '.join(map(str, layers))}"


def pairs(known: Sequence[Cause]) -> Iterator[CauseGroup]:
    """Pairs of mistakes, the likely ones first, in both orders, since the second mistake acts on the result of the
    first."""
    paired = [one for one in known if one.family in PAIRED and one.shown is None]
    for total in range(1, 2 * len(paired) - 2):
        for i in range(max(0, total - len(paired) + 1), min(total, len(paired) - 1) + 1):
            a, b = paired[i], paired[total - i]
            if a is not b and not a.name == b.name == "gate-order":
                yield a, b
    beside = [one for one in known if one.name in _BESIDE]
    # Mistakes of one name are not paired: steps shifted late and then early differ at the two ends alone.
    two = ((a, b) for a, b in itertools.combinations(beside, 2) if a.name != b.name)
    yield from itertools.chain(itertools.product(paired, beside), two)
