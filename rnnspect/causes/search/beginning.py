"""Whether a run agrees with a reading: its beginning first, so that most readings are refuted in a few steps."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rnnspect.arithmetic.numbers import one_thread
from rnnspect.judging.chunks import Run, chunks
from rnnspect.judging.judge import Judge
from rnnspect.judging.layer import Layer

if TYPE_CHECKING:
    from rnnspect.judging.interpretation import Reading

STEPS = 8
"""Steps, and steps after the first difference, that a reading is refuted on."""
_ITEMS = 64
_FEW = 64
"""Steps that several threads would only hinder."""
_GLANCE, _HOPELESS = 2, 100.0
"""Steps and items that are looked at once before anything else, and the ratio that no second look brings down."""


def begins_well(reading: Reading, order: int) -> bool:
    """Whether the run agrees in its first steps, and up to a few after `order`, in processing order."""
    for steps in (STEPS, order + STEPS):
        begun = replace(reading, run=beginning(reading.run, steps))
        with one_thread() if steps <= _FEW else nullcontext():
            if (steps == STEPS and is_hopeless(begun)) or not agrees(begun):
                return False
        if steps >= reading.run.x.shape[0] or order == 0:
            break
    return True


def is_hopeless(reading: Reading) -> bool:
    """Whether a glance at the first steps of a few items already refutes a reading."""
    layer = Layer(reading.cell, reading.p, reading.u, reading.nonlinearity)
    run = _steps(reading.run, _GLANCE).items(slice(_GLANCE))
    if not len(run.h):
        return True
    head = next(chunks(run, 1 if layer.stepwise else _GLANCE * _GLANCE))
    return not layer.look(head, layer.begin(run.c0), layer.plain).top < _HOPELESS


def agrees(reading: Reading) -> bool:
    """Whether every value of a run is inside its bound; not where there is none, or none that can be judged."""
    found, _ = Judge(reading.cell, reading.p, reading.u, reading.nonlinearity)(reading.run)
    return found.first is None and not found.unjudged and found.values > 0


def beginning(run: Run, steps: int) -> Run:
    """The first steps in processing order, of the first items."""
    run = _steps(run, steps)
    return run if run.x.shape[1] <= _ITEMS else run.items(slice(_ITEMS))


def _steps(run: Run, steps: int) -> Run:
    total = run.x.shape[0]
    if steps >= total:
        return run
    if run.reverse and run.lengths is not None:
        return _turned(run, steps)
    here = slice(total - steps, None) if run.reverse else slice(steps)
    lengths = None if run.lengths is None else run.lengths.clamp(max=steps)
    error, received = (None if of is None else of[here] for of in (run.error, run.received))
    return replace(run, x=run.x[here], h=run.h[here], lengths=lengths, error=error, received=received)


def _turned(run: Run, steps: int) -> Run:
    """Of items that end differently: their last steps as a run that begins with them."""
    assert run.lengths is not None
    at = (run.lengths - 1 - torch.arange(steps).unsqueeze(1)).clamp_(min=0), torch.arange(len(run.lengths))
    error, received = (None if of is None else of[at] for of in (run.error, run.received))
    lengths = run.lengths.clamp(max=steps)
    return replace(run, x=run.x[at], h=run.h[at], lengths=lengths, reverse=False, error=error, received=received)
