"""The catalogue of mistakes, tried on a run that differs: one at a time, then two at once."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rnnspect.causes.interface import Cause
from rnnspect.causes.known import catalogue
from rnnspect.causes.search.beginning import STEPS, begins_well
from rnnspect.causes.search.final_states import explain_finals, means
from rnnspect.judging.case import Case
from rnnspect.judging.interpretation import At, Interpretation
from rnnspect.judging.stack import Judged, judge_stack
from rnnspect.judging.verdict import Explained, Explanation

PAIRED = ("gates", "gru", "biases", "kernels", "directions")
"""Families of which two mistakes at once are tried."""


Hypothesis = tuple[Cause, ...]
"""One mistake, or two that were made at once."""


class Search:
    """Looks for the mistakes that explain one judged run, for so many seconds from now on."""

    def __init__(self, case: Case, judged: Judged, seconds: float) -> None:
        self._case, self._judged = case, judged
        self._until, self.is_over = time.monotonic() + seconds, False
        self._wrong = wrong_in(judged)
        self._known: dict[At, dict[Any, Cause]] = {}

    def explained(self) -> Explained:
        """Takes the places that differ from the lowest layer up, and leaves out those that a cause found before
        explains."""
        if self._case.sequence.lengths is None and not any(place.finding.first for place in self._judged.places):
            said = explain_finals(self._judged)
            if said.causes and not any(cause.left for cause in said.causes):
                return said
        causes: list[Explanation] = []
        groups: list[tuple[str, ...]] = []
        left = sorted(self._wrong, key=self._order)
        while left and self._has_time():
            at, *left = left
            found = self._survivors(at)
            if not found:
                continue
            least = min(one.remains for _, one in found)
            best = [(hypothesis, one) for hypothesis, one in found if one.remains == least]
            for hypothesis, one in best:
                causes += _explanations(hypothesis, one)
            if len(best) > 1:
                groups.append(tuple(" + ".join(cause.name for cause in hypothesis) for hypothesis, _ in best))
            after = best[0][1]
            left = [other for other in left if other in (*after.steps, *after.ends)]
        ends = [at for at, wrong in self._wrong.items() if wrong.only_final]
        if not causes and len(ends) == len(self._wrong):
            return explain_finals(self._judged)
        return Explained(tuple(causes), tuple(groups))

    def _has_time(self) -> bool:
        self.is_over = self.is_over or time.monotonic() >= self._until
        return not self.is_over

    def _order(self, at: At) -> tuple[int, int, int]:
        layer, direction = at
        return layer, self._wrong[at].order, self._case.spec.directions.index(direction)

    def _catalogue(self, at: At) -> dict[Any, Cause]:
        if at not in self._known:
            self._known[at] = {cause.key: cause for cause in catalogue(self._judged.readings[at])}
        return self._known[at]

    def _same_at(self, at: At, hypothesis: Hypothesis) -> Hypothesis | None:
        """The same mistakes in another place; None where one cannot be made there."""
        there = self._catalogue(at)
        same = tuple(there[cause.key] for cause in hypothesis if cause.key in there)
        return same if len(same) == len(hypothesis) else None

    def _survivors(self, at: At) -> list[tuple[Hypothesis, _After]]:
        """What explains a place: one mistake in it, one that it shares with layers below that nobody observed, or
        two at once."""
        known = list(self._catalogue(at).values())
        found: list[tuple[Hypothesis, _After]] = []
        seen = at not in self._judged.estimated
        if self._wrong[at].only_final:  # each step is right: only what may show in the end alone
            return list(self._tried(at, ((one,) for one in known if one.ends))) if seen else []
        if seen:
            found = list(self._tried(at, ((one,) for one in known)))
        unseen = [other for other in self._judged.estimated if other[0] <= at[0]]
        if not found and unseen:
            found = list(self._tried_below(at, unseen, known))
        if not found and seen:
            found = list(self._tried(at, _pairs(known)))
        return found

    def _tried(self, at: At, hypotheses: Iterable[Hypothesis]) -> Iterator[tuple[Hypothesis, _After]]:
        told = set()
        for hypothesis in hypotheses:
            if not self._has_time():
                return
            same = frozenset(cause.key for cause in hypothesis)
            if same in told or not self._may_be(hypothesis, at):  # told: in the other order
                continue
            if after := self._after(hypothesis, self._scope(hypothesis, at), at):
                told.add(same)
                yield hypothesis, after

    def _may_be(self, hypothesis: Hypothesis, at: At) -> bool:
        """False where the beginning of the run in a place refutes it, or the numbers do not show what they must."""
        reading = self._judged.readings[at]
        if self._wrong[at].only_final and not all(cause.ends for cause in hypothesis):
            return False
        if not begins_well(_changed(reading, hypothesis), self._wrong[at].order):
            return False
        return all(cause.shown is None or cause.shown(reading) for cause in hypothesis)

    def _scope(self, hypothesis: Hypothesis, at: At) -> list[At]:
        """Where else the mistake was made: wherever else it may explain what differs, and wherever it reaches."""
        reach = {cause.reach for cause in hypothesis}
        scope = [at]
        for other, reading in self._judged.readings.items():
            if other == at:
                continue
            if "stack" in reach or ("layer" in reach and other[0] == at[0]):
                scope.append(other)
            elif other in self._wrong and other not in self._judged.estimated:
                same = self._same_at(reading.at, hypothesis)
                if same is not None and self._may_be(same, other):
                    scope.append(other)
        return scope

    def _made_in(self, hypothesis: Hypothesis, scope: Sequence[At], reading: Interpretation) -> Interpretation:
        """The reading with the mistakes in it, if it is in the scope and they can be made there."""
        same = self._same_at(reading.at, hypothesis) if reading.at in scope else None
        return reading if same is None else _changed(reading, same)

    def _after(self, hypothesis: Hypothesis, scope: Sequence[At], at: At) -> _After | None:
        """The whole run with the mistakes made in the scope; None where that is refuted, or the place `at` is still
        wrong."""
        change = functools.partial(self._made_in, hypothesis, scope)
        judged = judge_stack(self._case, change, meanings=False)
        here = [place.finding for place in judged.places if place.at in scope]
        if judged.unread or any(found.unjudged for found in here) or self._forgets(judged, scope):
            return None
        wrong = wrong_in(judged)
        steps = [other for other, one in wrong.items() if not one.only_final]
        ends = [other for other, one in wrong.items() if one.only_final]
        reaches = any(cause.reach != "place" for cause in hypothesis)
        if not wrong.keys() <= self._wrong.keys() or (reaches and any(other in steps for other in scope)):
            return None
        if ends:
            names, judged = {cause.name for cause in hypothesis}, judge_stack(self._case, change)
            ends = [other for other in ends if not means(judged, other) <= names]
        if at in steps or (self._wrong[at].only_final and at in ends):
            return None
        known = (*self._wrong, *self._judged.estimated)
        explained = [other for other in scope if other not in steps and other in known]
        ratios = [found.worst.ratio for found in here if found.worst and not found.first]
        return _After(self._before(scope), max(ratios, default=0.0), explained, steps, ends)

    def _forgets(self, judged: Judged, scope: Sequence[At]) -> bool:
        """Whether the final state of a place that nobody observed was wrong, and can now not be judged."""
        ends = {point.at for point in judged.finals}
        return any(at in self._wrong and at in self._judged.estimated and at not in ends for at in scope)

    def _before(self, scope: Sequence[At]) -> float:
        here = [self._wrong[at].ratio for at in scope if at in self._wrong]
        return max(here or [wrong.ratio for wrong in self._wrong.values()])

    def _tried_below(self, at: At, unseen: list[At], known: list[Cause]) -> Iterator[tuple[Hypothesis, _After]]:
        """One mistake in every layer that nobody observed, with this place or without it; if none explains all, in one
        of these layers alone. One after which the first layer observed above begins wrongly is not looked into."""
        known = [one for one in known if one.shown is None]  # of what nobody observed no number shows anything
        layers = list(dict.fromkeys(layer for layer, _ in unseen))
        here = [other for other in self._wrong if other[0] >= at[0]]
        scopes = [[*unseen, *(other for other in here if other not in unseen)], unseen]
        if len(layers) > 1:
            scopes += [[other for other in unseen if other[0] == layer] for layer in layers]
        for scope in {tuple(scope): scope for scope in scopes}.values():
            whole = False
            for one in known:
                if not self._has_time():
                    return
                if not self._may_be_below((one,), scope, unseen):
                    continue
                if after := self._after((one,), scope, at):
                    whole = whole or not after.remains
                    yield (one,), after
            if whole:
                return

    def _may_be_below(self, hypothesis: Hypothesis, scope: Sequence[At], unseen: list[At]) -> bool:
        """Whether the first layer above that was observed begins well, on what the changed ones below give it."""
        above = [other for other, wrong in self._wrong.items() if other not in unseen and wrong.order < STEPS]
        if not above:
            return True
        begun = min(above, key=self._order)
        change = functools.partial(self._made_in, hypothesis, scope)
        made = judge_stack(self._case.begun(STEPS), change, meanings=False, until=begun).readings.get(begun)
        return made is not None and begins_well(made, 0)


@dataclass(frozen=True)
class _After:
    """A run judged again as if the mistakes had been made."""

    before: float
    after: float
    explained: list[At]
    steps: list[At]
    """Where steps still differ."""
    ends: list[At]
    """Where only a final state still differs."""

    @property
    def remains(self) -> int:
        return len(self.steps) + len(self.ends)


class Wrong(NamedTuple):
    """Where a layer and direction differs first, in processing order, and by how many times the bound at worst."""

    order: int
    ratio: float
    only_final: bool = False
    """Whether every step is right, and a final state is not."""


def wrong_in(judged: Judged) -> dict[At, Wrong]:
    """Each layer and direction whose h differs, or how it ended."""
    wrong = {
        place.at: Wrong(found.first.order, found.worst.ratio if found.worst else 0.0)
        for place in judged.places
        if place.quantity == "h" and (found := place.finding).first
    }
    for point in judged.finals:
        at = point.at
        if point.ratio > 1 and (at not in wrong or wrong[at].only_final):
            ratio = max(point.ratio, wrong[at].ratio if at in wrong else 0.0)
            wrong[at] = Wrong(0, ratio, only_final=at not in judged.estimated)
    return wrong


def _pairs(known: list[Cause]) -> Iterator[Hypothesis]:
    """Two at once, the likely before the unlikely; in both orders, since the second acts on what the first made."""
    paired = [one for one in known if one.family in PAIRED and one.shown is None]
    for total in range(1, 2 * len(paired) - 2):
        for i in range(max(0, total - len(paired) + 1), min(total, len(paired) - 1) + 1):
            a, b = paired[i], paired[total - i]
            if a is not b and not a.name == b.name == "gate-order":
                yield a, b


def _changed(reading: Interpretation, hypothesis: Hypothesis) -> Interpretation:
    return functools.reduce(lambda made, cause: cause.change(made), hypothesis, reading)


def _named(places: Iterable[At]) -> tuple[str, ...]:
    return tuple(f"layer {layer} {direction}" for layer, direction in places)


def _explanations(hypothesis: Hypothesis, after: _After) -> Iterator[Explanation]:
    names = tuple(cause.name for cause in hypothesis)
    for cause in hypothesis:
        yield Explanation(
            cause.name, cause.family, cause.parameters, cause.explanation, cause.fix, after.before, after.after,
            _named(after.explained),
            (*_named(after.steps), *(f"the final state of {place}" for place in _named(after.ends))),
            names if len(names) > 1 else (),
        )  # fmt: skip
