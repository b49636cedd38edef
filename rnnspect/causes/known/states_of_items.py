"""Initial states that are lost for some items of the batch alone, as for one that is added to a running batch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
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
    first = FirstStep.of(assumed, every=True) if assumed.seen and 1 < batch <= _MOST_ITEMS else None
    if first is None:
        return
    own = first.layers[0][1]
    off = _off(first, own)
    for lost in [["h0"]] if run.c0 is None else [["h0", "c0"], ["h0"], ["c0"]]:
        zero = tuple(torch.zeros_like(v) if n in lost else v for n, v in zip(("h0", "c0"), own, strict=False))
        items = (_NEARER * _off(first, zero) < off).nonzero().flatten()
        if 0 < len(items) < batch:
            words, said = " and ".join(lost), first_few(items.tolist())
            some = f"batch item{'s' * (len(items) > 1)} {said}"
            yield Cause(
                "state-ignored",
                f"{words} {'are' if len(lost) > 1 else 'is'} ignored for {some}: the engine starts from zeros there",
                f"Pass {words} for each item of the batch, in its own row.",
                functools.partial(_from_zero, names=lost, items=items),
                {"which": words, "items": said},
            )


def _off(first: FirstStep, state: tuple[Tensor, ...]) -> Tensor:
    """(B,): how far h after the first step is from the equations, if it begins with this state."""
    ((equations, _),) = first.layers
    return (first.h - replace(first, layers=((equations, state),)).given(first.x)).abs().amax(-1)


def _from_zero(assumed: Assumption, names: list[str], items: Tensor) -> Assumption:
    return assumed.with_run(**{name: getattr(assumed.run, name).index_fill(0, items, 0) for name in names})
