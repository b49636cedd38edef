"""A check: whether what an engine gave is what the equations give, within what its arithmetic allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

from rnnspect.arithmetic.numbers import one_thread
from rnnspect.causes import search
from rnnspect.causes.known.reduced import PRODUCTS
from rnnspect.causes.search.notes import note_beside
from rnnspect.checking.drawn_input import judged_on_drawn
from rnnspect.checking.half_types import if_half, too_fine
from rnnspect.checking.half_weights import of_half_weights
from rnnspect.checking.identities.ended_apart import ended_apart
from rnnspect.checking.identities.final_states import ends_in_h_n, zero_beyond_the_end
from rnnspect.checking.identities.reruns import identities_of
from rnnspect.checking.log_scan import if_logs
from rnnspect.checking.narrower_dtype import if_narrower
from rnnspect.checking.odd_values import of_whole_numbers, of_zeros
from rnnspect.checking.recording import UNSAID, HowRecorded, Recorded, observations_of
from rnnspect.checking.recovering import is_cheap, of_a_longer_run, recovery_of
from rnnspect.checking.unseen_weights import with_unseen
from rnnspect.engines.interface import Theirs
from rnnspect.errors import InputError
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS, Declared, declared_by
from rnnspect.judging.estimate import Paired
from rnnspect.judging.evidence.elsewhere import OtherWeights
from rnnspect.judging.evidence.leaning import leaning_ways
from rnnspect.judging.evidence.weighing import weighed
from rnnspect.judging.finding import Progress, silent
from rnnspect.judging.if_rounded import RoundedWays, coarsest, if_rounded
from rnnspect.judging.observation import Observation, observed_by, observed_whole
from rnnspect.judging.quick_stack import look_quickly
from rnnspect.judging.rounding import Rounding
from rnnspect.judging.stack import Judged, judge_stack
from rnnspect.judging.verdict import Explained, Verdict
from rnnspect.judging.words import verdict_of
from rnnspect.network.device import plain_defaults
from rnnspect.network.recording import Recording
from rnnspect.tracing.prepare import Prepared


@dataclass(frozen=True)
class CheckTerms:
    """How a check is made: the arithmetic that the run is held to, None for what its engine declares; how many seconds
    causes are looked for, as `check_observation` has it; and who is told how it goes."""

    declared: Declared | None = None
    explain: float | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        if self.explain is not None and (not isinstance(self.explain, Real) or not self.explain >= 0):
            raise InputError(f"explain={self.explain!r}", allowed="a number of seconds, or None", where="explain")


AS_USUAL = CheckTerms()


@dataclass(frozen=True)
class Checked:
    """A verdict, and the case that it is about: its arithmetic is the one that the verdict holds for."""

    verdict: Verdict
    case: Case

    def with_recovery(self, progress: Progress = silent, checkpoints: Sequence[OtherWeights] = ()) -> Verdict:
        """The verdict with the engine's parameters, as far as the numbers tell them, compared with those of some
        `checkpoints`, too."""
        with plain_defaults():
            assumptions = judge_stack(self.case, estimator=Paired(self.case.observation.layers)).assumptions
            told = partial(progress, None)
            recovered = recovery_of(self.case, assumptions, self.verdict, told, checkpoints)
        return replace(self.verdict, recovered=recovered)


def check_prepared(prepared: Prepared, terms: CheckTerms = AS_USUAL, draw: bool = False, why: bool = True) -> Verdict:
    """The verdict on a run of the prepared engine, as `judge_recording` gives it. With `draw` it runs on an input that
    is drawn, in place of its own."""

    def judge(prepared: Prepared) -> Verdict:
        return judge_recording(prepared, prepared.run(), terms, why).verdict

    return judged_on_drawn(prepared, judge) if draw else judge(prepared)


def check_observation(case: Case, progress: Progress = silent, explain: float | None = None) -> Verdict:
    """The verdict on what was observed of a run. Every observed layer is judged on the input that it really received;
    an input that was not observed is estimated. Parameters and sequence may be on any device.

    A run that differs is held to the coarser arithmetic that its engine may also use, if there is one. If it differs
    from that too, known mistakes are looked for, for `explain` seconds, or with None for a fixed amount of work. Where
    reduced products would explain a run in float32, the reason says so, and the verdict stays `differ`: nobody said
    that they were meant. So it does where sums of the decays' logarithms would.
    """
    return _checked(case, progress, explain).verdict


def judge_recording(
    prepared: Prepared, recording: Recording, terms: CheckTerms = AS_USUAL, why: bool = True
) -> Checked:
    """Judges what the prepared engine gave. Without `why` nothing is looked for in a run that differs: neither a known
    mistake nor a parameter.

    Where the stack as a whole gives other numbers than its layers one by one, both are judged, and the result is that
    of the one that does not agree.
    """
    held_to = terms.declared or declared_by(recording.engine)

    def judged(observation: Observation) -> Checked:
        found = _checked(_case(prepared, observation, held_to), terms.progress, terms.explain, why=why)
        return _with(found, notes=(*recording.notes, *found.verdict.notes))

    by_layer = judged(observed_by(recording))
    if isinstance(prepared.engine, Theirs):
        again = identities_of(prepared, held_to, recording)
        by_layer = _with(by_layer, identities=(*by_layer.verdict.identities, *again))
    if recording.stack_difference == 0 or by_layer.verdict.verdict == "differ":
        return by_layer
    whole = judged(observed_whole(recording, prepared.spec))
    note = (
        "all layers in one run and each layer alone differ by up to "
        f"{recording.stack_difference:.2e}; both were checked"
    )
    identities = (*whole.verdict.identities, *by_layer.verdict.identities)
    answered = by_layer if whole.verdict.agrees else whole
    return _with(answered, notes=(*by_layer.verdict.notes, note), identities=identities)


def judge_recorded(
    prepared: Prepared, recorded: Any, terms: CheckTerms = AS_USUAL, how: HowRecorded = UNSAID
) -> Checked:
    """Judges what somebody's implementation gave for the prepared parameters and sequence; nothing is run.

    Where nobody says how its numbers were rounded, a run that differs only because of how they may have been is not
    called wrong. Of a recording that shows its output in two ways, the worse answer is given.
    """
    judged = [_judged_reading(prepared, read, terms) for read in _readings(prepared, recorded, terms, how)]
    answers = [(one.verdict.verdict == "differ", not one.verdict.causes, len(one.verdict.causes)) for one in judged]
    return judged[answers.index(min(answers))]


def _judged_reading(prepared: Prepared, found: Recorded, terms: CheckTerms) -> Checked:
    answers = []
    for i, one in enumerate(found.observations):

        def rounded(i: int = i) -> list[tuple[Rounding, Observation]]:
            return [(way, observations[i]) for way, observations in found.otherwise()]

        def cut_off(i: int = i) -> list[tuple[Rounding, Observation]]:
            return [(way, observations[i]) for way, observations in found.cut_off()]

        answer = _checked(_of_recording(prepared, one, terms), terms.progress, terms.explain, (rounded, cut_off))
        zeros = zero_beyond_the_end(prepared.sequence, one)
        answers.append(_with(answer, identities=(*answer.verdict.identities, *zeros)))
    worst = min(answers, key=lambda answer: ("differ", "cannot tell", "agree").index(answer.verdict.verdict))
    return _with(worst, notes=(*worst.verdict.notes, *found.notes))


@plain_defaults()
def _readings(prepared: Prepared, recorded: Any, terms: CheckTerms, how: HowRecorded) -> list[Recorded]:
    """The recording. Arrays of layers whose shape fits both orders of axes are read in that in which far fewer values
    are wrong; else, as in a run that is wrong in both, in that of the output, and then in the other."""
    spec = prepared.spec
    read = partial(observations_of, spec, recorded, prepared.sequence, prepared.parameters, how)
    found = read(spec.batch_first)
    if not found.either_order:
        return [found]

    def wrong(found: Recorded) -> int:
        """How many values are, h_n and c_n included."""
        judged = [_judged(_of_recording(prepared, one, terms).on_cpu(), silent) for one in found.observations]
        return sum(verdict.wrong + len(found.first_finals) for found, verdict in judged)

    both = [found, read(not spec.batch_first)]
    consistent = [one for one in both if len(one.observations) == 1]  # the output is the h of the top layer
    if len(consistent) == 1:
        return consistent
    own, other = map(wrong, both)
    return [both[other < own]] if max(own, other) >= 2 * min(own, other) else both


@plain_defaults()
def _checked(
    case: Case,
    progress: Progress,
    explain: float | None,
    ways: tuple[Callable[[], RoundedWays], Callable[[], RoundedWays]] = (list, list),
    why: bool = True,
) -> Checked:
    """`ways` give those in which what was observed may have been rounded more, the finest first, and those in which it
    may have been cut off."""
    rounded, cut_off = ways
    case = case.on_cpu()
    judged, verdict = _judged(case, progress)
    if verdict.verdict != "differ":
        found = _weighed(case, judged, verdict, rounded)
        return Checked(with_unseen(found, case.sequence), case)
    verdict = replace(verdict, reason=too_fine(case))
    for declared in list(case.declared.in_turn)[1:]:
        permitted = replace(case, declared=declared)
        allowed = _judged(permitted, progress)[1]
        if allowed.verdict != "differ":
            return Checked(allowed, permitted)
    if not why:
        return Checked(verdict, case)

    def again(case: Case) -> Verdict:
        return _judged(case, progress)[1]

    def leaning() -> RoundedWays:
        finals = not any(place.finding.first for place in judged.places)
        return leaning_ways(judged.assumptions.values(), cut_off, case.observation if finals else None)

    beside = if_rounded(case, rounded(), leaning, again)
    if beside.verdict is not None:
        return Checked(beside.verdict, beside.case or case)
    if (zeros := of_zeros(case, judged, verdict, again)) is not None:
        return Checked(zeros, case)
    narrower = if_narrower(case, again) if case.spec.dtype == "float64" and not verdict.reason else None
    if narrower and narrower.startswith("float32"):  # a mistake may be as small as the roundings of a half type, and
        return Checked(replace(verdict, reason=narrower), case)  # hardly as small as these: nobody has to look for one
    with progress.searching(verdict):
        said = search.explain(case, judged, explain)
    others, reason = beside.notes, verdict.reason or _if_products(said)
    if not said.causes and not reason:
        reason = if_logs(case, again) or if_half(case, again)
        if not reason and (reason := if_narrower(case, again)):
            others = ()
        others += () if reason else of_half_weights(case, judged)
    whole = None if said.causes else of_whole_numbers(case, verdict)
    notes = (*verdict.notes, *others, *([whole] if whole else note_beside(bool(reason or others), said.note)))
    found = replace(verdict, causes=said.causes, indistinguishable=said.indistinguishable, reason=reason, notes=notes)
    if any(not cause.left for cause in said.causes):
        return Checked(found, case)
    if not said.fits:  # else a parameter would be blamed for what another mistake may have done
        found = weighed(case, judged.assumptions.values(), found, explain != 0)
    if found.suspects or explain == 0 or not is_cheap(judged.assumptions):
        return Checked(found, case)
    return Checked(_recovered_unasked(case, judged, found), case)


def _recovered_unasked(case: Case, judged: Judged, verdict: Verdict) -> Verdict:
    """The verdict with the engine's parameters. Nobody asked: it may not take long, and what it cannot tell is no
    answer."""
    with one_thread():  # of so little work each operation is short
        recovered = recovery_of(case, judged.assumptions, verdict, thorough=False)
    if recovered.layers:
        return replace(verdict, recovered=replace(recovered, left_out=()))
    note = of_a_longer_run(judged.assumptions)
    return replace(verdict, notes=(*verdict.notes, note)) if note else verdict


def _if_products(said: Explained) -> str | None:
    """Why a run may differ though it is right, where its cause is that products were reduced."""
    reduced = next((PRODUCTS[one.name] for one in said.causes if one.name in PRODUCTS and not one.left), None)
    if reduced is None:
        return None
    products = ARITHMETICS[reduced].name.partition(", ")[2]
    return f"{products} explain this; if they are intended, check with --arithmetic {reduced}"


def _weighed(case: Case, judged: Judged, verdict: Verdict, rounded: Callable[[], RoundedWays]) -> Verdict:
    """A run of which no value is beyond its bound. What its numbers show only if they were recorded with every digit,
    which nobody said, is no proof."""
    found = weighed(case, judged.assumptions.values(), verdict)
    if found.verdict == "differ" and (ways := rounded()):
        coarse = replace(case, observation=coarsest(case.observation, ways))
        found = weighed(coarse, judged.assumptions.values(), verdict)
    return found


def _with(checked: Checked, **changes: Any) -> Checked:
    return replace(checked, verdict=replace(checked.verdict, **changes))


def _of_recording(prepared: Prepared, observation: Observation, terms: CheckTerms) -> Case:
    return _case(prepared, observation, terms.declared or ARITHMETICS[prepared.spec.dtype])


def _case(prepared: Prepared, observation: Observation, declared: Declared) -> Case:
    declared = declared.for_cell(prepared.spec.cell_type, observation.engine.one_by_one)
    return Case(prepared.spec, prepared.parameters, prepared.sequence, observation, declared).under_autocast()


def _judged(case: Case, progress: Progress) -> tuple[Judged, Verdict]:
    found = look_quickly(case)
    if found is None:
        found = judge_stack(case, progress=progress, estimator=Paired(case.observation.layers))
    apart = ended_apart(case, found, progress)
    found, identities = (apart[0], (apart[1],)) if apart else (found, ends_in_h_n(case, found))
    return found, replace(verdict_of(case, found), identities=identities)
