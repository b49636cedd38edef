"""A check: whether what an engine gave is what the equations give, within what its arithmetic allows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnnspect.causes import search
from rnnspect.causes.known.reduced import PRODUCTS
from rnnspect.checking.identities.final_states import ends_in_h_n, zero_beyond_the_end
from rnnspect.checking.identities.reruns import identities_of
from rnnspect.checking.recording import observations_of
from rnnspect.engines.interface import Theirs
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS, Declared, declared_by
from rnnspect.judging.finding import silent
from rnnspect.judging.observation import Observation, observed_by, observed_whole
from rnnspect.judging.stack import judge_stack
from rnnspect.judging.words import verdict_of
from rnnspect.network.device import plain_defaults

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnspect.judging.finding import Progress
    from rnnspect.judging.stack import Judged
    from rnnspect.judging.verdict import Verdict
    from rnnspect.network.recording import Recording
    from rnnspect.tracing.prepare import Prepared


def check_prepared(
    prepared: Prepared,
    declared: Declared | None = None,
    progress: Progress = silent,
    explain: float | None = None,
) -> Verdict:
    """Runs the engine and judges everything that it shows, under the arithmetic that it declares. `explain` is as
    `check_observation` has it."""
    recording = prepared.engine.run(prepared.spec, prepared.parameters, prepared.sequence)
    return check_recording(prepared, recording, declared, progress, explain)


def check_recording(
    prepared: Prepared,
    recording: Recording,
    declared: Declared | None = None,
    progress: Progress = silent,
    explain: float | None = None,
) -> Verdict:
    """Judges what the prepared engine gave.

    Where the stack as a whole gives other numbers than its layers one by one, both are judged, and the one that does
    not agree is answered.
    """
    held_to = declared or declared_by(recording.engine)

    def judged(observation: Observation) -> Verdict:
        found = check_observation(_case(prepared, observation, held_to), progress, explain)
        return replace(found, notes=(*recording.notes, *found.notes))

    by_layer = judged(observed_by(recording))
    if isinstance(prepared.engine, Theirs):
        again = identities_of(prepared, held_to, recording)
        by_layer = replace(by_layer, identities=(*by_layer.identities, *again))
    if recording.stack_difference == 0 or by_layer.verdict == "differ":
        return by_layer
    whole = judged(observed_whole(recording, prepared.spec))
    note = (
        f"as a whole the stack is up to {recording.stack_difference:.2e} from its layers one by one; both were judged"
    )
    identities = (*whole.identities, *by_layer.identities)
    return replace(by_layer if whole.agrees else whole, notes=(*by_layer.notes, note), identities=identities)


def check_recorded(
    prepared: Prepared,
    recorded: Any,
    declared: Declared | None = None,
    progress: Progress = silent,
    where: Callable[[str | None], str] = lambda _name: "recorded",
    explain: float | None = None,
) -> Verdict:
    """Judges what somebody's implementation gave for the prepared parameters and sequence; nothing is run. `where`
    tells where an array of the recording is, by its name. Of a recording that shows its output in two ways, the worse
    answer is given."""
    spec, sequence = prepared.spec, prepared.sequence
    found = observations_of(spec, recorded, sequence, prepared.parameters, where)
    verdicts = []
    for one in found.observations:
        verdict = check_observation(_case(prepared, one, declared or ARITHMETICS[spec.dtype]), progress, explain)
        identities = (*verdict.identities, *zero_beyond_the_end(sequence, one))
        verdicts.append(replace(verdict, identities=identities))
    worst = min(verdicts, key=lambda verdict: ("differ", "cannot tell", "agree").index(verdict.verdict))
    return replace(worst, notes=(*worst.notes, *found.notes))


def check_observation(case: Case, progress: Progress = silent, explain: float | None = None) -> Verdict:
    """Judges every layer that was observed on what it really received; a layer below that nobody observed is
    estimated. What an observation shows is time-major and on the CPU; parameters and sequence may be elsewhere.

    A run that differs is held to the coarser arithmetic that its engine may also use, if there is one. If it differs
    from that too, known mistakes are looked for, `explain` seconds long, or 10 if nothing is said. Reduced products
    that would explain a run in float32 are given as the reason, and the answer stays `differ`: nobody said that they
    were meant.
    """
    case = case.on_cpu()
    judged, verdict = _judged(case, progress)
    if verdict.verdict != "differ":
        return verdict
    if case.declared.permitted is not None:
        permitted = _judged(replace(case, declared=case.declared.permitted), progress)[1]
        if permitted.verdict != "differ":
            return permitted
    with plain_defaults():
        why = search.explain(case, judged, explain)
    notes = verdict.notes if why.note is None else (*verdict.notes, why.note)
    reason = next((_if_meant(PRODUCTS[one.name]) for one in why.causes if one.name in PRODUCTS and not one.left), None)
    return replace(verdict, reason=reason, causes=why.causes, indistinguishable=why.indistinguishable, notes=notes)


def _case(prepared: Prepared, observation: Observation, declared: Declared) -> Case:
    return Case(prepared.spec, prepared.parameters, prepared.sequence, observation, declared)


def _judged(case: Case, progress: Progress) -> tuple[Judged, Verdict]:
    with plain_defaults():
        found = judge_stack(case, progress=progress)
    return found, replace(verdict_of(case, found), identities=ends_in_h_n(case, found))


def _if_meant(arithmetic: str) -> str:
    return f"{ARITHMETICS[arithmetic].name} explain it; if they are meant, say --arithmetic {arithmetic}"
