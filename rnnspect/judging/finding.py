"""What was found in some steps of one layer and direction: compared values, which of them are wrong, and findings
joined."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor

from rnnspect.judging.chunks import Chunk

if TYPE_CHECKING:
    from rnnspect.judging.verdict import Verdict

_Address = tuple[int, int, int]
"""Step, batch item and unit in a chunk."""
BoundAgain = Callable[[int, int, int], tuple[tuple[slice, slice, slice], Tensor]]

COARSE = 0.01
"""A shift of a gate's pre-activation that a check should be able to see."""
PAST_USE = 0.1
"""A bound above this share of 1 and of the value is too wide to say anything about it."""


@dataclass(frozen=True)
class Deviation:
    """One address with both values. `order` is its place in processing order, `step` its index in the input."""

    order: int
    step: int
    batch: int
    unit: int
    manual: float
    engine: float
    bound: float
    ratio: float


@dataclass(frozen=True)
class ComparedValues:
    """Values of the equations and of the engine, and |difference| / bound: each (steps, batch, units).

    `bound` and `ratio` are overwritten.
    """

    chunk: Chunk
    v: Tensor
    engine: Tensor
    bound: Tensor
    ratio: Tensor

    def repair(self, limit: float) -> int:
        """Sets the ratio to 0 where both values are the same infinity, beyond an item's end, and where the equations'
        value is beyond `limit`, the largest number of the engine's dtype; to infinity where it is NaN otherwise. Gives
        how many are beyond the limit: they cannot be judged."""
        v, engine, ratio = self.v, self.engine, self.ratio
        valid = torch.ones(()).bool() if self.chunk.valid is None else self.chunk.valid.unsqueeze(-1)
        beyond = ~(v.abs() + self.bound <= limit) & (~(ratio <= 1) | self.bound.isinf()) & (v != engine) & valid
        ratio[(v == engine) | beyond | ~valid.expand_as(ratio)] = 0
        ratio[ratio.isnan()] = torch.inf
        return int(beyond.sum())

    def repaired(self, limit: float) -> Self:
        """Itself, after `repair`."""
        self.repair(limit)
        return self

    def accused(self, again: BoundAgain) -> tuple[Tensor, int, _Address | None]:
        """Computes the bound again, more exactly, at each value above it, in processing order, until one value stays
        above.

        `again` takes an address and gives the new bound for it, and perhaps for others around it, and for which ones it
        holds. Returned are the values above their bound (steps, batch, units), how many were cleared by new bounds, and
        the first address that is certainly wrong; None where all were cleared.
        """
        over, cleared = self.ratio > 1, 0
        while bool(over.any()):
            at: _Address = tuple(over.nonzero()[0].tolist())
            here, bound = again(*at)
            before = int(over[here].sum())
            self.bound[here] = wider = torch.maximum(bound, self.bound[here])
            ratio = (self.v[here] - self.engine[here]).abs() / wider
            ratio[ratio.isnan()] = torch.inf  # no sum explains what is not a number
            self.ratio[here] = torch.where(over[here], ratio, self.ratio[here])  # padding stays out
            over[here] = self.ratio[here] > 1
            cleared += before - int(over[here].sum())
            if over[at]:
                return over, cleared, at
        return over, cleared, None

    def judged(self, part: Finding, again: BoundAgain) -> Finding:
        """A finding with what is wrong in these values, once `accused` has looked again, and with the worst of them."""
        over, cleared, at = self.accused(again)
        first, worst = at and self.seen(at), self.seen(self.peak)
        return replace(part, over=WrongValues.of(self.chunk, over), cleared=cleared, first=first, worst=worst)

    def seen(self, at: _Address) -> Deviation:
        """One address with both values, by its place in the chunk."""
        n, b, j = at
        order = self.chunk.start + n
        step = order if self.chunk.steps is None else int(self.chunk.steps[n, b])
        return Deviation(order, step, b, j, *(float(a[at]) for a in (self.v, self.engine, self.bound, self.ratio)))

    @property
    def peak(self) -> _Address:
        """Where the ratio is highest. argmax alone runs in one thread, and without vector instructions."""
        rows = self.ratio.amax(2)
        n, b = divmod(int(rows.argmax()), rows.shape[1])
        return n, b, int(self.ratio[n, b].argmax())


def worst_and_first(ratio: Tensor) -> tuple[int, int | None]:
    """The place of the highest ratio (rows, ·) or (·,), and that of the first one above 1, row by row; None where there
    is none. Both are places in the flat tensor."""
    table = ratio.reshape(len(ratio), -1)
    rows = table.amax(1)  # argmax of all of it would run in one thread
    worst = int(rows.argmax())
    at = worst * table.shape[1] + int(table[worst].argmax())
    if not float(rows[worst]) > 1:
        return at, None
    row = int((rows > 1).nonzero()[0])
    return at, row * table.shape[1] + int((table[row] > 1).nonzero()[0])


def latest_gate(over: Tensor, at: _Address, gate_sizes: tuple[int, ...]) -> _Address:
    """Of the values of a step and item that `over` marks, packed by gate, the first one met going back: gates are gone
    back over from the last to the first, and each depends on the gradients of those after it."""
    n, b, _ = at
    blocks = over[n, b].split_with_sizes(gate_sizes)
    gate = max(at for at, block in enumerate(blocks) if bool(block.any()))
    return n, b, sum(gate_sizes[:gate]) + int(blocks[gate].nonzero()[0])


@dataclass(frozen=True)
class WrongValues:
    """Where values are above their bound: at which steps, and in which units and batch items. Steps are indices in the
    input."""

    count: int
    first_step: int
    marked: Tensor
    """(steps,): for each step from the first to the last one whether it has such a value, in any item. A run in reverse
    meets the same step of two items at two places, so that a number of steps could not be added up."""
    units: Tensor
    items: Tensor

    @classmethod
    def of(cls, chunk: Chunk, over: Tensor) -> Self | None:
        """Those of a chunk that `over` (steps, batch, units) marks."""
        if not bool(over.any()):
            return None
        rows = over.any(2)
        order, items = rows.nonzero().unbind(1)
        steps = order + chunk.start if chunk.steps is None else chunk.steps[order, items]
        first = int(steps.min())
        marked = torch.zeros(int(steps.max()) - first + 1, dtype=torch.bool)
        marked[steps - first] = True
        return cls(int(over.sum()), first, marked, over.any(0).any(0), rows.any(0))

    @property
    def last_step(self) -> int:
        return self.first_step + len(self.marked) - 1

    @property
    def steps(self) -> int:
        return int(self.marked.sum())

    def joined(self, later: WrongValues) -> WrongValues:
        first, last = min(self.first_step, later.first_step), max(self.last_step, later.last_step)
        marked = torch.zeros(last - first + 1, dtype=torch.bool)
        for one in (self, later):
            marked[one.first_step - first : one.last_step - first + 1] |= one.marked
        return WrongValues(self.count + later.count, first, marked, self.units | later.units, self.items | later.items)


@dataclass(frozen=True)
class Finding:
    """What some steps of one layer and direction have shown."""

    steps: int = 0
    values: int = 0
    worst: Deviation | None = None
    """The address nearest to its bound, computed again in float64."""
    first: Deviation | None = None
    over: WrongValues | None = None
    """Values above their bound, without those that another order of summation explains."""
    cleared: int = 0
    unjudged: int = 0
    """Values that are beyond the range of the engine's dtype: they cannot be judged."""
    resolution: Tensor = field(kw_only=True)
    """(gates, units): the smallest shift of a pre-activation, the same at every step, that would have been seen: the
    least over the steps that were sampled.

    Each is one gate's shift alone, downwards, against the bound that the address really had. Shifts of 2⁻⁷ and, where
    that was too little, of 2⁻³ and ½ are tried; infinite is what none showed. Steps are sampled in the chunks 0, 8, 64,
    512, …, and in every one while some gate is above 0.01. A shift at other steps may have to be larger: where the
    gate is shut, or c is zero, little of it comes through. Infinite for a recorded gate or cell state, which is judged
    by itself and tells nothing of the others.
    """
    past_use: int = 0
    """Values with a bound above `PAST_USE`, where the input of the layer was estimated."""
    lost: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By the name of each block of the state: at how many of the sampled steps the block has an effect, and at how many
    of these a run that has lost it would not be seen (`lost_state.py`)."""
    state_seen: tuple[float, ...] = ()
    """For half types, at some steps: the smallest share of the state before the step whose loss would be seen."""

    @property
    def units(self) -> int:
        return self.resolution.shape[1]

    def coarse(self, shift: float = COARSE) -> int:
        """How many units have a gate that could be off by that much without being seen."""
        return int((self.resolution > shift).any(0).sum())

    @property
    def could_be_lost(self) -> str | None:
        """The block of the state whose loss would not be seen at most of the steps at which it has an effect; the worst
        one."""
        unseen = {name: hidden / counts for name, (counts, hidden) in self.lost.items() if 2 * hidden > counts}
        return max(unseen, key=unseen.__getitem__, default=None)


def combine(a: Finding, b: Finding) -> Finding:
    """Two findings of the same layer and direction as one, a's steps before b's in processing order. Associative."""
    return Finding(
        steps=a.steps + b.steps,
        values=a.values + b.values,
        worst=max((seen for seen in (a.worst, b.worst) if seen), key=lambda seen: seen.ratio, default=None),
        first=a.first or b.first,
        over=a.over.joined(b.over) if a.over and b.over else a.over or b.over,
        cleared=a.cleared + b.cleared,
        unjudged=a.unjudged + b.unjudged,
        resolution=torch.minimum(a.resolution, b.resolution),
        past_use=a.past_use + b.past_use,
        lost={
            name: (n + more, hidden + others)
            for name in {**a.lost, **b.lost}
            for (n, hidden), (more, others) in [(a.lost.get(name, (0, 0)), b.lost.get(name, (0, 0)))]
        },
        state_seen=a.state_seen + b.state_seen,
    )


def side_by_side(parts: Sequence[tuple[int, Finding]]) -> Finding:
    """Findings of the same steps and of different items of the batch as one; each with the number of its items."""
    moved, start, batch = [], 0, sum(count for count, _ in parts)
    for count, found in parts:
        first, worst = (seen and replace(seen, batch=seen.batch + start) for seen in (found.first, found.worst))
        over = found.over
        if over is not None:
            items = torch.zeros(batch, dtype=torch.bool)
            items[start : start + count] = over.items
            over = replace(over, items=items)
        moved.append(replace(found, first=first, worst=worst, over=over))
        start += count
    whole = functools.reduce(combine, moved)
    first = min((one.first for one in moved if one.first), key=lambda seen: seen.order, default=None)
    return replace(whole, steps=moved[0].steps, first=first)


class Progress(Protocol):
    """Called as a check goes on."""

    def __call__(self, found: Finding | None, steps: int, /) -> None:
        """What was found so far, None in a layer that was not recorded; and how many more steps are done."""

    def searching(self, differs: Verdict, /) -> AbstractContextManager[None]:
        """Entered when a run differs, while known mistakes are looked for that explain it."""


class _Silent:
    def __call__(self, _found: Finding | None, _steps: int) -> None:
        pass

    def searching(self, _differs: Verdict) -> AbstractContextManager[None]:
        return nullcontext()


silent: Progress = _Silent()
"""Progress that nobody watches."""


@dataclass(frozen=True)
class PlaceFinding:
    """What was found in one layer and direction, of one quantity."""

    layer: int
    direction: str
    quantity: str
    finding: Finding

    @property
    def at(self) -> tuple[int, str]:
        return self.layer, self.direction
