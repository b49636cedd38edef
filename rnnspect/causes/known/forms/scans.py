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
from rnnspect.causes.known.forms._linear_steps import LinearSteps, StateSums, in_chunks, linear_steps, standing
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
                functools.partial(standing, made=made),
                {**({"state": how} if begun else {}), **({"prompt": prompt} if prompt else {})},
            )
            return


def _scanned(assumed: Assumption, steps: LinearSteps, how: str) -> tuple[Assumption, int] | None:
    """The run with such a scan: over the whole run, or anew in each chunk, whose length follows from the first wrong
    step; or over a prompt alone, whose length is then the second value. None where none gives the run."""
    count, wrong = len(steps.other), functools.partial(_wrong, how=how)
    made, off = in_chunks(assumed, steps, [count], wrong)
    if not off:
        return made, 0
    if (size := off[0]) < 2:
        return None
    made, off = in_chunks(assumed, steps, [*[size] * (count // size), count % size], wrong)
    if not off:
        return made, 0
    for prompt in dict.fromkeys((size, off[0] - 1, off[0])):  # its last chunk may have one step, which is right
        made, off = in_chunks(assumed, steps, [*[size] * (prompt // size), prompt % size], wrong)
        if not off:
            return made, prompt
    return None


def _wrong(a: Tensor, b: Tensor, now: Tensor, how: str) -> StateSums:
    """Σ exp(L_(s − 1)) ⊙ b_s and the state."""
    logs = a.log().cumsum(0)
    through = logs.exp()
    before = torch.cat([torch.ones_like(through[:1]), through[:-1]])
    kept = {_ADDED: through[:1], _DECAYED: through, _ELEMENT: torch.ones_like(through[:1])}[how] * now
    sizes = (before.abs() * (b.abs() + b.abs().mean())).cumsum(0) + kept.abs()
    return StateSums((before * b).cumsum(0) + kept, sizes, logs)
