"""A function between two layers, or before the first: what a layer receives goes through relu, tanh or σ."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._first_step import FirstStep
from rnnspect.judging.assumption import Assumption

_NEARER = 16
"""With the function, the first step has to come so many times nearer to the equations."""
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh, "σ": torch.sigmoid}
"""None of them makes the error of its argument larger."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    what = "what the layer below hands on" if assumed.layer else "x"
    for name, function in _FUNCTIONS.items():
        if not assumed.seen or assumed.run.error is not None or _is_applied(assumed, function):
            yield Cause(
                "input-through-function",
                f"{what} goes through {name} first",
                f"Leave {name} out, or put it in on both sides: a stack of torch's hands on h as it is.",
                functools.partial(_applied, function=function),
                {"function": name},
                reach="layer",
            )


def _is_applied(assumed: Assumption, function: Callable[[Tensor], Tensor]) -> bool:
    """Whether the first step, which begins with a known state, shows it."""
    if (step := FirstStep.of(assumed)) is None:
        return False
    without, applied = (float((step.h - step.given(x)).abs().max()) for x in (step.x, function(step.x)))
    return applied * _NEARER <= without


def _applied(assumed: Assumption, function: Callable[[Tensor], Tensor]) -> Assumption:
    run = assumed.run
    x = function(run.x[:].double())
    error = x.abs() * 2 * assumed.u.stored + 2 * assumed.u.sums  # a function's result is as good as a gate's
    return assumed.with_run(x=x, error=error if run.error is None else error + run.error[:])
