"""The order of steps, and the axes of time and batch."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from rnnspect.causes.interface import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnspect.judging.reading import Reading


def causes(reading: Reading) -> Iterator[Cause]:
    run = reading.run
    steps, batch = run.x.shape[:2]
    yield Cause(
        "directions-exchanged",
        "the sequence is read from the other end" + (", padding and all" if run.lengths is not None else ""),
        "Turn the direction, or exchange the two halves of the output.",
        lambda r: r.with_run(reverse=not r.run.reverse),
    )
    if run.lengths is not None:
        if run.reverse:
            yield Cause(
                "reverse-from-padding",
                "the reverse direction starts in the padding, at the last step of the batch and not of the item",
                "Hand over the lengths (pack_padded_sequence, sequence_lens, a mask), or reverse each item by itself.",
                lambda r: r.with_run(lengths=None),
            )
        else:
            yield Cause(
                "padding-not-masked",
                "the padding is run like any other step",
                "Hand over the lengths, or cut the output at them.",
                lambda r: r.with_run(lengths=None),
            )
    elif steps > 2:
        for late, explanation, fix in (
            (True, "the output is one step late: the state before each step is given", "Give the state after it."),
            (False, "the input is one step ahead: the first step is skipped", "Begin with the first step."),
        ):
            shifted = functools.partial(_shifted, late=late)
            yield Cause("shifted-by-one", explanation, fix, shifted, {"late": late})
    if run.lengths is None and batch > 1 and steps > 1 and not bool(run.h0.any()):
        yield Cause(
            "time-batch-exchanged",
            "the axes of time and batch are exchanged: the items of the batch are taken for steps",
            "Set batch_first (time_major, layout) to what the input is, or transpose it; a view does not.",
            _transposed,
        )


def _shifted(reading: Reading, late: bool) -> Reading:
    """What is given at a step is the output of the one before it in processing order (or of the one after)."""
    run = reading.run
    late = late is not run.reverse
    cut, other = (slice(None, -1), slice(1, None)) if late else (slice(1, None), slice(None, -1))
    error = None if run.error is None else run.error[cut]
    return reading.with_run(x=run.x[cut], h=run.h[other], error=error)


def _transposed(reading: Reading) -> Reading:
    run = reading.run
    steps = run.x.shape[0]
    states = {
        name: torch.zeros(steps, state.shape[1], dtype=state.dtype)
        for name in ("h0", "c0")
        if (state := getattr(run, name)) is not None
    }
    error = None if run.error is None else run.error[:].transpose(0, 1)
    return reading.with_run(x=run.x[:].transpose(0, 1), h=run.h.transpose(0, 1), error=error, **states)
