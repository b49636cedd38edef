"""An associative scan of state' = a ⊙ state + b whose combine function takes its two arguments in the other order:
(a₁ a₂, a₁ b₂ + b₁) in place of (a₁ a₂, a₂ b₁ + b₂). What a step adds is then decayed by the steps before it, not by
those after it."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import few_in_order
from rnnspect.causes.known.forms._chunk_states import Inexact
from rnnspect.causes.known.forms._linear_steps import (
    LinearBlock,
    LinearSteps,
    leading_to,
    linear_steps,
    relative_error,
    steps_off,
)
from rnnspect.judging.assumption import Assumption

_ADDED, _DECAYED, _ELEMENT = "added to the first step", "decayed by all steps", "an element before the first step"
"""How the initial state came into the scan."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    if not few_in_order(assumed) or (steps := linear_steps(assumed)) is None:
        return
    begun = any(bool(block.first.any()) for block in steps.blocks)
    for how in (_ADDED, _DECAYED, _ELEMENT) if begun else (_ADDED,):
        if (made := _scanned(assumed, steps, how)) is not None:
            yield Cause(
                "scan-order",
                "the scan combines two steps in the other order: what a step adds is decayed by the steps before it"
                + (f"; the initial state is {how}" if begun else ""),
                "Combine an earlier (a₁, b₁) and a later (a₂, b₂) to (a₁ a₂, a₂ b₁ + b₂).",
                functools.partial(_made, made=made),
                {"state": how} if begun else {},
            )
            return


def _made(_assumed: Assumption, made: Assumption) -> Assumption:
    return made


def _scanned(assumed: Assumption, steps: LinearSteps, how: str) -> Assumption | None:
    """The run with such a scan: over the whole run, or anew in each chunk, whose length follows from the first wrong
    step; None where none gives the run."""
    count = len(steps.other)
    made, off = _led(assumed, steps, how, count)
    if off and off[0] > 1:
        made, off = _led(assumed, steps, how, off[0])
    return None if off else made


def _led(assumed: Assumption, steps: LinearSteps, how: str, size: int) -> tuple[Assumption, list[int]]:
    """The run with such scans of `size` steps, and the steps at which the engine's h contradicts that."""
    made = leading_to(assumed, steps, [_states(assumed, block, how, size) for block in steps.blocks])
    return made, steps_off(made, len(steps.other))


def _states(assumed: Assumption, block: LinearBlock, how: str, size: int) -> Inexact:
    """The states after each step (T, B, …), and their error."""
    now, values, errors = block.first, list[Tensor](), list[Tensor]()
    for a, b in zip(torch.split(block.a, size), torch.split(block.b, size), strict=True):
        through = a.cumprod(0)
        before = torch.cat([torch.ones_like(a[:1]), through[:-1]])
        kept = {_ADDED: a[:1], _DECAYED: through, _ELEMENT: torch.ones_like(a[:1])}[how] * now
        value = (before * b).cumsum(0) + kept
        sizes = (before.abs() * (b.abs() + b.abs().mean())).cumsum(0) + kept.abs()
        terms = torch.arange(1, len(a) + 1, dtype=torch.float64).view(-1, *[1] * (a.dim() - 1))
        values.append(value)
        errors.append(sizes * relative_error(assumed, terms, a.abs().log().abs().cumsum(0)))
        now = value[-1]
    return torch.cat(values), torch.cat(errors)
