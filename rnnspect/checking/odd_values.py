"""What the numbers of a run that differs say by themselves: zeros and NaN, of shorter items of its batch or an array
that was never filled; and whole numbers, of a quantised output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.judging.case import Case
from rnnspect.judging.verdict import Verdict

_FEW = 16
"""Values that may be 0 by chance."""
_OWN = 16
"""The largest of whole numbers that may be a cell's own."""


def of_zeros(case: Case, verdict: Verdict, judged: Callable[[Case], Verdict]) -> Verdict | None:
    """The verdict with what its zeros, or its NaN, say; None where they say nothing. `judged` gives that of another
    reading."""
    if reason := _if_padded(case, judged):
        return replace(verdict, reason=reason)
    if (seen := _wrong_at_a_step(case, verdict)) is None:
        return None
    quantity, values = seen
    said = f"all {values.numel():,} values of this {quantity} are"
    if bool(values.isnan().all()):
        return replace(verdict, notes=(*verdict.notes, f"{said} NaN"))
    if case.spec.nonlinearity == "relu" or values.numel() < _FEW or bool(values.any()):
        return None  # no mistake makes only zeros of tanh and σ
    return replace(verdict, notes=(*verdict.notes, f"{said} 0: was the array ever filled?"))


def of_whole_numbers(case: Case, verdict: Verdict) -> str | None:
    """What is to be done with an output that is nothing but whole numbers, beyond those of tanh; None of another."""
    if case.spec.nonlinearity == "relu" or (seen := _wrong_at_a_step(case, verdict)) is None:
        return None
    quantity, values = seen
    most = float(values.abs().max())
    if not _OWN < most < float("inf") or not torch.equal(values, values.round()):
        return None
    return (
        f"all values of this {quantity} are whole numbers, up to {most:g}: if they were quantised, multiply them by "
        "their scale, and say it: --recorded-as multiples:1/127 for a scale of 1/127"
    )


def _wrong_at_a_step(case: Case, verdict: Verdict) -> tuple[str, Tensor] | None:
    """The quantity that has the first wrong value, and all that was seen of it; None of a final state."""
    first = verdict.first
    if first is None or first.step < 0:
        return None
    return first.quantity, case.observation.layers[first.at][first.quantity]


def _if_padded(case: Case, judged: Callable[[Case], Verdict]) -> str | None:
    """The lengths with which the run does not differ, where all that was seen of an item is 0 from some step on; None
    where there are none."""
    seen = [of["h"] for of in case.observation.layers.values() if "h" in of]
    if not seen or case.sequence.lengths is not None:
        return None
    steps = torch.arange(1, case.sequence.steps + 1).unsqueeze(1)
    ends = torch.stack([(steps * h.any(-1)).amax(0) for h in seen]).amax(0)
    if not bool((ends < case.sequence.steps).any()) or not bool(ends.all()):
        return None
    lengths = tuple(ends.tolist())
    if judged(replace(case, sequence=replace(case.sequence, lengths=lengths))).verdict == "differ":
        return None
    said = ",".join(map(str, lengths))
    what = "sequences of the batch are 0 from some step on, as padding is"
    return f"{what}; if they are shorter, check with --lengths {said}"
