"""What a judged part of a run has shown."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from torch import Tensor

    from rnnspect.judging.chunks import Chunk

    Progress = Callable[["Finding | None", int], None]
    """Told what was found so far, None in a layer that nobody observed, and how many steps more are done."""

COARSE = 0.01
"""A shift of a gate's pre-activation that a check should be able to see."""
PAST_USE = 0.1
"""A bound above so much of 1 and of the value says nothing of it."""


@dataclass(frozen=True)
class Seen:
    """One address. `order` is its place in processing order, `step` its index in the input."""

    order: int
    step: int
    batch: int
    unit: int
    manual: float
    engine: float
    bound: float
    ratio: float


@dataclass(frozen=True)
class Over:
    """Where the addresses above the bound are: which units and batch items, from which step to which, and on how
    many steps. Steps are indices in the input."""

    count: int
    steps: int
    first_step: int
    last_step: int
    units: Tensor
    items: Tensor

    @classmethod
    def of(cls, chunk: Chunk, over: Tensor) -> Self | None:
        """Of the addresses of a chunk that `over` (steps, batch, units) marks."""
        if not bool(over.any()):
            return None
        order, items, _ = over.nonzero().unbind(1)
        steps = order + chunk.start if chunk.steps is None else chunk.steps[order, items]
        units, batch = over.any(0).any(0), over.any(0).any(1)
        return cls(len(order), len(set(order.tolist())), int(steps.min()), int(steps.max()), units, batch)

    def joined(self, later: Over) -> Over:
        return Over(
            self.count + later.count,
            self.steps + later.steps,
            min(self.first_step, later.first_step),
            max(self.last_step, later.last_step),
            self.units | later.units,
            self.items | later.items,
        )


@dataclass(frozen=True)
class Finding:
    """What some steps of one layer and direction have shown."""

    steps: int
    values: int
    worst: Seen | None
    """Where the first pass came closest to the bound, computed again in float64."""
    first: Seen | None
    over: Over | None
    """Addresses above the bound, those that the second look explained left out."""
    explained: int
    unjudged: int
    """Addresses where the equations leave the engine's range."""
    resolution: Tensor
    """(gates, units): the smallest shift of a pre-activation, the same at every step, that would have been seen: the
    least over the steps that were sampled.

    Each is one gate's shift alone, downwards, against the bound that the address really had. Shifts of 2⁻⁷ and, where
    that was too little, of 2⁻³ are tried; infinite is what neither showed. Steps are sampled in the chunks 0, 8, 64,
    512, …, and in every one while some gate is above 0.01. A shift at other steps may have to be larger: where the
    gate is shut, or c is zero, little of it comes through. Infinite for a recorded gate or cell state, which is judged
    by itself and tells nothing of the others.
    """
    past_use: int = 0
    """Addresses of which the bound tells nothing, where what the layer received was estimated."""

    @property
    def units(self) -> int:
        return self.resolution.shape[1]

    def coarse(self, shift: float = COARSE) -> int:
        """Units of which some gate could be off by that much unseen."""
        return int((self.resolution > shift).any(0).sum())


def combine(a: Finding, b: Finding) -> Finding:
    """Associative; a's steps come before b's in processing order."""
    return Finding(
        a.steps + b.steps,
        a.values + b.values,
        max((seen for seen in (a.worst, b.worst) if seen), key=lambda seen: seen.ratio, default=None),
        a.first or b.first,
        a.over.joined(b.over) if a.over and b.over else a.over or b.over,
        a.explained + b.explained,
        a.unjudged + b.unjudged,
        torch.minimum(a.resolution, b.resolution),
        a.past_use + b.past_use,
    )


def side_by_side(parts: Sequence[tuple[int, Finding]]) -> Finding:
    """Of the same steps of other items of the batch, so many items each. On how many steps the whole is over its bound
    is then not known: the most of one part is said."""
    moved, items, start = [], [], 0
    for count, found in parts:
        first, worst = (seen and replace(seen, batch=seen.batch + start) for seen in (found.first, found.worst))
        moved.append(replace(found, first=first, worst=worst, over=None))
        items.append(torch.zeros(count, dtype=torch.bool) if found.over is None else found.over.items)
        start += count
    first = min((one.first for one in moved if one.first), key=lambda seen: seen.order, default=None)
    over = [found.over for _, found in parts if found.over]
    whole = None
    if over:
        joined = functools.reduce(Over.joined, (replace(one, items=over[0].items) for one in over))
        whole = replace(joined, steps=max(one.steps for one in over), items=torch.cat(items))
    return replace(functools.reduce(combine, moved), steps=moved[0].steps, first=first, over=whole)


def silent(_found: Finding | None, _steps: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Place:
    """What was found in one layer and direction, of one quantity."""

    layer: int
    direction: str
    quantity: str
    finding: Finding
