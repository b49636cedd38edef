"""The parameters that an engine's numbers show, and how they are related to ours."""

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
from rnnspect.judging.evidence.recovering import as_claimed, cost, recover, steps_needed, why_not, why_untold
from rnnspect.judging.recovery import Likeness, RecoveredLayer, Recovery
from rnnspect.judging.verdict import Verdict

_CHEAP = 2e10
"""A recovery of at most so many multiplications, about a second, is made without being asked for."""
_LONGEST = 10_000
"""A run of more steps is not asked for."""


def recovery_of(
    case: Case,
    assumptions: Mapping[At, Assumption],
    verdict: Verdict,
    told: Callable[[int], None] = lambda _units: None,
    checkpoints: Sequence[OtherWeights] = (),
    thorough: bool = True,
) -> Recovery:
    """The parameters of every layer and direction whose h and input were observed. Those that could not be recovered
    are ours, with a note. Where parameters have an exact relation to ours that explains the run as well, they are set
    to the values that it gives. `told` is called with how many more units are done; the weights of some `checkpoints`
    may be the engine's."""
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
        found, exact = recover(assumed, told, others, thorough), False
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
    """Whether a recovery is quick enough to be made without being asked for."""
    return sum(cost(assumed) for assumed in assumptions.values() if why_not(assumed) is None) < _CHEAP


def of_a_longer_run(assumptions: Mapping[At, Assumption]) -> str | None:
    """Says how long a run has to be for its weights to be recovered, if this one is too short for any layer."""
    needed = [steps for assumed in assumptions.values() if (steps := steps_needed(assumed)) is not None]
    if not needed or len(needed) < len(assumptions) or max(needed) > _LONGEST:
        return None
    return f"a run of {max(needed)} steps, all batch items together, would show the engine's weights; this is too short"


def _claimed(
    assumed: Assumption, found: Recovered, same: tuple[Likeness, ...], claim: Claim, verdict: Verdict
) -> Recovered | None:
    """The recovered parameters with the values of the claim in place of their own. Where no parameter seems to differ,
    the claim is ours, except for those that evidence names."""
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


def _of_lost_units(found: Recovered, rows: int) -> Tensor:
    """Which rows of a parameter belong to units that no other weights explain: another input would not tell them."""
    return torch.isin(torch.arange(rows) % found.units, torch.tensor(found.lost, dtype=torch.int64))


def _told(assumed: Assumption, found: Recovered, same: tuple[Likeness, ...], exact: bool) -> RecoveredLayer:
    errors = {name: found.error[name] for name in found.error.names}
    hidden = {name: int(e.isinf()[~_of_lost_units(found, len(e))].sum()) for name, e in errors.items()}
    twins = hidden.get("bias_hh", 0)
    count, untold = sum(e.numel() for e in errors.values()), sum(hidden.values())
    place = found.at[0], found.at[1], found.rows, found.shrinks, found.explains, found.lost
    kept = exact or all(
        torch.equal(found.theirs[name][e.isinf()], found.ours[name][e.isinf()]) for name, e in errors.items()
    )
    why = why_untold(assumed) if untold > twins else None
    return RecoveredLayer(*place, same, count, untold - twins, why, kept, twins > 0, exact)
