"""An associative scan of state' = a ⊙ state + b whose combine function takes its two arguments in the other order:
(a₁ a₂, a₁ b₂ + b₁) in place of (a₁ a₂, a₂ b₁ + b₂). What a step adds is then decayed by the steps before it, not by
those after it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

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
from rnnspect.causes.known.forms.decays import from_step_to_step
from rnnspect.judging.assumption import Assumption

_ADDED, _DECAYED, _ELEMENT = "added to the first step", "decayed by all steps", "an element before the first step"
"""How the initial state came into the scan."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    if not few_in_order(assumed) or (steps := linear_steps(assumed)) is None:
        return
    begun = any(bool(block.first.any()) for block in steps.blocks)
    for how in (_ADDED, _DECAYED, _ELEMENT) if begun else (_ADDED,):
        if (found := _scanned(assumed, steps, how)) is not None:
            made, prompt = found
            yield Cause(
                "scan-order",
                "the scan combines two steps in the other order: what a step adds is decayed by the steps before it"
                + (f"; the initial state is {how}" if begun else "")
                + (f"; in the first {prompt} steps alone, as in a prompt" if prompt else ""),
                "Combine an earlier (a₁, b₁) and a later (a₂, b₂) to (a₁ a₂, a₂ b₁ + b₂).",
                functools.partial(_made, made=made),
                {**({"state": how} if begun else {}), **({"prompt": prompt} if prompt else {})},
            )
            return


def _made(_assumed: Assumption, made: Assumption) -> Assumption:
    return made


def _scanned(assumed: Assumption, steps: LinearSteps, how: str) -> tuple[Assumption, int] | None:
    """The run with such a scan: over the whole run, or anew in each chunk, whose length follows from the first wrong
    step; or over a prompt alone, whose length is then the second value. None where none gives the run."""
    count = len(steps.other)
    made, off = _led(assumed, steps, how, [count])
    if not off:
        return made, 0
    if (size := off[0]) < 2:
        return None
    made, off = _led(assumed, steps, how, [*[size] * (count // size), count % size])
    if not off:
        return made, 0
    for prompt in dict.fromkeys((size, off[0] - 1, off[0])):  # its last chunk may have one step, which is right
        made, off = _led(assumed, steps, how, [*[size] * (prompt // size), prompt % size])
        if not off:
            return made, prompt
    return None


def _led(assumed: Assumption, steps: LinearSteps, how: str, sizes: Sequence[int]) -> tuple[Assumption, list[int]]:
    """The run with such scans of chunks of these sizes and with right steps behind them; and the steps at which the
    engine's h contradicts that."""
    made = leading_to(assumed, steps, [_states(assumed, block, how, sizes) for block in steps.blocks])
    return made, steps_off(made, len(steps.other))


def _states(assumed: Assumption, block: LinearBlock, how: str, sizes: Sequence[int]) -> Inexact:
    """The states after each step (T, B, …), and their error."""
    now, values, errors = block.first, list[Tensor](), list[Tensor]()
    pieces = [*sizes, len(block.a) - sum(sizes)]
    each = zip(torch.split(block.a, pieces), torch.split(block.b, pieces), strict=True)
    for number, (a, b) in enumerate(each):
        if not len(a):
            continue
        logs = a.log().cumsum(0)
        value, size = (from_step_to_step if number == len(sizes) else functools.partial(_scan, how=how))(logs, b, now)
        terms = torch.arange(1, len(a) + 1, dtype=torch.float64).view(-1, *[1] * (a.dim() - 1))
        values.append(value)
        errors.append(size * relative_error(assumed, terms, logs.abs()))
        now = value[-1]
    return torch.cat(values), torch.cat(errors)


def _scan(logs: Tensor, b: Tensor, now: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Σ exp(L_(s − 1)) ⊙ b_s and the state, and the sum of its terms' sizes."""
    through = logs.exp()
    before = torch.cat([torch.ones_like(through[:1]), through[:-1]])
    kept = {_ADDED: through[:1], _DECAYED: through, _ELEMENT: torch.ones_like(through[:1])}[how] * now
    return (before * b).cumsum(0) + kept, (before.abs() * (b.abs() + b.abs().mean())).cumsum(0) + kept.abs()
