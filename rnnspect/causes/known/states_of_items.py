"""Initial states that are lost for some items of the batch alone, as for one that is added to a running batch."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._first_step import FirstStep
from rnnspect.causes.known.order import first_few
from rnnspect.judging.assumption import Assumption

_MOST_ITEMS = 256
"""Batches of at most so many items are looked at."""
_NEARER = 16
"""From zeros the first step of an item has to come so many times nearer to the equations."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    run, batch = assumed.run, assumed.run.x.shape[1]
    first = _first(assumed) if 1 < batch <= _MOST_ITEMS else None
    if first is None:
        return
    off = _off(first, ())
    for lost in [["h0"]] if run.c0 is None else [["h0", "c0"], ["h0"], ["c0"]]:
        items = (_NEARER * _off(first, lost) < off).nonzero().flatten()
        if 0 < len(items) < batch:
            words, said = " and ".join(lost), first_few(items.tolist())
            some = f"batch item{'s' * (len(items) > 1)} {said}"
            yield Cause(
                "state-ignored",
                f"{words} {'are' if len(lost) > 1 else 'is'} ignored for {some}: the engine starts from zeros there",
                f"Pass {words} for each item of the batch, in its own row.",
                functools.partial(_from_zero, names=lost, items=items),
                {"which": words, "items": said},
                reach="place" if assumed.seen and run.error is None else "stack",
            )


def _first(assumed: Assumption) -> FirstStep | None:
    """The first step of the layer; or, of a stack of which layers were not observed, the one through all of them."""
    if assumed.seen and assumed.run.error is None:
        return FirstStep.of(assumed, every=True)
    stack = assumed.stack
    lowest = Assumption.of(stack, (0, assumed.direction), stack.x, None, assumed.u)
    return FirstStep.of(lowest, every=True)


def _off(first: FirstStep, lost: Collection[str]) -> Tensor:
    """(B,): how far h after the first step is from the equations, if it begins without these states."""
    names = "h0", "c0"
    layers = tuple(
        (equations, tuple(torch.zeros_like(v) if n in lost else v for n, v in zip(names, state, strict=False)))
        for equations, state in first.layers
    )
    return (first.h - replace(first, layers=layers).given(first.x)).abs().amax(-1)


def _from_zero(assumed: Assumption, names: list[str], items: Tensor) -> Assumption:
    return assumed.with_run(**{name: getattr(assumed.run, name).index_fill(0, items, 0) for name in names})
