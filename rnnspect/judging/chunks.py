"""What one layer and direction received and returned, and the same in chunks of steps, in processing order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.unroll import processing_order
from rnnspect.judging.layer_inputs import StepReader

ALL = slice(None)
INPUT, OUTPUT = ("x", "error"), ("h", "h_error", "regrouped", "c", "c_error")
"""The fields of a `LayerRun` that have a value at each step."""


@dataclass(frozen=True)
class LayerRun:
    """What one layer and direction received and returned: (steps, batch, units), states (batch, units)."""

    x: StepReader
    h: Tensor
    h0: Tensor
    c0: Tensor | None = None
    lengths: Tensor | None = None
    reverse: bool = False
    error: StepReader | None = None
    """The error of x, where the layer below was estimated or its h was recorded rounded."""
    h_error: Tensor | None = None
    """The error of h, where this layer was estimated."""
    regrouped: Tensor | None = None
    """How far h may be off because the engine may have computed many steps at once (`judging/regrouping.py`)."""
    begun_error: tuple[Tensor, ...] | None = None
    """The errors of h0, and of c0, (batch, units) each."""
    c: Tensor | None = None
    """The cell state after each step, where it was observed and each step is judged from it."""
    c_error: Tensor | None = None
    """How far c may be from the state with which the engine went on."""

    @property
    def state(self) -> tuple[Tensor, ...]:
        """(h0,) or (h0, c0)."""
        return (self.h0,) if self.c0 is None else (self.h0, self.c0)

    @property
    def step_counts(self) -> Tensor:
        """(B,): how many steps each item has."""
        steps, batch = self.x.shape[:2]
        return torch.full((batch,), steps) if self.lengths is None else self.lengths

    @property
    def inside(self) -> Tensor:
        """(T, B): whether the item has that step of the input."""
        return torch.arange(self.x.shape[0]).unsqueeze(1) < self.step_counts

    def order(self, start: int, stop: int) -> Tensor:
        """(stop − start, B): for each item the steps of the input at the places `start` to `stop` of processing order.
        In reverse it is 0 beyond an item's end, so that its padding is not read."""
        places, ends = torch.arange(start, stop).unsqueeze(1), self.step_counts
        order = processing_order(places, ends, self.reverse)
        return order.masked_fill(places >= ends, 0) if self.reverse and self.lengths is not None else order

    def mapped(self, change: Callable[[Any], Tensor], names: Sequence[str] = INPUT + OUTPUT) -> LayerRun:
        """The run with its values at each step changed: all fields, or those of these names."""
        changed: dict[str, Any] = {
            name: change(values) for name in names if (values := getattr(self, name)) is not None
        }
        return replace(self, **changed)

    def take(self, steps: slice | Tensor = ALL, items: slice | Tensor = ALL) -> LayerRun:
        """The run of some steps and some items of the batch, with the lengths that the items had. `steps` is a slice of
        the input, or the step of the input for each place and item (n, B), as `order` gives it."""
        if not isinstance(steps, slice) and isinstance(items, slice):
            items = torch.arange(self.x.shape[1])[items]
        c0, lengths = (None if of is None else of[items] for of in (self.c0, self.lengths))
        error = None if self.begun_error is None else tuple(of[items] for of in self.begun_error)
        cut = self.mapped(lambda values: values[steps, items])
        return replace(cut, h0=self.h0[items], c0=c0, lengths=lengths, begun_error=error)

    def first(self, steps: int) -> LayerRun:
        """Its first steps in processing order. In reverse, where items have different lengths, the steps are turned
        round, so that the result runs forwards."""
        total = self.x.shape[0]
        if steps >= total:
            return self
        lengths = None if self.lengths is None else self.lengths.clamp(max=steps)
        if self.reverse and self.lengths is not None:
            return replace(self.take(self.order(0, steps)), lengths=lengths, reverse=False)
        return replace(self.take(slice(total - steps, None) if self.reverse else slice(steps)), lengths=lengths)


@dataclass(frozen=True)
class Chunk:
    """Some steps from place `start` of processing order on: the input, and h before and after each."""

    start: int
    x: Tensor
    before: Tensor
    after: Tensor
    steps: Tensor | None = None
    """(steps, batch): their index in the input, where that is not the place in processing order."""
    valid: Tensor | None = None
    """(steps, batch): whether the item has that step; None where each has."""
    error: Tensor | None = None
    """The error of x."""
    h_error: Tensor | None = None
    """The error of h before."""
    regrouped: Tensor | None = None
    """How far h after may be off because of how the engine grouped its steps."""
    before_error: Tensor | None = None
    """The error of h before, where the engine did not show it."""
    c_before: Tensor | None = None
    """The cell state before, where it was observed; `c_error` is its error."""
    c_error: Tensor | None = None

    @property
    def at(self) -> Any:
        """The index of its steps in values (T, B, ·) by step of the input."""
        stop = self.start + len(self.x)
        return slice(self.start, stop) if self.steps is None else (self.steps, torch.arange(self.steps.shape[1]))

    @property
    def inside(self) -> Tensor:
        """(steps, batch): whether the item has that step."""
        return torch.ones(self.x.shape[:2], dtype=torch.bool) if self.valid is None else self.valid

    @property
    def count(self) -> int:
        """How many steps the items have in it, together."""
        return len(self.x) * self.x.shape[1] if self.valid is None else int(self.valid.sum())

    @property
    def is_finite(self) -> bool:
        return all(bool(of[self.inside].isfinite().all()) for of in (self.x, self.before, self.after))

    def cut(self, start: int, stop: int, batch: slice = ALL) -> Chunk:
        """Some of its steps and items."""
        x, before, after = (a[start:stop, batch] for a in (self.x, self.before, self.after))
        others = (self.steps, self.valid, self.error, self.h_error, self.regrouped, self.before_error)
        c = (self.c_before, self.c_error)
        return Chunk(
            self.start + start, x, before, after, *(None if a is None else a[start:stop, batch] for a in (*others, *c))
        )


def chunks(run: LayerRun, rows: int) -> Iterator[Chunk]:
    """The run in chunks of at most so many rows (steps × items), of one step at least."""
    total, batch = run.x.shape[:2]
    n = max(1, rows // batch)
    for start in range(0, total, n):
        yield chunk_at(run, start, min(total, start + n))


def chunk_at(run: LayerRun, start: int, stop: int) -> Chunk:
    """The steps from place `start` to `stop` of processing order."""
    each = torch.arange(run.x.shape[1])
    valid = None if run.lengths is None else torch.arange(start, stop).unsqueeze(1) < run.lengths
    steps = run.order(start, stop) if run.reverse else None
    at: Any = slice(start, stop) if steps is None else (steps, each)
    before = before_each(run.h, run.h0, start, stop, steps)
    error = None if run.error is None else run.error[at]
    h_error = run.h_error
    if h_error is not None:
        h_error = before_each(h_error, torch.zeros_like(h_error[0]), start, stop, steps)
    regrouped = None if run.regrouped is None else run.regrouped[at]
    before_error = None
    if run.begun_error is not None and start == 0:
        before_error = torch.zeros_like(before)
        before_error[0] = run.begun_error[0]
    c = c_error = None
    if run.c is not None and run.c_error is not None and start:
        c, c_error = (before_each(of, of[0], start, stop, steps) for of in (run.c, run.c_error))
    return Chunk(start, run.x[at], before, run.h[at], steps, valid, error, h_error, regrouped, before_error, c, c_error)


def before_each(values: Tensor, first: Tensor, start: int, stop: int, steps: Tensor | None) -> Tensor:
    """(stop − start, B, ·): the values (T, B, ·) of the step that was processed before each of the places `start` to
    `stop`; `first` (B, ·) before the very first one. `steps` is their index in the input, for a run in reverse."""
    if steps is None:
        earlier = values[max(start - 1, 0) : stop - 1]
    else:
        later = steps if start else steps[1:]
        earlier = values[(later + 1).clamp(max=len(values) - 1), torch.arange(values.shape[1])]
    return earlier if start else torch.cat([first[None], earlier])
