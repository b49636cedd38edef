"""Defines what a known mistake is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.verdict import Explanation

CLEARLY = 2.0
"""A mistake explains a run only if it brings the values at least so many times nearer to the equations. A value just
above its bound may come below it by chance, by any small change."""


Changed = TypeVar("Changed")
"""What a mistake changes: an assumption about an engine, or the results of a right one."""


@dataclass(frozen=True)
class Mistake(Generic[Changed]):
    """A known mistake. An engine that made it has computed `change(assumed)` where `assumed` was meant."""

    name: str
    """A fixed id, such as gate-order."""
    explanation: str
    """A clause that says what the engine did: "the two halves of the output are swapped"."""
    fix: str
    """What to do about it. For weights: both when they are exported to the engine and when they are imported from it
    (`both_ways`)."""
    change: Callable[[Changed], Changed]
    parameters: dict[str, Any] = field(default_factory=dict)
    """Tells mistakes of the same name apart."""
    family: str = field(default="", kw_only=True)
    """The file of known mistakes that it is in."""

    @property
    def key(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        return self.name, tuple(sorted(self.parameters.items()))


@dataclass(frozen=True)
class Cause(Mistake[Assumption]):
    """A known mistake in a run."""

    reach: Literal["place", "layer", "stack"] = "place"
    """Where the mistake is made if it is made at all: in this direction, in each direction of the layer, or everywhere.
    There the run has to agree with the changed assumption, also where it agreed without the mistake."""
    ends: bool = False
    """Whether the mistake may show in the final states alone, while every step is right."""
    shown: Callable[[Assumption], bool] | None = None
    """For a change that only widens bounds: whether the numbers of the run show the mistake."""
    unused: tuple[str, ...] = ()
    """Gates that have no effect in an engine with the mistake, so that nothing can be known of them."""
    echo: bool = False
    """Whether in this place it is the same as another mistake, which is named instead. It is tried only together with
    the same mistake in another layer."""
    frameworks: tuple[str, ...] = ()
    """Frameworks that do this by default. A mistake that is no framework's default is less likely."""


def by_likelihood(families: Iterable[str], likeliest_first: Sequence[str]) -> list[str]:
    """Families in the order of `likeliest_first`; those that are not in it come last, in alphabetical order."""
    rank = {family: place for place, family in enumerate(likeliest_first)}
    return sorted(families, key=lambda family: (rank.get(family, len(rank)), family))


def both_ways(exported: str, imported: str) -> str:
    """How to mend weights: what to do when the engine loads them, and when they were read from its files."""
    return f"If it loads your weights: {exported} If your weights come from it: {imported}"


def named(places: Iterable[At]) -> tuple[str, ...]:
    """Layers and directions in words."""
    return tuple(f"layer {layer} {direction}" for layer, direction in places)


def explanations(
    causes: Sequence[Mistake[Any]], before: float, after: float, scope: Iterable[At], left: tuple[str, ...] = ()
) -> Iterator[Explanation]:
    """An explanation for each of some mistakes that explain a run together. `before` and `after` are the largest ratios
    of difference to bound without and with them."""
    names, where = tuple(cause.name for cause in causes), named(scope)
    for one in causes:
        yield Explanation(
            one.name, one.family, one.parameters, one.explanation, one.fix, before, after, where, left,
            names if len(names) > 1 else (),
        )  # fmt: skip
