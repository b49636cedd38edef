"""The parameters that an engine's numbers show, and what they are to ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import nan

import torch
from torch import Tensor

from rnnspect.causes.recovered import likenesses
from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.case import Case
from rnnspect.judging.evidence.elsewhere import OtherWeights, other_layers
from rnnspect.judging.evidence.recovered import Claim, Recovered
from rnnspect.judging.evidence.recovering import as_claimed, cost, recover, why_not, why_untold
from rnnspect.judging.recovery import Likeness, RecoveredLayer, Recovery
from rnnspect.judging.verdict import Verdict

_CHEAP = 2e10
"""Multiplications that are worth it unasked: about a second."""


def recovery_of(
    case: Case,
    assumptions: Mapping[At, Assumption],
    verdict: Verdict,
    told: Callable[[int], None] = lambda _units: None,
    checkpoints: Sequence[OtherWeights] = (),
) -> Recovery:
    """Of every layer and direction whose h was observed, on an input that was; what could not be recovered is ours,
    and is said. Where it is said exactly what parameters are, and that explains the run as well, they are set to that.
    `told` hears how many units more are done; the weights of some `checkpoints` may be the engine's."""
    layers, left_out = [], []
    parameters = dict(case.parameters)
    differences: dict[str, Tensor] = {}
    errors: dict[str, Tensor] = {}
    for at, assumed in assumptions.items():
        where = f"layer {at[0]} {at[1]}"
        if why := why_not(assumed):
            left_out.append(f"{where} keeps your weights: {why}")
            continue
        others = other_layers(assumed, checkpoints)
        found, exact = recover(assumed, told, others), False
        same: tuple[Likeness, ...] = ()
        if found.explains:
            same, claim = likenesses(found, others)
            claimed = _claimed(assumed, found, same, claim, verdict)
            found, exact = claimed or found, claimed is not None
        ours, theirs, error = (of.named(*at) for of in (found.ours, found.theirs, found.error))
        parameters |= {name: values.to(parameters[name].dtype) for name, values in theirs.items()}
        errors |= error
        differences |= {name: (w - ours[name]).masked_fill(error[name].isinf(), nan) for name, w in theirs.items()}
        layers.append(_told(assumed, found, same, exact))
    compared = tuple(one.name for one in checkpoints)
    return Recovery(tuple(layers), parameters, differences, errors, tuple(left_out), compared)


def is_cheap(assumptions: Mapping[At, Assumption]) -> bool:
    """Whether it is worth it where nobody asked for it."""
    return sum(cost(assumed) for assumed in assumptions.values() if why_not(assumed) is None) < _CHEAP


def _claimed(
    assumed: Assumption, found: Recovered, same: tuple[Likeness, ...], claim: Claim, verdict: Verdict
) -> Recovered | None:
    """What is said put in place of what was found. Where no parameter is seen to be another one, ours are it, but for
    those that evidence names."""
    if not same:
        suspects = [one for one in verdict.suspects if (one.layer, one.direction) == found.at]
        if any(one.kind != "parameter" for one in suspects):
            return None  # of which nobody said the values
        if verdict.agrees and not suspects:
            return replace(found, theirs=found.ours)
        for one in suspects:
            name, at = one.entry
            claim.open.named(*found.at)[name][at] = True
    return as_claimed(assumed, found, claim)


def _told(assumed: Assumption, found: Recovered, same: tuple[Likeness, ...], exact: bool) -> RecoveredLayer:
    errors = {name: found.error[name] for name in found.error.names}
    twins = 0 if found.error.bias_hh is None else int(found.error.bias_hh.isinf().sum())
    count, untold = sum(e.numel() for e in errors.values()), sum(int(e.isinf().sum()) for e in errors.values())
    place = found.at[0], found.at[1], found.rows, found.shrinks, found.explains, found.lost
    kept = exact or all(
        torch.equal(found.theirs[name][e.isinf()], found.ours[name][e.isinf()]) for name, e in errors.items()
    )
    why = why_untold(assumed) if untold > twins else None
    return RecoveredLayer(*place, same, count, untold - twins, why, kept, twins > 0, exact)
