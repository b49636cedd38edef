"""The verdict on one call of a part of an ONNX model; where the model's input tests too little, the part runs again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.errors import InputError, RnnspectError
from rnnspect.judging.verdict import Verdict
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

PROBE = (8, 4)
"""Steps and batch of the sequence drawn for a part of which the model's own input does not tell enough."""


@dataclass(frozen=True)
class NodeVerdict:
    """The verdict of one call of one node or cell, or why there is none."""

    node: str
    index: int | None
    found: Verdict | str


def why(error: RnnspectError, before: str = "cannot tell: ") -> str:
    """Without the place, which the row names."""
    return f"{before}{replace(error.problems[0], where=None)}"


def probed(verdict: Verdict, spec: Spec, alone: Callable[[Sequence], Verdict], what: str) -> Verdict:
    """Where the model's own input leaves a gate unseen, such as f of a single step from c = 0, the part is run once
    more, alone, on a drawn sequence that does not. `alone` gives the verdict on that."""
    unseen = any(line.coarse_units for line in verdict.resolution)
    if verdict.verdict != "cannot tell" or not unseen or "leave the range" in (verdict.reason or ""):
        return verdict
    generator, kind = torch.Generator().manual_seed(0), getattr(torch, spec.dtype)
    steps, batch = PROBE

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).mul_(0.5).to(kind)

    states = [drawn(spec.num_directions, batch, spec.hidden_size) for _ in spec.cell_type.states]
    x = drawn(steps, batch, spec.input_size)
    try:
        again = alone(Sequence(x, states[0], states[1] if len(states) > 1 else None, None, batched=True))
    except InputError:
        return verdict
    if again.verdict == "cannot tell":
        return verdict
    note = f"the model's input does not test every gate, so the {what} was also run on {steps} random steps"
    if again.verdict == "differ":
        return replace(again, notes=(*again.notes, f"{note}, where it differs"))
    return replace(verdict, verdict="agree", reason=None, resolution=again.resolution, notes=(*verdict.notes, note))
