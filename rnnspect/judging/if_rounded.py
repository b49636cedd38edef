"""Whether a recorded run differs only because of how its numbers may have been rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from rnnspect.judging.case import Case
from rnnspect.judging.observation import Observation
from rnnspect.judging.recorded_sample import PLAUSIBLE
from rnnspect.judging.rounding import Rounding
from rnnspect.judging.verdict import Verdict

_UNITS = 4
"""Below so many units of the last digit numbers may have been cut off, or rounded more than once."""


class IfRounded(NamedTuple):
    """What is to be said of a run that differs: another verdict, where rounding explains it, on the run as it was
    observed then; or notes beside it."""

    verdict: Verdict | None = None
    case: Case | None = None
    notes: tuple[str, ...] = ()


RoundedWays = Sequence[tuple[Rounding, Observation]]
"""Ways in which what was observed may have been rounded, each with it as it is then."""


def if_rounded(
    case: Case, ways: RoundedWays, cut_off: Callable[[], RoundedWays], judged: Callable[[Case], Verdict]
) -> IfRounded:
    """Judges a run that differs again, under each of the ways in which its recording may have been rounded, the finest
    first. All of them together come before, so that a run that rounding does not explain costs one look more. A run
    that differs by a few units of the last digit is judged again as if its numbers had been truncated (`cut_off`)."""

    def kept(observation: Observation, units: float = 0.5) -> Case:
        return replace(case, observation=observation.rounded_more(2 * units))

    def explaining(ways: RoundedWays, units: float) -> tuple[Rounding | None, Case] | None:
        whole = kept(coarsest(case.observation, ways), units)
        if not ways or judged(whole).verdict == "differ":
            return None
        every = ((way, kept(observation, units)) for way, observation in ways)
        return next(((way, one) for way, one in every if judged(one).verdict != "differ"), (None, whole))

    def by_cutting_off() -> IfRounded | None:
        every = ((way, replace(case, observation=observation)) for way, observation in cut_off())
        explained = ((way, one, verdict) for way, one in every if (verdict := judged(one)).verdict != "differ")
        return next((IfRounded(_cannot_tell(way, verdict), one) for way, one, verdict in explained), None)

    if found := explaining(ways, 0.5):
        way, one = found
        return (None if way else by_cutting_off()) or IfRounded(_cannot_tell(way, judged(one)), one)
    rounded = [how for how in case.observation.kept.values() if how.rounded]
    taken = dict.fromkeys(how.how for how in rounded if 2 * _UNITS * how.at(1) <= PLAUSIBLE)
    if taken and judged(kept(case.observation, _UNITS)).verdict != "differ":
        how_rounded = " and ".join(taken)
    else:
        found = explaining([(way, seen) for way, seen in ways if _UNITS * way.error <= PLAUSIBLE], _UNITS)
        if not found or not found[0]:
            return IfRounded()
        how_rounded = str(found[0])
    return by_cutting_off() or _cut_off(how_rounded)


def _cut_off(how: str) -> IfRounded:
    note = f"every difference is below {_UNITS} units of {how}: perhaps the recorded values were rounded more than once"
    if how in ("bfloat16", "float16"):
        note += f", or the engine computed in {how}"
    return IfRounded(notes=(note,))


def _cannot_tell(way: Rounding | None, verdict: Verdict) -> Verdict:
    if way is None:
        reason = "its numbers appear rounded, but not all in the same way; record every digit"
        return replace(verdict, verdict="cannot tell", reason=reason)
    return if_they_were("values", way, verdict)


def if_they_were(what: str, way: Rounding, verdict: Verdict) -> Verdict:
    """That nobody can tell, from the verdict on the recorded values or gradients if they were rounded in this way."""
    reason = (
        f"if the recorded {what} were {way.done}, all of them match; pass --recorded-as {way.name} if they were, "
        f"--recorded-as {replace(way, cut='').name if way.cut else 'exact'} if not"
    )
    if verdict.reason:
        reason += f"; if they were, it is still too little to be sure ({verdict.reason})"
    return replace(verdict, verdict="cannot tell", reason=reason)


def coarsest(observation: Observation, ways: Iterable[tuple[Rounding, Observation]]) -> Observation:
    """Each quantity with the largest error that any of the ways gives it."""
    every = [observation, *(one for _, one in ways)]
    kept = {}
    for name in observation.kept:
        precisions = [one.kept_of(name) for one in every]
        kept[name] = replace(
            precisions[0],
            relative=max(one.relative_as_written for one in precisions),
            absolute=max(one.absolute for one in precisions),
            largest=min(one.largest for one in precisions),
        )
    return replace(observation, kept=kept)
