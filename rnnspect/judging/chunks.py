"""A run in chunks of steps, in processing order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rnnspect.judging.layer_inputs import Steps


@dataclass(frozen=True)
class Run:
    """What one layer and direction received and returned: (steps, batch, units), states (batch, units)."""

    x: Steps
    h: Tensor
    h0: Tensor
    c0: Tensor | None = None
    lengths: Tensor | None = None
    reverse: bool = False
    error: Steps | None = None
    """How far x may be from what the engine had: where the layer below was estimated."""
    doubt: Tensor | None = None
    """The same of h, where this layer was."""
    received: Tensor | None = None
    """By step of the input what the products took as h of the step before, where that is not h: it was quantised."""

    @property
    def state(self) -> tuple[Tensor, ...]:
        """(h0,) or (h0, c0)."""
        return (self.h0,) if self.c0 is None else (self.h0, self.c0)

    def items(self, some: slice) -> Run:
        """The run of some items of the batch."""
        c0, lengths = (None if of is None else of[some] for of in (self.c0, self.lengths))
        h, doubt, received = (None if of is None else of[:, some] for of in (self.h, self.doubt, self.received))
        assert h is not None
        error = None if self.error is None else self.error[:, some]
        return Run(self.x[:, some], h, self.h0[some], c0, lengths, self.reverse, error, doubt, received)


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
    doubt: Tensor | None = None
    """How far h before may be from the engine's."""

    def cut(self, start: int, stop: int, batch: slice = slice(None)) -> Chunk:
        x, before, after = (a[start:stop, batch] for a in (self.x, self.before, self.after))
        others = (self.steps, self.valid, self.error, self.doubt)
        steps, valid, error, doubt = (None if a is None else a[start:stop, batch] for a in others)
        return Chunk(self.start + start, x, before, after, steps, valid, error, doubt)


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
            at = (steps + 1).clamp_(max=total - 1), each
            before, doubt = run.h[at], None if run.doubt is None else run.doubt[at]
            if run.received is not None:
                before = run.received[steps, each]
            elif not start:
                before[0] = run.h0
            if doubt is not None and not start:
                doubt[0] = 0
            error = None if run.error is None else run.error[steps, each]
            yield Chunk(start, run.x[steps, each], before, run.h[steps, each], steps, valid, error, doubt)
        else:
            before = _shifted(run.h, run.h0, start, stop) if run.received is None else run.received[start:stop]
            doubt = None if run.doubt is None else _shifted(run.doubt, torch.zeros_like(run.doubt[0]), start, stop)
            error = None if run.error is None else run.error[start:stop]
            yield Chunk(start, run.x[start:stop], before, run.h[start:stop], None, valid, error, doubt)


def _shifted(values: Tensor, first: Tensor, start: int, stop: int) -> Tensor:
    """The step before each."""
    return values[start - 1 : stop - 1] if start else torch.cat([first[None], values[: stop - 1]])
