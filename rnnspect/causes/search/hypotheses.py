"""Tries the known mistakes on a run that differs: one at a time, then two at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rnnspect.causes.interface import CLEARLY, Cause, explanations, named
from rnnspect.causes.known import turn_of
from rnnspect.causes.known.lengths import OF_LENGTHS
from rnnspect.causes.known.reduced import PRODUCTS, SUMS
from rnnspect.causes.search.beginning import STEPS
from rnnspect.causes.search.begun_otherwise import begun_otherwise
from rnnspect.causes.search.effort import Effort
from rnnspect.causes.search.final_states import explain_finals, means
from rnnspect.causes.search.rejudging import CauseGroup, Rejudging
from rnnspect.causes.search.scopes import Tried, likeliest_first, pairs, reaches, scopes_below, without_sums
from rnnspect.causes.search.vague import Vague
from rnnspect.causes.search.would_agree import comes_nearer, shows_enough, too_little_known, untold
from rnnspect.causes.search.wrong import wrong_in
from rnnspect.judging.assumption import At
from rnnspect.judging.case import Case
from rnnspect.judging.stack import Judged
from rnnspect.judging.verdict import Explained, Explanation

FAR = 3.0
"""A mistake that leaves more than so many times the ratio of another one is told after it. A wrong mistake may pass
where bounds are wide, but it then leaves values close to their bounds; a right one leaves nearly all far below."""


class Search:
    """Looks for the mistakes that explain one judged run, until the effort is over."""

    def __init__(self, case: Case, judged: Judged, effort: Effort) -> None:
        self._case, self._judged, self.effort = case, judged, effort
        self._wrong = wrong_in(judged)
        self._again = Rejudging(case, judged, effort)
        self.tried: list[Tried] = []
        self.vague: dict[object, Vague] = {}
        """Mistakes that would explain the run if more of it were known: why too little is known, by the mistake and
        where it is made."""
        self.scarce: list[tuple[float, Cause]] = []
        """Mistakes that explain so few wrong values that one may by chance, each with the share of the largest ratio
        that it leaves."""

    def explained(self) -> Explained:
        """The mistakes that explain the run. Layers and directions that differ are looked at from the lowest layer up;
        those that an earlier mistake explains are skipped."""
        said: Explained | None = None
        steps_are_right = not any(place.finding.first for place in self._judged.places)
        if steps_are_right:
            said = explain_finals(self._case, self._judged)
            known = said.causes and not any(cause.left for cause in said.causes)
            if known and (self._case.sequence.lengths is None or {cause.name for cause in said.causes} <= OF_LENGTHS):
                return said
        causes: list[Explanation] = []
        groups: list[tuple[str, ...]] = []
        left = sorted((at for at, wrong in self._wrong.items() if not wrong.is_nan), key=self._order)
        while left and not self.effort.is_over:
            at, *left = left
            found = self._survivors(at)
            if not found:
                if at in self._judged.estimated:  # then the input of the layers above is not known
                    left = [other for other in left if other[0] <= at[0]]
                continue
            least = min(one.remains for _, one in found)
            best = without_sums([each for each in found if each[1].remains == least])
            nearest = min(one.after for _, one in best)
            best.sort(key=lambda each: each[1].after > FAR * nearest)
            for hypothesis, one in best:
                ends = (f"the final state of {place}" for place in named(one.ends))
                causes += explanations(hypothesis, one.before, one.after, one.explained, (*named(one.steps), *ends))
            if len(best) > 1:
                groups.append(tuple(" + ".join(cause.name for cause in hypothesis) for hypothesis, _ in best))
            after = best[0][1]
            left = [other for other in left if other in (*after.steps, *after.ends)]
        if said and not causes:
            return said
        return Explained(tuple(causes), tuple(groups))

    @cached_property
    def begun_otherwise(self) -> str | None:
        """That only the beginning of the run is wrong, if so."""
        return begun_otherwise(self._case, self._judged)

    def _order(self, at: At) -> tuple[int, int, int]:
        layer, direction = at
        return layer, self._wrong[at].order, self._case.spec.directions.index(direction)

    def _survivors(self, at: At) -> list[tuple[CauseGroup, _After]]:
        """What explains a layer and direction: one mistake in it, one mistake shared with layers below that were not
        observed, or two mistakes at once. Two are tried only where no single mistake explains it."""
        here = (cause for cause in self._again.catalogue(at).values() if not cause.echo)
        known = likeliest_first(here, self._case)
        found: list[tuple[CauseGroup, _After]] = []
        seen = at not in self._judged.estimated
        if self._wrong[at].only_final:  # all steps are right: only mistakes that show in final states alone
            return list(self._tried(at, ((one,) for one in known if one.ends))) if seen else []
        if seen:
            found = list(self._tried(at, ((one,) for one in known)))
        unseen = [other for other in self._judged.estimated if other[0] <= at[0]]
        if unseen and all(after.remains for _, after in found):
            found += self._tried_below(at, unseen)
        # If one only fits because little is known, two would fit, too; and two do not make the beginning wrong alone.
        if not found and seen and not self.vague and not self.begun_otherwise:
            found = list(self._tried(at, pairs(known)))
        return found

    def _tried(self, at: At, hypotheses: Iterable[CauseGroup]) -> Iterator[tuple[CauseGroup, _After]]:
        told, tried = set(), Tried((at,))
        self.tried.append(tried)
        for hypothesis in hypotheses:
            if self.effort.is_over:
                return
            tried.add(hypothesis)
            same = frozenset(cause.key for cause in hypothesis)
            if same in told or not self._may_be(hypothesis, at):  # `told` has the other order
                continue
            if after := self._after(hypothesis, self._scope(hypothesis, at), at):
                told.add(same)
                yield hypothesis, after

    def _may_be(self, hypothesis: CauseGroup, at: At) -> bool:
        """False where the first steps in a place contradict the mistakes, or where the run does not show what they
        would."""
        assumed = self._judged.assumptions[at]
        if self._wrong[at].only_final and not all(cause.ends for cause in hypothesis):
            return False
        unsure = any(layer == at[0] - 1 for layer, _ in self._judged.estimated)
        if unsure and any(cause.name == SUMS for cause in hypothesis):
            return False  # a small error of an unobserved layer below looks like errors of sums
        if not self._again.may_begin(hypothesis, at, self._wrong[at].order):
            return False
        return all(cause.shown is None or cause.shown(assumed) for cause in hypothesis)

    def _scope(self, hypothesis: CauseGroup, at: At) -> list[At]:
        """The places where the mistakes are assumed: this one, the others that their `reach` demands, and the others
        that differ and may be explained by them."""
        reach = {cause.reach for cause in hypothesis}
        scope = [at]
        for other in self._judged.assumptions:
            if other == at:
                continue
            if "stack" in reach or ("layer" in reach and other[0] == at[0]):
                scope.append(other)
            elif other in self._wrong and other not in self._judged.estimated:
                same = self._again.same_at(other, hypothesis)
                if same is not None and self._may_be(same, other):
                    scope.append(other)
        return scope

    def _tried_below(self, at: At, unseen: list[At]) -> list[tuple[CauseGroup, _After]]:
        """One mistake in layers that were not observed, with this place or without it: the likely mistakes in all
        places before the others. Once a mistake explains all differences, only mistakes in the same places are tried.
        """
        found: list[tuple[CauseGroup, _After]] = []
        every = list(self._judged.assumptions)
        above = [other for other in self._wrong if other[0] >= at[0] and other not in unseen]
        places = [Tried(scope) for scope in scopes_below(unseen, above, every)]
        self.tried += places
        made: set[object] = set()
        for turn, tried in itertools.product(range(3), places):
            found += self._tried_in(tried, at, turn, made)
            if any(not after.remains for _, after in found):
                return found + [one for later in range(turn + 1, 3) for one in self._tried_in(tried, at, later, made)]
        return found

    def _tried_in(self, tried: Tried, at: At, turn: int, made: set[object]) -> Iterator[tuple[CauseGroup, _After]]:
        """The mistakes of one turn (`turn_of`) in one scope, without those that were `made` before. A mistake is
        skipped if with it the first observed layer above begins wrongly."""
        for hypothesis in self._below(tried.scope, turn):
            if self.effort.is_over:
                return
            places = tuple(place for place in tried.scope if self._again.same_at(place, hypothesis))
            same = _made(hypothesis, places)
            if same in made or same in self.vague:
                continue
            made.add(same)
            tried.add(hypothesis)
            if self._may_be_below(hypothesis, places) and (after := self._after(hypothesis, places, at)):
                yield hypothesis, after

    def _below(self, scope: Sequence[At], turn: int) -> Iterator[CauseGroup]:
        """The mistakes of one turn that can be made in a scope, without those that are another mistake's in some place
        of it (`Cause.echo`), and pairs of transposed kernels. Mistakes with `Cause.shown` are tried only if they round
        operands and the scope has an observed layer."""
        every = list(self._judged.assumptions)
        known: dict[object, Cause] = {}
        for place in scope:
            for key, cause in self._again.catalogue(place).items():
                told = cause.shown is None or (cause.name in PRODUCTS and not set(scope) <= set(self._judged.estimated))
                if told and reaches(cause, scope, every) and (key not in known or known[key].echo):
                    known[key] = cause
        causes = (cause for cause in known.values() if not cause.echo and turn_of(cause) == turn)
        ordered = likeliest_first(causes, self._case)
        yield from ((one,) for one in ordered)
        yield from pairs([one for one in ordered if "transposed" in one.name])

    def _may_be_below(self, hypothesis: CauseGroup, scope: Sequence[At]) -> bool:
        """Whether the first observed layer above begins well on what the layers below give it with the mistakes."""
        seen, shown = self._wrong.keys() - self._judged.estimated, any(cause.shown for cause in hypothesis)
        if (begun := min(seen, key=self._order, default=None)) is None:
            return not shown
        if shown:
            return self._wrong[begun].order < STEPS and self._again.rounds_operands(hypothesis[0].name, scope, begun)
        return self._again.may_begin_above(hypothesis, scope, begun)

    def _after(self, hypothesis: CauseGroup, scope: Sequence[At], at: At) -> _After | None:
        """The whole run judged with the mistakes made in the scope. None where the run contradicts them, where the
        place `at` is still wrong, or where so little is known of what no longer differs that a check would not
        agree."""
        judged = self._again.whole(hypothesis, scope, meanings=False)
        places = [place for place in judged.places if place.at in scope]
        here = [place.finding for place in places]
        shown = any(cause.shown for cause in hypothesis)  # the numbers themselves show the mistake
        forgets = not shown and self._forgets(judged, scope)
        if judged.unread or any(untold(judged, place) for place in places) or forgets:
            return None
        wrong = wrong_in(judged)
        ended = [other for other, one in wrong.items() if one.only_final or other in judged.estimated]
        if not wrong.keys() <= self._wrong.keys() or (at in wrong and at not in ended):
            return None
        if ended:
            names = {cause.name for cause in hypothesis}
            judged = self._again.whole(hypothesis, scope, meanings=True)
            told = {other for other in ended if means(judged, other) <= names}
            wrong = {other: one for other, one in wrong.items() if other not in told}
        steps = [other for other, one in wrong.items() if not one.only_final]
        ends = [other for other, one in wrong.items() if one.only_final]
        if any(cause.reach != "place" for cause in hypothesis) and any(other in steps for other in scope):
            return None
        if at in wrong:
            return None
        if not shown and (vague := too_little_known(self._case, judged, hypothesis)):
            seen = not any(other in self._judged.estimated for other in scope)
            self.vague[_made(hypothesis, scope)] = Vague(hypothesis, vague, seen, self._ends_near(judged), scope)
            return None
        righted = self._wrong.keys() - wrong.keys()
        before = max((self._wrong[other].ratio for other in righted), default=math.inf)
        if _worst_of(judged, righted) > before / CLEARLY:
            return None
        if not shown and not all(comes_nearer(self._judged, judged, other) for other in righted):
            return None
        if not shown and not shows_enough(self._judged, righted):
            if len(hypothesis) == 1 and not wrong:
                self.scarce.append((_worst_of(judged, righted) / before, hypothesis[0]))
            return None
        known = (*self._wrong, *self._judged.estimated)
        explained = [other for other in scope if other not in steps and other in known]
        before = max(self._wrong[other].ratio for other in (*righted, *explained) if other in self._wrong)
        ratios = [found.worst.ratio for found in here if found.worst and not found.first]
        after = max((*ratios, _worst_of(judged, righted)))  # a scope that was not observed has no ratio of its own
        return _After(before, after, explained, steps, ends)

    def _ends_near(self, judged: Judged) -> bool:
        """Of a run of which only final states were recorded: whether the mistakes explain those that were wrong, and
        not only by a limit so wide that they would have been right without them."""
        ends = {(point.quantity, point.at): point for point in judged.finals}
        off = {(one.quantity, one.at): abs(one.manual - one.engine) for one in self._judged.finals if one.ratio > 1}
        explained = (at in ends and ends[at].ratio <= 1 and ends[at].bound <= by / CLEARLY for at, by in off.items())
        return not judged.places and not judged.past_use and all(explained)

    def _forgets(self, judged: Judged, scope: Sequence[At]) -> bool:
        """Whether the wrong final state of a place that was not observed can no longer be judged."""
        ends = {point.at for point in judged.finals}
        return any(at in self._wrong and at in self._judged.estimated and at not in ends for at in scope)


@dataclass(frozen=True)
class _After:
    """A run judged again as if the mistakes had been made: the largest ratio of what they explain, before and after."""

    before: float
    after: float
    explained: list[At]
    steps: list[At]
    """The layers and directions whose steps still differ."""
    ends: list[At]
    """Those of which only a final state still differs."""

    @property
    def remains(self) -> int:
        return len(self.steps) + len(self.ends)


def _worst_of(judged: Judged, places: Collection[At]) -> float:
    """The largest ratio of h, and of the final states that are right, in some places."""
    seen = [place.finding.worst for place in judged.places if place.at in places and place.quantity == "h"]
    ends = [point for point in judged.finals if point.at in places and point.ratio <= 1]  # others have a meaning
    return max((point.ratio for point in (*seen, *ends) if point), default=0.0)


def _made(hypothesis: CauseGroup, scope: Iterable[At]) -> object:
    """A key of some mistakes and the places where they are made, equal for any order of the mistakes."""
    return frozenset(cause.key for cause in hypothesis), frozenset(scope)
