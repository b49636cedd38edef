"""A check of gradients: whether what an engine gives going back is what the equations give."""

from __future__ import annotations

from dataclasses import replace

from rnnspect.causes.backward.search import explain_backward
from rnnspect.checking.exposed import exposed_layers
from rnnspect.engines.interface import backward_of
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import Declared, declared_by
from rnnspect.judging.finding import Progress, silent
from rnnspect.judging.verdict import Verdict
from rnnspect.network.device import plain_defaults
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.tracing.prepare import Prepared


def check_backward(
    prepared: Prepared,
    upstream: Upstream,
    declared: Declared | None = None,
    progress: Progress = silent,
    explain: float | None = None,
) -> Verdict:
    """The verdict on the gradients that the prepared engine gives for a loss with these gradients of the output.

    Where they differ, known mistakes of going back are looked for, for `explain` seconds, or with None for a fixed
    amount of work.

    Raises `EngineError` for an engine that has no gradients, and what the engine raises.
    """
    engine, spec = backward_of(prepared.engine), prepared.spec
    whole: EngineGradients = engine.backward(spec, prepared.parameters, prepared.sequence, upstream)
    layers = exposed_layers(engine, spec, prepared.parameters, prepared.sequence, upstream)
    with plain_defaults():
        case = BackwardCase(
            spec, prepared.parameters, prepared.sequence, whole.engine, layers, declared or declared_by(whole.engine)
        )
        judged = judge_backward(case, progress=lambda steps: progress(None, steps))
        verdict = backward_verdict(case, judged)
        notes = (*whole.notes, *verdict.notes)
        if verdict.verdict != "differ":
            return replace(verdict, notes=notes)
        with progress.searching(verdict):
            why = explain_backward(case, judged, explain)
    notes = notes if why.note is None else (*notes, why.note)
    return replace(verdict, causes=why.causes, indistinguishable=why.indistinguishable, notes=notes)
