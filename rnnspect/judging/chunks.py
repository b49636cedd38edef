"""A run in chunks of steps, in processing order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass(frozen=True)
class Run:
    """What one layer and direction received and returned: (steps, batch, units), states (batch, units)."""

    x: Tensor
    h: Tensor
    h0: Tensor
    c0: Tensor | None = None
    lengths: Tensor | None = None
    reverse: bool = False
    error: Tensor | None = None
    """How far x may be from what the engine had: where the layer below was estimated."""


@dataclass(frozen=True)
class Chunk:
    """Steps from `start` on, in processing order: what went in, h before and after."""

    start: int
    x: Tensor
    before: Tensor
    after: Tensor
    steps: Tensor | None = None
    """(steps, batch): their index in the input, where that is not the place in processing order."""
    valid: Tensor | None = None
    error: Tensor | None = None

    def cut(self, start: int, stop: int, batch: slice = slice(None)) -> Chunk:
        x, before, after = (a[start:stop, batch] for a in (self.x, self.before, self.after))
        others = (self.steps, self.valid, self.error)
        steps, valid, error = (None if a is None else a[start:stop, batch] for a in others)
        return Chunk(self.start + start, x, before, after, steps, valid, error)


def chunks(run: Run, rows: int) -> Iterator[Chunk]:
    total, batch = run.x.shape[:2]
    n = max(1, rows // batch)
    for start in range(0, total, n):
        stop = min(total, start + n)
        place = torch.arange(start, stop).unsqueeze(1)
        valid = None if run.lengths is None else place < run.lengths
        if run.reverse:
            ends = torch.full((batch,), total) if run.lengths is None else run.lengths
            steps, each = (ends - 1 - place).clamp_(min=0), torch.arange(batch)
            before = run.h[(steps + 1).clamp_(max=total - 1), each]
            if not start:
                before[0] = run.h0
            error = None if run.error is None else run.error[steps, each]
            yield Chunk(start, run.x[steps, each], before, run.h[steps, each], steps, valid, error)
        else:
            before = run.h[start - 1 : stop - 1] if start else torch.cat([run.h0[None], run.h[: stop - 1]])
            error = None if run.error is None else run.error[start:stop]
            yield Chunk(start, run.x[start:stop], before, run.h[start:stop], None, valid, error)
