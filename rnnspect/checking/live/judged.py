"""Calls of a live model's modules, judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from rnnspect.checking.check import check_observation
from rnnspect.checking.live.calls import Call, CallVerdict, CapturedCall
from rnnspect.checking.live.capture import Unreadable, read, tensors_in
from rnnspect.judging.case import Case
from rnnspect.judging.finding import Progress, silent
from rnnspect.judging.verdict import Verdict


def judged(call: Call, explain: float | None = None, progress: Progress = silent) -> CallVerdict:
    """The verdict on one call, or why there is none. `explain` and `progress` are as `check_observation` has them."""
    if isinstance(call.kept, str):
        return CallVerdict(call, None, call.kept)
    try:
        case = read(call.kept)
    except Unreadable as error:
        return CallVerdict(call, None, str(error))
    judge = _judged_below_dropout if call.kept.noisy else check_observation
    verdict = judge(case, progress, explain)
    return CallVerdict(call, verdict, verdict.reason)


def _judged_below_dropout(case: Case, progress: Progress, explain: float | None) -> Verdict:
    """The verdict on a stack with dropout between its layers. What dropout left of the layers below the top is not
    known, so only the final state of the first layer can be judged."""
    spec, seen, sequence = case.spec, case.observation, case.sequence
    h_n, c_n, c0 = (
        None if states is None else states[: spec.num_directions] for states in (seen.h_n, seen.c_n, sequence.c0)
    )
    alone = replace(
        case,
        spec=spec.with_changes(num_layers=1, dropout=0.0),
        sequence=replace(sequence, h0=sequence.h0[: spec.num_directions], c0=c0),
        observation=replace(seen, layers={}, h_n=h_n, c_n=c_n),
    )
    verdict = check_observation(alone, progress, explain)
    if verdict.verdict == "differ":
        return replace(verdict, spec=spec)
    reason = (
        f"dropout {spec.dropout:g} was active between its layers (train mode), with unknown masks; call model.eval()"
    )
    return replace(verdict, verdict="cannot tell", reason=reason, spec=spec)


def judged_together(judged: Sequence[CallVerdict]) -> tuple[CallVerdict, ...]:
    """The verdicts, where `cannot tell` may have become `agree`: calls that ran with the same parameters, in the same
    arithmetic, for as many steps are judged once more as one batch, which may show what one call alone does not."""
    groups: dict[object, list[CallVerdict]] = {}
    for one in judged:
        if (key := _key(one)) is not None:
            groups.setdefault(key, []).append(one)
    joint = {
        key: _joint(group)
        for key, group in groups.items()
        if len(group) > 1 and any(one.answer == "cannot tell" for one in group)
    }
    return tuple(_with_joint(one, joint.get(_key(one))) for one in judged)


def _key(one: CallVerdict) -> object:
    """Equal for calls that can be judged as one batch. None for a call that cannot be judged with others: one that
    differs, or that was not judged at all."""
    kept, verdict = one.call.kept, one.verdict
    if verdict is None or not isinstance(kept, CapturedCall) or kept.noisy or verdict.verdict == "differ":
        return None
    dtypes = tuple(tensor.dtype for tensor in tensors_in((kept.given["input"], kept.returned)))
    return one.name, id(kept.parameters), verdict.spec, verdict.arithmetic, verdict.steps, dtypes


def _with_joint(one: CallVerdict, joint: Verdict | None) -> CallVerdict:
    if one.verdict is None or one.answer != "cannot tell" or joint is None or not joint.agrees:
        return one
    note = "the sensitivity is that of all calls of this module together"
    notes = (*one.verdict.notes, note)
    verdict = replace(one.verdict, verdict="agree", reason=None, resolution=joint.resolution, notes=notes)
    return CallVerdict(one.call, verdict, None)


def _joint(group: list[CallVerdict]) -> Verdict:
    cases = [read(one.call.kept) for one in group if isinstance(one.call.kept, CapturedCall)]
    first = cases[0]
    steps = first.sequence.steps
    lengths = [length for case in cases for length in case.sequence.lengths or case.sequence.batch * [steps]]
    sequence = replace(
        first.sequence,
        x=torch.cat([case.sequence.x for case in cases], 1),
        h0=torch.cat([case.sequence.h0 for case in cases], 1),
        c0=_side_by_side([case.sequence.c0 for case in cases]),
        lengths=None if min(lengths) == steps else tuple(lengths),
    )
    layers = {
        place: {name: torch.cat([case.observation.layers[place][name] for case in cases], 1) for name in seen}
        for place, seen in first.observation.layers.items()
    }
    observation = replace(
        first.observation,
        layers=layers,
        h_n=_side_by_side([case.observation.h_n for case in cases]),
        c_n=_side_by_side([case.observation.c_n for case in cases]),
    )
    return check_observation(replace(first, sequence=sequence, observation=observation))


def _side_by_side(states: list[torch.Tensor | None]) -> torch.Tensor | None:
    known = [state for state in states if state is not None]
    return torch.cat(known, 1) if len(known) == len(states) else None
