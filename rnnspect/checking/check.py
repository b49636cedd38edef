"""A check: whether what an engine gave is what the equations give, within what its arithmetic allows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnnspect.causes.known.reduced import PRODUCTS
from rnnspect.causes.search import explain
from rnnspect.causes.search.case import Case
from rnnspect.checking.identities.final_states import ends_in_h_n, zero_beyond_the_end
from rnnspect.checking.identities.reruns import identities_of
from rnnspect.checking.recording import observations_of
from rnnspect.engines.interface import Theirs
from rnnspect.judging.declared import ARITHMETICS, Declared, declared_by
from rnnspect.judging.observation import Observation, observed_by, observed_whole
from rnnspect.judging.stack import judge_stack
from rnnspect.judging.words import verdict_of
from rnnspect.network.device import plain_defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rnnspect.judging.finding import Finding
    from rnnspect.judging.stack import Judged
    from rnnspect.judging.verdict import Verdict
    from rnnspect.network.recording import Recording
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared

    Progress = Callable[[Finding | None, int], None]


def check_prepared(
    prepared: Prepared, declared: Declared | None = None, progress: Progress = lambda _found, _steps: None
) -> Verdict:
    """Runs the engine and judges everything that it shows, under the arithmetic that it declares."""
    recording = prepared.engine.run(prepared.spec, prepared.parameters, prepared.sequence)
    return check_recording(prepared, recording, declared, progress)


def check_recording(
    prepared: Prepared,
    recording: Recording,
    declared: Declared | None = None,
    progress: Progress = lambda _found, _steps: None,
) -> Verdict:
    """Judges what the prepared engine gave."""
    spec, held_to = prepared.spec, declared or declared_by(recording.engine)

    def judged(observation: Observation) -> Verdict:
        found = check_observation(spec, prepared.parameters, prepared.sequence, observation, held_to, progress)
        return replace(found, notes=(*recording.notes, *found.notes))

    by_layer = judged(observed_by(recording))
    if isinstance(prepared.engine, Theirs):
        again = identities_of(prepared.engine, spec, prepared.parameters, prepared.sequence, held_to, recording)
        by_layer = replace(by_layer, identities=(*by_layer.identities, *again))
    if recording.stack_difference == 0 or by_layer.verdict == "differ":
        return by_layer
    # Nobody has to believe that the stack is the sum of its layers: what it gave as a whole is judged as well.
    whole = judged(observed_whole(recording, spec))
    note = (
        f"as a whole the stack is up to {recording.stack_difference:.2e} from its layers one by one; both were judged"
    )
    identities = (*whole.identities, *by_layer.identities)
    return replace(by_layer if whole.agrees else whole, notes=(*by_layer.notes, note), identities=identities)


def check_recorded(
    prepared: Prepared,
    recorded: Any,
    declared: Declared | None = None,
    progress: Progress = lambda _found, _steps: None,
    where: Callable[[str | None], str] = lambda _name: "recorded",
) -> Verdict:
    """Judges what somebody's implementation gave for the prepared parameters and sequence; nothing is run. `where`
    tells where an array of the recording is, by its name."""
    spec, sequence, parameters = prepared.spec, prepared.sequence, prepared.parameters
    found = observations_of(spec, recorded, sequence, parameters, where)
    held_to = declared or ARITHMETICS[spec.dtype]
    verdicts = [check_observation(spec, parameters, sequence, one, held_to, progress) for one in found.observations]
    verdicts = [
        replace(verdict, identities=(*verdict.identities, *zero_beyond_the_end(sequence, one)))
        for verdict, one in zip(verdicts, found.observations, strict=True)
    ]
    worst = min(verdicts, key=lambda verdict: ("differ", "cannot tell", "agree").index(verdict.verdict))
    return replace(worst, notes=(*worst.notes, *found.notes))


def check_observation(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    observation: Observation,
    declared: Declared,
    progress: Progress = lambda _found, _steps: None,
) -> Verdict:
    """Judges every layer that was observed on what it really received; a layer below that nobody observed is
    estimated. What an observation shows is time-major and on the CPU.

    Where it differs and the engine may use a coarser arithmetic, it is held to that. A run in float32 that differs,
    and that products of rounded operands would explain, is told so and differs all the same.
    """
    import torch

    cpu = torch.device("cpu")
    here = {name: tensor.detach().to(cpu) for name, tensor in parameters.items()}
    moved = sequence.to(cpu)

    def judged(held_to: Declared) -> tuple[Judged, Verdict]:
        with plain_defaults():
            found = judge_stack(spec, here, moved, observation, held_to, progress)
        verdict = verdict_of(spec, observation, held_to, moved.steps, found)
        return found, replace(verdict, identities=ends_in_h_n(spec, found, moved, observation, held_to))

    found, verdict = judged(declared)
    if verdict.verdict != "differ":
        return verdict
    if declared.permitted is not None:
        permitted = judged(declared.permitted)[1]
        if permitted.verdict != "differ":
            return permitted
    with plain_defaults():
        why = explain(Case(spec, here, moved, observation, declared), found)
    notes = verdict.notes if why.note is None else (*verdict.notes, why.note)
    reason = next((_if_meant(PRODUCTS[one.name]) for one in why.causes if one.name in PRODUCTS and not one.left), None)
    return replace(verdict, reason=reason, causes=why.causes, indistinguishable=why.indistinguishable, notes=notes)


def _if_meant(arithmetic: str) -> str:
    return f"{ARITHMETICS[arithmetic].name} explain it; if they are meant, say --arithmetic {arithmetic}"
