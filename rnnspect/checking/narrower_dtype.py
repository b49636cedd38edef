"""Why a run may differ though it is right: nobody said that it was computed in a narrower dtype than the network's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import chunks
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation
from rnnspect.judging.stack import assumptions_of
from rnnspect.judging.verdict import Verdict

_NARROWER = ("bfloat16", "float16", "float32")
"""That of the fewest bits first: its numbers are nearly always numbers of the others, too."""
_STEPS, _ROWS = 64, 256
"""How many steps are looked at, and steps × items together."""
_UNCERTAIN = 0.2
"""Standard deviation of a slope that says little."""
_SLOPE, _SHARE = 0.25, 0.875
"""What the slope of a unit is at least, and in how many of them. Measured in LSTMs and GRUs of 8 units: in at least 15
of 16 where they rounded, in a third where weights had other errors of the same size."""


def if_narrower(case: Case, judged: Callable[[Case], Verdict]) -> str | None:
    """The dtype in which the run does not differ, where its errors are those of rounding parameters and x to it; None
    where there is none. So are those of a float32 model in bfloat16, or under autocast. Where these are numbers of that
    dtype already, what was seen has to be, too."""
    layers = case.observation.layers.values()
    if not layers or not all("h" in seen for seen in layers):
        return None
    for name in _NARROWER:
        dtype: torch.dtype = getattr(torch, name)
        if torch.finfo(dtype).eps <= torch.finfo(getattr(torch, case.spec.dtype)).eps:
            continue
        seen = case.observation.of_numbers(dtype)
        made = _as_by_autocast(case, name, seen or replace(case.observation, kept={}))
        if _come_of_rounding(case, made, seen is not None) and judged(made).verdict != "differ":
            return f"{name} would explain it; if it ran in {name}, check a copy in {name} (--dtype {name})"
    return None


def _as_by_autocast(case: Case, name: str, seen: Observation) -> Case:
    declared = ARITHMETICS[name].for_cell(case.spec.cell_type, seen.engine.one_by_one)
    engine = replace(seen.engine, dtype=name, precision={"autocast": name})
    return replace(case, observation=replace(seen, engine=engine), declared=declared).under_autocast()


@torch.inference_mode()
def _come_of_rounding(case: Case, made: Case, otherwise: bool) -> bool:
    """Whether the errors of the run are what rounding parameters and x as in `made` changes: of the least squares fit
    of the errors by these changes the slope is near 1 where the run rounded them, in all values and in nearly every
    unit, and near 0 where it did not. `otherwise` where nothing changes."""
    own, other = assumptions_of(case), assumptions_of(made)
    every, slopes = list[tuple[Tensor, Tensor]](), list[Tensor]()
    for at in case.observation.layers:
        (h, engine), (changed, _) = _begun(own(*at)), _begun(other(*at))
        d, e = changed - h, engine - h
        every.append((d.flatten(), e.flatten()))
        slopes.append((e * d).sum(0) / d.square().sum(0))
    d, e = (torch.cat(each) for each in zip(*every, strict=True))
    if not bool(d.any()):
        return otherwise
    slope = float(e @ d / (d @ d))
    uncertain = float((e - slope * d).norm() / d.norm()) / math.sqrt(len(d))
    share = float((torch.cat(slopes) > _SLOPE).double().mean())
    return abs(slope - 1) < 1 / 2 and uncertain < _UNCERTAIN and share >= _SHARE


def _begun(assumed: Assumption) -> tuple[Tensor, Tensor]:
    """h by the equations and the engine's in the first steps, (steps · items, units), float64."""
    layer, run, found = assumed.equations, assumed.run.first(_STEPS), list[tuple[Tensor, Tensor]]()
    c, exactly = layer.begin(run.c0), layer.one(None)
    for chunk in chunks(run, 1 if layer.stepwise else _ROWS):
        compared = layer.compare(chunk, c, exactly)
        h, engine = compared.q["h"].v.double(), compared.after.double()
        inside = chunk.inside.expand(h.shape[:2])
        found.append((h[inside], engine[inside]))
        c = layer.after(compared)
    h, engine = (torch.cat(each) for each in zip(*found, strict=True))
    return h, engine
