"""Backpropagation through time that ends early: every so many steps, at one step, or at the initial state; of all
states, or of one alone where there are two."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.network.shown import counted


@dataclass(frozen=True)
class _Which:
    """What is detached: one state alone, or with None all of them. `start`: the initial state gets no gradient
    either."""

    state: str | None
    start: bool
    other: str = ""
    """The name of the state that is not detached."""

    def said(self, where: str) -> str:
        return f"{self.state or 'the state'} {where}" + (f", and {self.other} is not" if self.state else "")

    @property
    def parameters(self) -> dict[str, Any]:
        return {"of": self.state} if self.state else {}

    def of(self, at: Callable[[Tensor], Tensor]) -> Callable[[BackwardAssumption], BackwardAssumption]:
        """The change that detaches the states before the steps at some places in processing order."""
        detached = functools.partial(_at, which=self, at=at)
        return functools.partial(BackwardAssumption.with_mistake, detached=detached)


def causes(seen: Seen) -> Iterator[BackwardCause]:
    cell, given = seen.assumed.cell, seen.assumed.states
    zero = [name for name, g in given.items() if not bool(g.any())]
    each = [_Which(None, bool(zero) and len(zero) == len(given))]
    if len(cell.states) == 2:
        each += [_Which(one, one in zero, other) for one, other in (cell.states, cell.states[::-1])]
    first = seen.assumed.run.order(0, 1)[0], torch.arange(seen.batch)
    if seen.steps > 1 and seen.order in (None, seen.steps - 1) and not bool(seen.assumed.back.seen[first].any()):
        yield _first_skipped(each[0].start)
    if seen.order is not None and 0 < seen.order < seen.steps - 1:
        yield from _window(seen, each[0].start)
    for which in each:
        if seen.order is not None and 0 < seen.order < seen.steps:
            yield from _truncated(seen.steps, seen.order, which)
        if which.start and (which.state is None) == (len(zero) == len(given)):
            name = "the initial state" if which.state is None else f"the initial {which.state}"
            yield BackwardCause(
                "grad-initial-state-detached",
                f"no gradient reaches {name}: it is detached before the first step",
                f"Do not detach {name}, where its gradient is wanted; if it is a constant, this is right.",
                which.of(_at_zero),
                which.parameters,
                "ends",
            )


def _first_skipped(zero: bool) -> BackwardCause:
    """`zero`: whether the initial state has no gradient."""
    change: dict[str, Any] = {"skipped": 1}
    if zero:
        change["detached"] = lambda _state, places: places == 1
    return BackwardCause(
        "grad-first-step-skipped",
        "the backward loop ends before the first step, which adds nothing to any gradient; the gradient of the initial "
        "state is " + ("zero" if zero else "that of the state after the first step"),
        "Go back over every step: from T − 1 down to 0.",
        functools.partial(BackwardAssumption.with_mistake, **change),
    )


def _window(seen: Seen, zero: bool) -> Iterator[BackwardCause]:
    """The loop back ends before the first steps, which show nothing. `zero`: whether the initial state has no
    gradient."""
    assert seen.order is not None
    run, place = seen.assumed.run, seen.steps - seen.order
    shown = seen.assumed.back.seen[run.order(0, place), torch.arange(seen.batch)].any(-1)
    if bool((shown & run.inside[:place]).any()):
        return
    change: dict[str, Any] = {"skipped": place}
    if zero:
        change["detached"] = lambda _state, places: places == place
    yield BackwardCause(
        "grad-truncated",
        f"the backward loop covers only the last {counted(seen.order, 'step')} of {seen.order + place}: those before "
        "add nothing to any gradient, not even by their own outputs",
        f"Go back over every step, from T − 1 down to 0, or check with sequences of {counted(seen.order, 'step')}.",
        functools.partial(BackwardAssumption.with_mistake, **change),
        {"steps": seen.order, "of": "the last steps alone"},
    )


def _truncated(steps: int, order: int, which: _Which) -> Iterator[BackwardCause]:
    """The truncations that fit: the first wrong gradient going back is that of the step before a detached state."""
    place = steps - order
    periods = [k for k in range(order, place + 1) if place % k == 0]
    for k in periods:
        if k < place and not (k == 1 and which.state and which.start):  # that is a lost path (`paths.py`)
            every = f"every {k} steps" if k > 1 else "at every step"
            yield BackwardCause(
                "grad-truncated",
                f"backpropagation is truncated {every}: {which.said('is detached there')}",
                _fix(k),
                which.of(functools.partial(_every, k=k)),
                {"steps": k, **which.parameters},
            )
    if order < place and steps % order:  # else it is the same as a truncation counted from the first step
        yield BackwardCause(
            "grad-truncated",
            f"backpropagation is truncated every {order} steps, counted from the last one"
            + (f": {which.said('is detached there')}" if which.state else ""),
            _fix(order),
            which.of(functools.partial(_every_from_end, k=order, steps=steps)),
            {"steps": order, "from": "the end", **which.parameters},
        )
    yield BackwardCause(
        "grad-detached",
        f"{which.said(f'before step {place} is detached')}: no gradient goes to the steps before it"
        + (f" through {which.state}" if which.state else ""),
        "Do not detach the state there, or check the two parts of the sequence by themselves.",
        which.of(functools.partial(_once, place=place)),
        {"step": place, **which.parameters},
    )


def _fix(steps: int) -> str:
    if steps == 1:
        return "Do not detach the state between the steps."
    return f"Detach the state less often, or check with sequences of {steps} steps, if the truncation is meant."


def _at(state: str, places: Tensor, which: _Which, at: Callable[[Tensor], Tensor]) -> Tensor:
    found = at(places) & (places > 0) | (places == 0) & which.start
    return found & (which.state in (None, state))


def _every(places: Tensor, k: int) -> Tensor:
    return places % k == 0


def _every_from_end(places: Tensor, k: int, steps: int) -> Tensor:
    return (steps - places) % k == 0


def _once(places: Tensor, place: int) -> Tensor:
    return places == place


def _at_zero(places: Tensor) -> Tensor:
    return places == 0
