"""The gradients of the two directions: the reverse one in the wrong order of steps, the halves exchanged, or one
direction missing in dL/dx."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.causes.known.directions import turned
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.chunks import LayerRun


def causes(seen: Seen) -> Iterator[BackwardCause]:
    assumed = seen.assumed
    ways = ["the whole sequence"] + ([] if assumed.run.lengths is None else ["each item's own length"])
    if assumed.direction == "reverse":
        for way in ways:
            own = way != ways[0]
            yield BackwardCause(
                "grad-reverse-not-realigned",
                f"the gradient of the output is not turned round for the reverse direction (over {way})",
                "The backward pass of the reverse direction runs from step 0 to the last one: give each step dL/d of "
                "its own output.",
                functools.partial(_upstream_turned, own=own),
                {"of": "output", "over": way},
            )
            yield BackwardCause(
                "grad-reverse-not-realigned",
                f"dL/dx of the reverse direction is not turned round (over {way})",
                "Put dL/dx of each step at that step's place in the input.",
                functools.partial(_x_turned, own=own),
                {"of": "x", "over": way},
            )
            yield BackwardCause(
                "grad-reverse-not-realigned",
                "the backward pass of the reverse direction is that of a forward one: neither the gradient of its "
                f"output nor its dL/dx is turned round (over {way})",
                "Give each step dL/d of its own output, and put its dL/dx at that step's place in the input.",
                functools.partial(_both_turned, own=own),
                {"of": "output and x", "over": way},
            )
    upstream = seen.layer.upstream
    if upstream.shape[2] == 2 * assumed.back.upstream.shape[2]:
        yield BackwardCause(
            "grad-x-of-one-direction",
            f"dL/dx lacks what the {assumed.direction} direction adds to it",
            "Both directions receive x: give the sum of dL/dx of both.",
            lambda r: r.with_mistake(given_x=torch.zeros_like),
            {"without": assumed.direction},
        )
        other = upstream.chunk(2, -1)[0 if assumed.direction == "reverse" else 1]
        yield BackwardCause(
            "grad-halves-exchanged",
            "the two halves of the gradient of the output are swapped: forward gets that of reverse",
            "The first half of the features is that of the forward direction.",
            functools.partial(BackwardAssumption.with_back, upstream=other),
        )


def _turned(values: Tensor, run: LayerRun, own: bool) -> Tensor:
    """The values in the opposite order of steps; with `own` each item within its own length."""
    if not own or run.lengths is None:
        return values.flip(0)
    return turned(values, run.lengths.repeat(values.shape[1] // len(run.lengths)))  # of several runs of the batch


def _upstream_turned(assumed: BackwardAssumption, own: bool) -> BackwardAssumption:
    return assumed.with_back(upstream=_turned(assumed.back.upstream, assumed.run, own))


def _both_turned(assumed: BackwardAssumption, own: bool) -> BackwardAssumption:
    return _x_turned(_upstream_turned(assumed, own), own)


def _x_turned(assumed: BackwardAssumption, own: bool) -> BackwardAssumption:
    seen = assumed.back.seen
    made = assumed.with_back(seen=_turned(seen, assumed.run, own))
    made = made.with_mistake(given_x=functools.partial(_turned, run=assumed.run, own=own))
    return replace(made, shown=seen)
