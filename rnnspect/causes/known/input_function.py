"""A function between two layers, or before the first: what a layer receives goes through relu, tanh or σ."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._first_step import FirstStep, may_show
from rnnspect.judging.assumption import Assumption

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh, "σ": torch.sigmoid}
"""None of them makes the error of its argument larger."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    what = "what the layer below hands on" if assumed.layer else "x"
    for name, function in _FUNCTIONS.items():
        if may_show(assumed, functools.partial(_left, function=function)):
            yield Cause(
                "input-through-function",
                f"{what} goes through {name} first",
                f"Leave {name} out, or put it in on both sides: a stack of torch's hands on h as it is.",
                functools.partial(_applied, function=function),
                {"function": name},
                reach="layer",
            )


def _left(step: FirstStep, function: Callable[[Tensor], Tensor]) -> Tensor:
    return step.h - step.given(function(step.x))


def _applied(assumed: Assumption, function: Callable[[Tensor], Tensor]) -> Assumption:
    run = assumed.run
    x = function(run.x[:].double())
    error = x.abs() * 2 * assumed.u.stored + 2 * assumed.u.sums  # a function's result is as good as a gate's
    return assumed.with_run(x=x, error=error if run.error is None else error + run.error[:])
