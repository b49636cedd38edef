"""Lengths that are not those of the items: each one step too short, or those of other items of the batch. The engine's
output is zero where it believes that an item has ended, which tells what it took for the lengths."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.order import first_few
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.layer_inputs import beside


def causes(assumed: Assumption) -> Iterator[Cause]:
    lengths = assumed.run.lengths
    if lengths is None or int(lengths.min()) < 2:
        return
    taken = _taken(assumed) if assumed.seen else lengths - 1  # others cannot be told of a layer that was not observed
    if bool((taken == lengths - 1).all()):
        yield Cause(
            "lengths-wrong",
            "the lengths are one too short: the last step of each sequence is left out",
            "Pass how many steps each sequence has, not the index of its last one.",
            functools.partial(_with_lengths, lengths=taken),
            {"lengths": "one too short"},
            reach="stack",
        )
    elif not torch.equal(taken, lengths) and torch.equal(taken.sort().values, lengths.sort().values):
        said = first_few(taken.tolist())
        yield Cause(
            "lengths-wrong",
            f"the lengths are those of other batch items: the engine used {said}",
            "Sort the lengths together with the items, or pass enforce_sorted=False.",
            functools.partial(_with_lengths, lengths=taken),
            {"lengths": "of other items"},
            reach="stack",
        )


def _taken(assumed: Assumption) -> Tensor:
    """How many steps of each item (B,) there are up to the last whose h is not zero."""
    h = assumed.run.h
    has_any = (h != 0).any(-1) & ~h.isnan().any(-1)
    return torch.where(has_any, torch.arange(1, len(h) + 1).unsqueeze(1), 0).amax(0)


def _with_lengths(assumed: Assumption, lengths: Tensor) -> Assumption:
    """The layer above receives what the layer below gave where the engine believes that an item goes on."""
    stack, below, x = assumed.stack, assumed.layer - 1, assumed.run.x
    if below >= 0 and assumed.run.error is None:
        x = beside([stack.h[below, direction] for direction in stack.spec.directions])
    return replace(assumed, run=replace(assumed.run, lengths=lengths, x=x))
