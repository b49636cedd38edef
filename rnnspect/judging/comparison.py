"""One quantity of a chunk beside the engine's: what cannot be judged, what is above its bound, and the second look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rnnspect.judging.finding import Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.judging.chunks import Chunk

    Address = tuple[int, int, int]
    Again = Callable[[int, int, int], tuple[tuple[slice, slice, slice], Tensor]]


@dataclass(frozen=True)
class Compared:
    """Values of the equations and of the engine, and |difference| / bound: each (steps, batch, units).

    `bound` and `ratio` are overwritten.
    """

    chunk: Chunk
    v: Tensor
    engine: Tensor
    bound: Tensor
    ratio: Tensor

    def repair(self, limit: float) -> int:
        """Infinities and NaN: equal ones agree; beyond the engine's range, of which `limit` is the largest number,
        there is nothing to judge. How many these are."""
        v, engine, ratio = self.v, self.engine, self.ratio
        valid = torch.ones(()).bool() if self.chunk.valid is None else self.chunk.valid.unsqueeze(-1)
        beyond = ~(v.abs() + self.bound <= limit) & ~(ratio <= 1) & (v != engine) & valid
        ratio[(v == engine) | beyond | ~valid.expand_as(ratio)] = 0
        ratio[ratio.isnan()] = torch.inf
        return int(beyond.sum())

    def accused(self, again: Again) -> tuple[Tensor, int, Address | None]:
        """What is above its bound, in processing order until one address stays so: which are, how many the second
        look has explained, and that address.

        `again` looks at an address once more, and may as well at others: where, and the bound there.
        """
        over, explained = self.ratio > 1, 0
        while bool(over.any()):
            at: Address = tuple(over.nonzero()[0].tolist())
            here, bound = again(*at)
            before = int(over[here].sum())
            self.bound[here] = wider = torch.maximum(bound, self.bound[here])
            ratio = (self.v[here] - self.engine[here]).abs() / wider
            ratio[ratio.isnan()] = torch.inf  # no sum explains what is not a number
            self.ratio[here] = torch.where(over[here], ratio, self.ratio[here])  # padding stays out
            over[here] = self.ratio[here] > 1
            explained += before - int(over[here].sum())
            if over[at]:
                return over, explained, at
        return over, explained, None

    def seen(self, at: Address) -> Seen:
        n, b, j = at
        order = self.chunk.start + n
        step = order if self.chunk.steps is None else int(self.chunk.steps[n, b])
        return Seen(order, step, b, j, *(float(a[at]) for a in (self.v, self.engine, self.bound, self.ratio)))

    @property
    def peak(self) -> Address:
        """Where the ratio is highest. argmax alone runs in one thread, and without vector instructions."""
        rows = self.ratio.amax(2)
        n, b = divmod(int(rows.argmax()), rows.shape[1])
        return n, b, int(self.ratio[n, b].argmax())
