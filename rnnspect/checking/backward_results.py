"""A pass backwards judged by its results: dL/dx, of the initial states and of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from rnnspect.causes.backward.recorded import explain_given, explain_results
from rnnspect.judging.backward.replicas import Told
from rnnspect.judging.backward.results import ResultsCase, expected
from rnnspect.judging.backward.results_words import results_verdict
from rnnspect.judging.backward.stack import BackwardJudged
from rnnspect.judging.finding import Progress
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.judging.verdict import Explained, Verdict
from rnnspect.network.recording import RECORDING

FEW = 512
"""Steps up to which a pass as a whole is judged, too, where its layers were judged one by one."""
_X_ALONE = "all other gradients are right; those of the gates were not checked, for they are read from dL/dx"
_THROUGH = "the gradients of the gates were not checked: they are read from dL/dx, which is wrong"
_HIDDEN = "the gradients of the gates were not checked: they are read from dL/dx, to which a direction adds nothing"


def judged_results(
    case: ResultsCase, kept: Mapping[str, RecordedPrecision], progress: Progress, explain: float | None
) -> Verdict:
    """`kept` is how exactly each result was recorded, by its name. `explain` is as for `check_backward`."""
    told = expected(case, progress=lambda steps: progress(None, steps))
    return _with_why(case, told, results_verdict(case, told, kept), _errors(case, kept), progress, explain)


def _errors(case: ResultsCase, kept: Mapping[str, RecordedPrecision]) -> dict[str, Tensor]:
    """How far each result may be off as it was recorded, by its name."""
    return {name: kept.get(name, EXACT).error(g) for name, g in case.given.named.items()}


def _with_why(
    case: ResultsCase,
    told: Mapping[str, Told],
    answer: Verdict,
    errors: Mapping[str, Tensor],
    progress: Progress,
    explain: float | None,
) -> Verdict:
    """The verdict `answer`, with the known mistakes that explain a run that differs; `errors` as `_errors` has them."""
    if answer.verdict == "differ":
        with progress.searching(answer):
            why = explain_results(case, told, errors, explain)
        answer = with_causes(answer, why if why.causes else replace(why, note=_zeros(case, told) or why.note))
    return answer


def _zeros(case: ResultsCase, told: Mapping[str, Told]) -> str | None:
    """What a recording with zeros where gradients should be most likely is; None for another one."""
    empty = [name for name, g in case.given.named.items() if not bool(g.any()) and bool(told[name][0].any())]
    full = [name for name in case.given.named if name not in empty]
    if case.given.engine.name != RECORDING or not empty:
        return None
    if not full:
        return "every recorded gradient is zero: most likely they were recorded before backward(), or after zero_grad()"
    if set(empty) == set(case.given.parameters):
        return "the gradients of all parameters are zero, and no others: most likely zero_grad() came after backward()"
    return None


def with_causes(found: Verdict, why: Explained) -> Verdict:
    """The verdict with the known mistakes that explain it, and what is said of the search."""
    notes = (*found.notes, *(() if why.note is None else (why.note,)))
    return replace(found, causes=why.causes, indistinguishable=why.indistinguishable, notes=notes)


def of_results(
    results: ResultsCase, judged: BackwardJudged, progress: Progress, explain: float | None
) -> Verdict | None:
    """The verdict on the results where gates, which are seen through dL/dx, may be right and seem wrong: nothing
    but dL/dx is wrong, or a direction adds nothing to it. None elsewhere."""
    if results.sequence.steps > FEW:
        return None
    answer = results_verdict(results, results.told, {})
    first = answer.first
    alone = first is not None and first.quantity == "grad.x"  # which comes after all others
    if first is None or not (alone or _is_hidden(judged)):
        return None
    found = _with_why(results, results.told, answer, _errors(results, {}), progress, explain)
    return replace(found, notes=(*found.notes, _X_ALONE if alone else _HIDDEN))


def of_given(found: Verdict, judged: BackwardJudged, results: ResultsCase, explain: float | None) -> Verdict | None:
    """The verdict with a mistake that was made after going back; None where none explains it. Where gates seem to be
    wrong, which are seen through a dL/dx with that mistake, it is the verdict on the results."""
    if results.sequence.steps > FEW or (explain is not None and explain <= 0):
        return None
    answer = results_verdict(results, results.told, {})
    why = explain_given(results, results.told, _errors(results, {}))
    if answer.verdict != "differ" or not why.causes:
        return None
    if are_gates_right(judged):
        return with_causes(found, why)
    return with_causes(replace(answer, notes=(*answer.notes, _THROUGH)), why)


def are_gates_right(judged: BackwardJudged) -> bool:
    return all(one.first is None for one in judged.gates.values())


def _is_hidden(judged: BackwardJudged) -> bool:
    """Whether a layer and direction shows no gradient of any gate, and its parameters have some."""
    return any(
        not bool(one.back.seen.any()) and any(bool(g.any()) for g in one.gradients.values())
        for one in judged.assumptions.values()
    )
