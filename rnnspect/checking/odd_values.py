"""What the numbers of a run that differs tell by themselves: zeros, or the last output again, come from shorter items
of its batch; zeros and NaN from an array that was never filled; whole numbers from a quantised output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.known.order import first_few
from rnnspect.judging.case import Case
from rnnspect.judging.stack import Judged
from rnnspect.judging.verdict import Verdict

_FEW = 16
"""So few values may be 0 by chance."""
_OWN = 16
"""Whole numbers up to this may come from the cell itself."""


def of_zeros(case: Case, judged: Judged, verdict: Verdict, again: Callable[[Case], Verdict]) -> Verdict | None:
    """The verdict with what zeros, NaN or repeated outputs tell about the run; None where they tell nothing.
    `again` gives the verdict on the run read in another way."""
    if reason := _if_padded(case, again):
        return replace(verdict, reason=reason)
    if (seen := _wrong_at_a_step(case, verdict)) is None:
        return None
    quantity, values = seen
    if reason := _if_left_out(case, judged, values):
        return replace(verdict, reason=reason)
    said = f"all {values.numel():,} values of this {quantity} are"
    if bool(values.isnan().all()):
        return replace(verdict, notes=(*verdict.notes, f"{said} NaN"))
    if bool(values.any()) and _stands_still(values) and not _stands_still(case.sequence.x):
        said = f"this {quantity} is the same at every step, bit for bit: was one array stored for all, and overwritten?"
        return replace(verdict, notes=(*verdict.notes, said))
    if not _is_empty(case, values):
        return None
    return replace(verdict, notes=(*verdict.notes, f"{said} 0: was the array ever filled?"))


def _stands_still(values: Tensor) -> bool:
    """Whether it is the same at every step, bit for bit."""
    return torch.equal(values, values[:1].expand_as(values))


def _is_empty(case: Case, values: Tensor) -> bool:
    """Whether they are 0, which no mistake makes of tanh and σ."""
    return case.spec.nonlinearity != "relu" and values.numel() >= _FEW and not bool(values.any())


def _if_left_out(case: Case, judged: Judged, values: Tensor) -> str | None:
    """Says which items of the batch have only 0, or only NaN, where no other item has a wrong value; None elsewhere."""
    over = [place.finding.over.items.nonzero().flatten().tolist() for place in judged.places if place.finding.over]
    items = sorted({item for found in over for item in found} | {point.batch for point in judged.first_finals})
    if not items or len(items) == values.shape[1]:
        return None
    nan = bool(values[:, items].isnan().all())
    if not nan and not all(_is_empty(case, values[:, item]) for item in items):
        return None
    what = f"batch item{'s' if len(items) > 1 else ''} {first_few(items)} are {'NaN' if nan else 0}"
    return f"all values of {what}, and the others are right: was the whole batch run and kept?"


def of_whole_numbers(case: Case, verdict: Verdict) -> str | None:
    """Advice for an output that has only whole numbers, larger than those of tanh; None for any other."""
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
    """The quantity with the first wrong value, and all of its observed values; None for a final state."""
    first = verdict.first
    if first is None or first.step < 0:
        return None
    return first.quantity, case.observation.layers[first.at][first.quantity]


def _if_padded(case: Case, again: Callable[[Case], Verdict]) -> str | None:
    """The lengths with which the run does not differ, if all observed values of an item are 0 from some step on, or
    stand still, bit for bit; None where there are none."""
    seen = [of["h"] for of in case.observation.layers.values() if "h" in of]
    if not seen or case.sequence.lengths is not None:
        return None
    ends = torch.stack([_ends(h) for h in seen]).amax(0)
    if not bool((ends < case.sequence.steps).any()) or not bool(ends.all()):
        return None
    zeros = not any(bool(h[ends[item] :, item].any()) for h in seen for item in range(len(ends)))
    if not zeros and int(ends.max()) == 1:
        return None  # one h at all steps: each of them may begin from the initial state again
    lengths = tuple(ends.tolist())
    if again(replace(case, sequence=replace(case.sequence, lengths=lengths))).verdict == "differ":
        return None
    how = "are 0 from some step on, as padding is" if zeros else "stand still from some step on, as masked steps do"
    said = ",".join(map(str, lengths))
    return f"sequences of the batch {how}; if they are shorter, check with --lengths {said}"


def _ends(h: Tensor) -> Tensor:
    """How many steps of each item (B,) there are, if what it repeats at the end is padding: zeros, or its last h."""
    steps = torch.arange(len(h)).unsqueeze(1)
    changed = torch.cat([torch.zeros_like(h[:1, :, 0], dtype=torch.bool), (h[1:] != h[:-1]).any(-1)])
    return (steps * changed).amax(0) + h[-1].any(-1)
