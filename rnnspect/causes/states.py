"""Initial and carried states."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from rnnspect.causes.interface import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rnnspect.judging.reading import Reading


def causes(reading: Reading) -> Iterator[Cause]:
    run = reading.run
    states = ["h0"] if run.c0 is None else ["h0", "c0"]
    for ignored in [states, *([[name] for name in states] if len(states) > 1 else [])]:
        if any(bool(getattr(run, name).any()) for name in ignored):
            words = " and ".join(ignored)
            yield Cause(
                "state-ignored",
                f"{words} {'are' if len(ignored) > 1 else 'is'} ignored: the engine starts from zero",
                f"Pass {words}; an exported model may have lost the input for it.",
                functools.partial(_from_zero, names=ignored),
                {"which": words},
            )
    if run.c0 is not None and run.c0.shape == run.h0.shape and not torch.equal(run.h0, run.c0):
        yield Cause(
            "h-c-exchanged",
            "h0 and c0 stand in each other's place",
            "Hand them over as (h, c): Keras, PyTorch and ONNX do; TensorFlow 1 and Flax take (c, h).",
            lambda r: r.with_run(h0=r.run.c0, c0=r.run.h0),
        )
    if run.lengths is None and len(run.x[:1]) and run.x.shape[0] > 1:
        for start in ("zero", "the initial state"):
            yield Cause(
                "state-not-carried",
                f"each step starts from {start}: the state is not handed on from step to step",
                "Give each step the state that the one before it returned.",
                functools.partial(_every_step_alone, from_zero=start == "zero"),
                {"start": start},
            )


def _from_zero(reading: Reading, names: list[str]) -> Reading:
    return reading.with_run(**{name: _zero(getattr(reading.run, name)) for name in names})


def _zero(state: Tensor) -> Tensor:
    return torch.zeros_like(state)


def _every_step_alone(reading: Reading, from_zero: bool) -> Reading:
    """Each step as a batch item of one step."""
    run = reading.run
    steps, batch = run.x.shape[:2]
    states = {name: state for name in ("h0", "c0") if (state := getattr(run, name)) is not None}
    repeated = {name: (_zero(state) if from_zero else state).repeat(steps, 1) for name, state in states.items()}
    x, h = (values[:].reshape(1, steps * batch, -1) for values in (run.x, run.h))
    error = None if run.error is None else run.error[:].reshape(1, steps * batch, -1)
    return reading.with_run(x=x, h=h, error=error, reverse=False, **repeated)
