"""Backpropagation through time that ends early: every so many steps, at one step, or at the initial state."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardReading


def causes(seen: Seen) -> Iterator[BackwardCause]:
    states = [bool(g.any()) for g in seen.reading.states.values()]
    if seen.order is not None and 0 < seen.order < seen.steps:
        yield from _truncated(seen.steps, seen.order, bool(states) and not any(states))
    if not all(states):
        yield BackwardCause(
            "grad-initial-state-detached",
            "no gradient reaches the initial state: it is detached before the first step",
            "Do not detach the initial state, where its gradient is wanted; if it is a constant, this is right.",
            functools.partial(_detached, at=_at_zero),
            shows="ends",
        )


def _truncated(steps: int, order: int, start: bool) -> Iterator[BackwardCause]:
    """The first wrong gradient going back is that of the step before a state that was detached; `start`: no gradient
    reaches the initial state either, which is where the first part begins."""
    place = steps - order
    periods = [k for k in range(order, place + 1) if place % k == 0]
    for k in periods:
        if k < place:
            every = f"every {k} steps" if k > 1 else "at every step"
            yield BackwardCause(
                "grad-truncated",
                f"going back through time is truncated {every}: the state is detached there",
                _fix(k),
                functools.partial(_detached, at=functools.partial(_every, k=k, start=start)),
                {"steps": k},
            )
    if order < place and steps % order:  # else it is the same as counted from the first step
        yield BackwardCause(
            "grad-truncated",
            f"going back through time is truncated every {order} steps, counted from the last one",
            _fix(order),
            functools.partial(_detached, at=functools.partial(_every_from_end, k=order, steps=steps, start=start)),
            {"steps": order, "from": "the end"},
        )
    yield BackwardCause(
        "grad-detached",
        f"the state before step {place} is detached: no gradient goes to the steps before it",
        "Do not detach the state there, or check the two parts of the sequence by themselves.",
        functools.partial(_detached, at=functools.partial(_once, place=place, start=start)),
        {"step": place},
    )


def _fix(steps: int) -> str:
    if steps == 1:
        return "Do not detach the state between the steps."
    return f"Detach the state less often, or check with sequences of {steps} steps, if the truncation is meant."


def _detached(reading: BackwardReading, at: Callable[[Tensor], Tensor]) -> BackwardReading:
    return replace(reading, otherwise=replace(reading.otherwise, detached=at))


def _every(places: Tensor, k: int, start: bool) -> Tensor:
    return ((places % k == 0) & (places > 0)) | (places == 0) & start


def _every_from_end(places: Tensor, k: int, steps: int, start: bool) -> Tensor:
    return (((steps - places) % k == 0) & (places > 0)) | (places == 0) & start


def _once(places: Tensor, place: int, start: bool) -> Tensor:
    return (places == place) | (places == 0) & start


def _at_zero(places: Tensor) -> Tensor:
    return places == 0
