"""A pass backwards judged by its results: dL/dx, of the initial states and of the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.backward.own_windows import in_own_windows
from rnnspect.causes.backward.recorded import explain_given, explain_results
from rnnspect.causes.search.effort import Effort
from rnnspect.causes.search.notes import without_search
from rnnspect.checking.backward_rounded import WENT_IN, if_written
from rnnspect.checking.backward_sums import sums_note
from rnnspect.checking.backward_zeros import not_finite_note, zero_note
from rnnspect.checking.check import CheckTerms
from rnnspect.checking.narrower_dtype import if_narrower_back
from rnnspect.checking.recorded_gradients import RecordedGradients
from rnnspect.errors import listed
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase, expected
from rnnspect.judging.backward.results_words import results_verdict
from rnnspect.judging.backward.stack import BackwardJudged
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.judging.verdict import Explained, Verdict
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.tensors import max_abs_difference

FEW = 512
"""In runs of at most so many steps the pass as a whole is judged, too, where its layers were judged one by one."""
_FEW_NUMBERS = 8
"""So few different numbers do not show whether they were rounded."""
_MANY = 16
"""So many numbers show whether they were rounded."""
_ROUGHLY = 0.05
"""A number rounded by more than this share of itself may have been one of many."""
_CLEAR, _NEAR = 16, 4
"""In limits: how large a gradient has to be for a common factor to be read from it, and how far it may be from what the
factor gives."""
_IN_PART = 0.25
"""A row of dL/dW_hh of which so little is wrong is wrong in part."""
_X_ALONE = "the gradients of the gates were not checked, for they are read from dL/dx"
_THROUGH = "the gradients of the gates were not checked: they are read from dL/dx, which is wrong"
_HIDDEN = "the gradients of the gates were not checked: they are read from dL/dx, to which a direction adds nothing"


def judged_results(case: ResultsCase, terms: CheckTerms) -> Verdict:
    """The verdict on results that an engine gave, not rounded by a recording."""
    told = expected(case, progress=lambda steps: terms.progress(None, steps))
    return _with_why(case, told, results_verdict(case, told, {}), _errors(case, {}), terms)


def judged_recorded(case: ResultsCase, read: RecordedGradients, went_in: bool, terms: CheckTerms) -> Verdict:
    """As `judged_results`, for recorded gradients; `went_in`: dL/d output was recorded, too. Its numbers may look
    rounded and be exact: that they were rounded is assumed only where the run differs without it. If they are few, they
    may be short by chance, as 1/40 is: a run that differs only unless they were rounded is neither right nor wrong. Nor
    is one that differs only unless its gradients were rounded, or cut off, as they were written."""
    kept = read.kept
    told = expected(case, progress=lambda steps: terms.progress(None, steps))
    answer = results_verdict(case, told, kept)
    if answer.verdict != "differ":
        return answer
    if note := not_finite_note(case, told):
        return replace(answer, notes=(*answer.notes, note))
    rounded = {name: kept[name] for name in WENT_IN if went_in and kept.get(name, EXACT).rounded}
    if numbers := _numbers(case.upstream, rounded):
        other, factor = _as_rounded(case, told, kept, rounded, numbers)
        if other is not None:
            case, told = other, expected(other)
            answer = results_verdict(case, told, kept)
            if answer.verdict != "differ" and len(numbers) <= _FEW_NUMBERS:
                return replace(answer, verdict="cannot tell", reason=_if_rounded(rounded, numbers, factor))
    written = if_written(case, told, read, went_in) if answer.verdict == "differ" else None
    if written is not None:
        zeros = zero_note(case, told, _errors(case, kept))  # a rounding may have made them, and hardly did
        return replace(written, notes=(*written.notes, zeros)) if zeros else written
    answer = _with_why(case, told, answer, _errors(case, kept), terms)
    if answer.verdict == "differ" and not answer.causes and not answer.reason:
        reason = if_narrower_back(case, told, kept)
        errors = _errors(case, kept)
        if not reason and (note := sums_note(case, told, errors)):
            return replace(answer, notes=(*answer.notes, note))
        asked = _not_recorded(case) if not reason and _may_lack(case, told, errors) else []
        notes = without_search(answer.notes) if reason else answer.notes
        return replace(answer, reason=reason, notes=(*notes, *asked))
    return answer


def _may_lack(case: ResultsCase, told: Mapping[str, WithError], errors: Mapping[str, Tensor]) -> bool:
    """Whether a loss of final states, or other initial ones, may be why gradients differ. Either changes every dL/d of
    a gate's pre-activation, and so whole rows of some dL/dW_hh: fewer wrong entries are no sign of it."""
    if zero_note(case, told, errors):
        return False
    shares = []
    for name, g in case.given.parameters.items():
        own, bound = told[name]
        if name.startswith("weight_hh") and bool(own.any()):
            wrong = (g.double() - own).abs() > bound + errors[name]
            shares.append(float(wrong[wrong.any(1)].double().mean()) if bool(wrong.any()) else 0.0)
    return not shares or max(shares) > _IN_PART


def _not_recorded(case: ResultsCase) -> list[str]:
    """Notes of what the gradients may depend on and the recording does not say."""
    states = case.spec.cell_type.states
    given = {"h": case.upstream.h_n, "c": case.upstream.c_n}
    ends = listed(f"grad.{name}_n" for name in states if given[name] is None)
    notes = [f"if the loss uses final states, too, record {ends} as well"] if ends else []
    if not any(bool(state.any()) for state in case.sequence.state):
        notes.append(f"if the run began with other states than zeros, give {listed(f'{name}0' for name in states)}")
    return notes


def _as_rounded(
    case: ResultsCase,
    told: Mapping[str, WithError],
    kept: Mapping[str, RecordedPrecision],
    rounded: Mapping[str, RecordedPrecision],
    numbers: Sequence[float],
) -> tuple[ResultsCase | None, float | None]:
    """The run as if what went in had been rounded. Where that is a single number, most of the gradients tell which
    number it was before rounding: the second value is the factor between the two. None where no number that it may have
    been explains the gradients."""
    if len(numbers) > 1:
        return replace(case, went_in=rounded), None
    (number,) = numbers
    most = max(one.at(number) for one in rounded.values()) / number
    found = _common_factor(case, told, _errors(case, kept), most)
    if found is None:  # a number of one digit may stand for many, but not beside numbers with all their digits
        exact = any(g.numel() >= _MANY and not kept.get(name, EXACT).rounded for name, g in case.given.named.items())
        return (replace(case, went_in=rounded) if most > _ROUGHLY and not exact else None), None
    factor, known = found
    so_exactly = dict.fromkeys(rounded, RecordedPrecision(relative=known))
    return replace(case, upstream=case.upstream.each(lambda g: g * factor), went_in=so_exactly), factor


def _numbers(upstream: Upstream, rounded: Iterable[str]) -> list[float]:
    """The absolute values of the numbers that went in, each once and without zero; if they are more than a few, only
    the smallest."""
    given = [getattr(upstream, name).abs().flatten() for name in rounded]
    if not given:
        return []
    sizes: Tensor = torch.unique(torch.cat(given))
    return [float(one) for one in sizes[sizes > 0][: _FEW_NUMBERS + 1]]


def _common_factor(
    case: ResultsCase, told: Mapping[str, WithError], errors: Mapping[str, Tensor], most: float
) -> tuple[float, float] | None:
    """The factor by which the gradients are multiplied, and its relative precision, where it is not 1 and differs from
    1 by at most `most`. It is the factor that makes all gradients right; or else that of most of them, measured on the
    numbers that tell it best."""
    read, every = list[tuple[float, float]](), list[tuple[Tensor, Tensor, Tensor]]()
    for name, g in case.given.named.items():
        engine, v = g.double().flatten(), told[name][0].double().flatten()
        e = (told[name][1].double() + errors[name].view(told[name][1].shape)).flatten()
        every.append((engine, v, e))
        exactly = torch.where(engine.isfinite(), v.abs() / e, 0).nan_to_num_(0, posinf=0)
        if (best := float(exactly.max())) > _CLEAR:
            read.append((float((engine / v)[exactly >= best / 4].median()), 2 / best))
    engine, v, e = (torch.cat(each) for each in zip(*every, strict=True))
    if (found := _of_all(engine, v, e * (1 + most), most)) is not None:
        return found
    clear = engine.isfinite() & (v.abs() > _CLEAR * e)

    def share(factor: float) -> float:
        return float(((engine - factor * v).abs() <= _NEAR * e)[clear].double().mean())

    if not read:
        return None
    factor, known = max(read, key=lambda one: share(one[0]))
    return (factor, known) if 0 < abs(factor - 1) <= most and share(factor) > 0.5 else None


def _of_all(engine: Tensor, v: Tensor, e: Tensor, most: float) -> tuple[float, float] | None:
    """The middle of the factors of v with which every number of the engine is inside its limit e, and how far these
    factors are from it; None where there are none."""
    if not bool(engine.isfinite().all()) or not bool((engine.abs() <= e)[v == 0].all()):
        return None
    ends = torch.stack([engine - e, engine + e])[:, v != 0] / v[v != 0]
    low, high = max(1 - most, float(ends.amin(0).amax())), min(1 + most, float(ends.amax(0).amin()))
    return ((low + high) / 2, (high - low) / 2) if low <= high else None


def _if_rounded(rounded: Mapping[str, RecordedPrecision], numbers: Sequence[float], factor: float | None) -> str:
    names, how = listed(f"dL/d {name}" for name in rounded), next(iter(rounded.values())).how
    of = f"a few different numbers, such as {numbers[0]:g}" if len(numbers) > 1 else f"nothing but {numbers[0]:g}"
    made = "" if factor is None else f", and the gradients are those of {numbers[0] * factor:.6g}"
    has = "has" if len(rounded) == 1 else "have"
    return (
        f"{names} {has} {of}, which may have been rounded to {how} when it was recorded{made}; pass "
        "--recorded-as exact if it was not, or the loss itself as --loss"
    )


def _errors(case: ResultsCase, kept: Mapping[str, RecordedPrecision]) -> dict[str, Tensor]:
    """How far each result may be off as it was recorded, by its name."""
    return {name: kept.get(name, EXACT).error(g) for name, g in case.given.named.items()}


def _with_why(
    case: ResultsCase, told: Mapping[str, WithError], answer: Verdict, errors: Mapping[str, Tensor], terms: CheckTerms
) -> Verdict:
    """The verdict `answer`, with the known mistakes that explain a run that differs; `errors` as `_errors` has them."""
    if answer.verdict == "differ":
        with terms.progress.searching(answer):
            why = explain_results(case, told, errors, terms.explain)
        answer = with_causes(
            answer, why if why.causes else replace(why, note=zero_note(case, told, errors) or why.note)
        )
    return answer


def with_causes(found: Verdict, why: Explained) -> Verdict:
    """The verdict with the known mistakes that explain it, and notes of the search."""
    notes = (*found.notes, *(() if why.note is None else (why.note,)))
    return replace(found, causes=why.causes, indistinguishable=why.indistinguishable, notes=notes)


def of_results(results: ResultsCase, judged: BackwardJudged, terms: CheckTerms) -> Verdict | None:
    """The verdict on the results, where gates may seem wrong although they are right, as they are read from dL/dx: only
    dL/dx is wrong, or a direction adds nothing to it. None elsewhere."""
    if results.sequence.steps > FEW:
        return None
    answer = results_verdict(results, results.told, {})
    first = answer.first
    alone = first is not None and first.quantity == "grad.x"  # which comes after all others
    if first is None or not (alone or _is_hidden(judged)):
        return None
    found = _with_why(results, results.told, answer, _errors(results, {}), terms)
    others = ("all other gradients are right",) if len(results.given.named) > 1 else ()
    return replace(found, notes=(*found.notes, *((*others, _X_ALONE) if alone else (_HIDDEN,))))


def of_given(found: Verdict, judged: BackwardJudged, results: ResultsCase, explain: float | None) -> Verdict | None:
    """The verdict with a mistake that was made after going back; None where none explains it. Where gates only seem
    wrong, because they are read from a dL/dx with that mistake, it is the verdict on the results."""
    if results.sequence.steps > FEW or (explain is not None and explain <= 0):
        return None
    answer = results_verdict(results, results.told, {})
    why = explain_given(results, results.told, _errors(results, {}))
    if answer.verdict != "differ" or not why.causes:
        return None
    if are_gates_right(judged):
        return with_causes(found, why)
    return with_causes(replace(answer, notes=(*answer.notes, _THROUGH)), why)


def of_own_windows(results: ResultsCase, explain: float | None) -> Explained | None:
    """A truncation of each output by itself, which only the results of the whole pass show; None without one."""
    if results.sequence.steps > FEW or (explain is not None and explain <= 0):
        return None
    return in_own_windows(results, results.told, _errors(results, {}), Effort(explain))


def lacking(results: ResultsCase, why: Explained) -> Explained:
    """With a note in place of that of the search, where the gradients that are wrong are zero everywhere."""
    if results.sequence.steps > FEW:
        return why
    return replace(why, note=zero_note(results, results.told, _errors(results, {})) or why.note)


def are_gates_right(judged: BackwardJudged) -> bool:
    return all(one.first is None for one in judged.gates.values())


def _is_hidden(judged: BackwardJudged) -> bool:
    """Whether a layer and direction shows no gradient of any gate, although its parameters have some."""
    return any(
        not bool(one.back.seen.any()) and any(bool(g.any()) for g in one.gradients.values())
        for one in judged.assumptions.values()
    )


def how_far_apart(whole: EngineGradients, case: BackwardCase) -> str:
    """How far the pass as a whole is from its layers one by one, in words; empty where they are equal."""
    shown = {name: g for layer in case.layers for name, g in layer.parameters.items()}
    pairs = [(g, shown[name]) for name, g in whole.parameters.items() if name in shown]
    if whole.x is not None:
        pairs.append((whole.x, case.layers[0].grad_x))
    for name, g in (("h", whole.h0), ("c", whole.c0)):
        rows = [layer.states[name] for layer in case.layers if name in layer.states]
        if g is not None and len(rows) == case.spec.num_layers:
            pairs.append((g, torch.cat(rows)))
    most = max((max_abs_difference(a.cpu(), b) for a, b in pairs), default=0.0)
    said = "each layer was checked alone; a pass through all layers was not, and its gradients differ by up to"
    return f"{said} {most:.1e}" if most else ""
