"""Dropout that was active: elements of an input, an output or a state are zero, the others multiplied by 1/(1 − p).

The mask is random, so it has to be read off the run: the h of a step tells which elements of its input, or of the h
before it, were kept, and the zeros of an output are its mask. An input with many elements can have more of them than
there are values of h that depend on it; then the mask cannot be found. This happens above a bidirectional LSTM (in a
GRU or an RNN both directions tell together), in a GRU that resets before the product, where relu leaves too few values,
and where a half type leaves too few digits of h. An input of more than 512 elements is not looked at, since it would
take seconds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._dropout_masks import (
    FEW,
    USUAL,
    Equations,
    StateStep,
    Step,
    bits_shown,
    difference,
    is_readable,
    masks,
    probability,
    said_by,
    telling,
)
from rnnspect.causes.known._dropout_of_gates import masks_of_gates
from rnnspect.causes.known._first_step import step_room
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import LayerRun
from rnnspect.network.shown import counted


@dataclass(frozen=True)
class _Found:
    """Dropout with probability p that was found."""

    p: float
    run: LayerRun
    """The first steps, with the dropout applied to their input or state, or removed from their h."""
    steps: int
    items: int
    """How many steps and items were looked at."""
    relative: float = 0.0
    """The additional relative error of h."""


STEPS, ITEMS = 16, 4
"""How many steps and batch items are looked at: the masks of others are as random, and tell nothing more."""
_WORK = STEPS * ITEMS * 128**3
"""The cubes of the numbers of elements that may be solved for: of a larger input fewer steps are looked at, which is
enough."""
_ENOUGH = 32
"""Masks have to explain so many bits more than they could be fitted to by chance."""
_MOVED = 4
"""So many of these bits have to be in values that the input as it is does not explain; noise in coarse numbers has next
to none."""


@dataclass(frozen=True)
class _Beginning:
    """The first steps of the first items, in processing order."""

    assumed: Assumption
    run: LayerRun
    x: Tensor
    """The input of `run`, in float64."""
    at: Tensor
    """(steps, B): the step of the input."""
    inside: Tensor
    """(steps, B): whether the item has that step."""

    @classmethod
    def of(cls, assumed: Assumption, elements: int) -> _Beginning:
        """The beginning of a run in which so many elements may have been dropped before each step."""
        run = assumed.run
        total, batch = run.x.shape[:2]
        looks = max(2, _WORK // elements**3)  # the first step may begin with zeros
        items = min(batch, ITEMS, looks // 2)
        steps = min(total, STEPS, looks // items)
        ends, at = run.step_counts[:items], run.order(0, steps)[:, :items]
        first = replace(run.take(at, slice(items)), lengths=ends.clamp(max=steps), reverse=False)
        inside = torch.arange(steps).unsqueeze(1) < ends
        return cls(assumed, first, torch.where(inside.unsqueeze(-1), first.x[:].double(), 0), at, inside)

    @property
    def state(self) -> tuple[Tensor, ...]:
        """The states before the first step, in float64."""
        return tuple(state.double() for state in self.run.state)

    @functools.cached_property
    def equations(self) -> Equations:
        return Equations(self.assumed.cell, self.assumed.p, self.assumed.nonlinearity)

    @functools.cached_property
    def room(self) -> float:
        """About how far h of one step of a correct engine may be off."""
        return step_room(self.assumed, self.run)

    @property
    def bits(self) -> float:
        """How many bits of information one value of h holds."""
        return -math.log2(min(1.0, 2 * self.room))


def causes(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    if not len(run.x[:1]):
        return
    beginning, of_state = (_Beginning.of(assumed, each.shape[2]) for each in (run.x, run.h))
    first = beginning.run
    if not first.h.any() or not first.h[first.inside].isfinite().all() or not beginning.x.isfinite().all():
        return  # nobody observed it, or there is nothing to read
    each = (
        ("input", "the layer's input", _of_masks(beginning, "input")),
        ("output", "the layer's output", _of_output(beginning)),
        ("state", "the h that each step begins with", _of_masks(of_state, "state")),
        ("output and state", "h, which is returned and which the next step begins with", _of_output(beginning, True)),
    )
    if not any(found for _, _, found in each):
        yield from masks_of_gates(assumed, beginning.equations, beginning.room)
    for where, words, found in each:
        if found is None:
            continue
        p = found.p
        yield Cause(
            "dropout-active",
            f"dropout with p = {p:.4g} is active on {words}: the engine ran in train mode, set elements to "
            f"zero at random and multiplied the others by {1 / (1 - p):.4g} (found in {counted(found.steps, 'step')} "
            f"of {counted(found.items, 'batch item')}; no others were examined)",
            "Call model.eval() (training=False, deterministic=True) before the run, or set dropout to 0.",
            functools.partial(_changed, run=found.run, relative=found.relative),
            {"where": where, "p": p},
            shown=lambda _assumed: True,  # the run shows it by the masks, which are its own
        )


def _changed(assumed: Assumption, run: LayerRun, relative: float) -> Assumption:
    return replace(assumed, run=run, u=replace(assumed.u, relative=assumed.u.relative + relative))


def _of_masks(beginning: _Beginning, where: Literal["input", "state"]) -> _Found | None:
    """Dropout of the layer's input, or of the h before each step. Masks are found step by step, each from the h of its
    step. They count only if they explain more bits of h than a mask could be fitted to by chance, some of these in
    values that the input as it is does not explain; and only if at least half as many steps as p lets expect have a
    zeroed element, as the input may merely be multiplied."""
    first, known = beginning.run, beginning.assumed.stack.spec.dropout
    usual = tuple(dict.fromkeys((known, *USUAL) if 0 < known < 1 else USUAL))
    state, p = beginning.state, 0.0
    dropped, began = list[Tensor](), list[tuple[Tensor, ...]]()
    told, ends = beginning.inside[0], torch.zeros_like(beginning.at[0])
    shown = moved = zeroed = expected = 0.0
    for n, x in enumerate(beginning.x):
        steps = _steps(beginning, n, state, where)
        row = x if where == "input" else state[0]
        if not n and not is_readable(steps, row.shape[1]):
            return None
        if not p and bool(row.any()):
            found = probability(steps, row, usual, beginning.room)
            if found is None or not 0 < found < 1:
                return None
            p = found
        scaled = row / (1 - p)
        mask, can = masks(steps, row, p, beginning.room)
        told = told & can & beginning.inside[n]
        if not told.any():
            break
        ends += told
        dropped.append(scaled * mask)
        elements = (row != 0).sum(1)
        bits, off = (  # of all values, and of those that differ
            torch.where(told, of - elements, 0).clamp(min=0)
            for of in (telling(steps) * beginning.bits, bits_shown(steps, row, beginning.room))
        )
        shown, moved = shown + float(bits.sum()), moved + float(off.sum())
        zeroed += float(((difference(steps, scaled) > beginning.room) & (bits > 0)).sum())
        expected += float((1 - (1 - p) ** elements[bits > 0].double()).sum())
        u = beginning.equations.input(dropped[n] if where == "input" else x)
        began.append(state if where == "input" else (dropped[n], *state[1:]))
        state = (first.h[n].double(), *beginning.equations.step(u, began[n])[1:])
    too_few = 2 * zeroed < expected or 2 * ends.sum() < beginning.inside.sum()
    if not zeroed or too_few or shown < _ENOUGH or moved < _MOVED:
        return None
    if where == "state":
        return _one_step_each(beginning, began, first.h[: len(began)], ends, p)
    items, received = ends.nonzero().flatten(), torch.stack(dropped)
    error = 2 * beginning.assumed.u.stored * received.abs()  # of the product with 1/(1 − p)
    if first.error is not None:
        error += first.error[: len(dropped)] / (1 - p)
    run = first.take(slice(len(dropped)))
    run = replace(replace(run, x=received, error=error).take(items=items), lengths=ends[items])
    return _Found(p, run, int(ends.sum()), len(items))


def _one_step_each(
    beginning: _Beginning, began: Sequence[tuple[Tensor, ...]], h: Tensor, ends: Tensor, p: float, relative: float = 0
) -> _Found:
    """What was found in the first `ends` (B,) steps of each item, with every step as an item of its own, which begins
    with the state `began` and gives h (steps, B, P)."""
    first, steps = beginning.run, torch.arange(len(began)).unsqueeze(1)
    at = steps < ends
    states = [torch.stack(of)[at] for of in zip(*began, strict=True)]
    grown = steps.expand_as(at)[at].unsqueeze(1) * beginning.room  # c is carried, and may be off as h may at each step
    errors = (2 * beginning.assumed.u.stored * states[0].abs(), *(grown * (1 + c.abs()) for c in states[1:]))
    run = LayerRun(
        beginning.x[: len(began)][at].unsqueeze(0),
        h[at].unsqueeze(0),
        states[0],
        states[1] if states[1:] else None,
        error=None if first.error is None else first.error[: len(began)][at].unsqueeze(0),
        begun_error=errors,
    )
    return _Found(p, run, int(ends.sum()), int((ends > 0).sum()), relative)


def _steps(beginning: _Beginning, n: int, state: tuple[Tensor, ...], where: Literal["input", "state"]) -> list[Step]:
    """The n-th step in processing order; also the same step of the other direction, where h of one direction has fewer
    values than the input has elements."""
    first, assumed = beginning.run, beginning.assumed
    if where == "state":
        u = beginning.equations.input(beginning.x[n])
        return [StateStep(beginning.equations, state[1:], first.h[n].double(), u)]
    own, inputs = Step(beginning.equations, state, first.h[n].double()), first.x.shape[2]
    other, stack = assumed.other, assumed.stack
    if inputs <= max(FEW, first.h.shape[2]) or len(state) > 1 or other not in stack.h:
        return [own]
    h, h0, each = stack.h[other], stack.states[other][0], torch.arange(first.x.shape[1])
    ends = assumed.run.step_counts[each]
    before = beginning.at[n] + (1 if other[1] == "reverse" else -1)
    begins = ((before < 0) | (before >= ends)).unsqueeze(1)
    state = (torch.where(begins, h0[each], h[before.clamp(0, h.shape[0] - 1), each]).double(),)
    equations = Equations(assumed.cell, stack.parameters[other], stack.spec.nonlinearity_of(other[1]))
    return [own, Step(equations, state, h[beginning.at[n], each].double())]


def _of_output(beginning: _Beginning, carried: bool = False) -> _Found | None:
    """Dropout of the layer's output: its zeros are the mask, and the other numbers tell p. `carried`: the next step
    began with the dropped h."""
    first, equations = beginning.run, beginning.equations
    inside = beginning.inside.unsqueeze(-1)
    if not bool(((first.h == 0) & inside).any()):
        return None
    state, h, began = beginning.state, torch.zeros_like(first.h, dtype=torch.float64), list[tuple[Tensor, ...]]()
    p: float | None = None
    zeroed = 0
    for n, given in enumerate(first.h.double()):
        began.append(state)
        m, *others = equations.step(equations.input(beginning.x[n]), state)
        h[n] = equations.projected(m)
        zero = given == 0
        clear = ~zero & (h[n].abs() > 4 * beginning.room) & inside[n]
        if p is None and bool(clear.any()):
            sizes = [float(values[clear].abs().sum()) for values in (given, h[n])]
            p = said_by(sizes[0] / sizes[1], beginning.room)
            if not 0 < p < 1:
                return None
        zeroed += int((zero & (h[n].abs() > beginning.room) & inside[n]).sum())
        if p is not None:
            h[n] = torch.where(zero, h[n], given * (1 - p))
        state = (given if carried else h[n], *others)
    shown = int(((first.h != 0) & inside).sum()) * beginning.bits - int(inside.sum()) * h.shape[2]
    if p is None or not zeroed or shown < _ENOUGH:
        return None
    relative = 4 * beginning.assumed.u.stored  # of the product with 1/(1 − p), and of the zeros
    if carried:
        return _one_step_each(beginning, began, h, beginning.inside.sum(0), p, relative)
    return _Found(p, replace(first, h=h), int(inside.sum()), h.shape[1], relative)
