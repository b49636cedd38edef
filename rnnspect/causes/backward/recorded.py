"""Searches for the known mistake of going back that explains gradients of which only the results were recorded. The
pass is computed again with the mistake: in every layer and direction that can have it, then only where the first wrong
gradient is. Mistakes that show only in numbers that were not recorded are not tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.backward.assumed import assumption_of, is_in_sums, is_told, layer_of, order_of, ratios_of
from rnnspect.causes.backward.decayed import decayed_and_multiplied
from rnnspect.causes.backward.given import GivenCause, given_causes, places_of
from rnnspect.causes.backward.interface import IN_OWN_ORDER, BackwardCause, Seen, is_nothing, recorded_to
from rnnspect.causes.backward.known import catalogue, families
from rnnspect.causes.backward.last_steps import STEPS, LastSteps
from rnnspect.causes.backward.own_windows import in_own_windows
from rnnspect.causes.interface import CLEARLY, explanations
from rnnspect.causes.search.effort import STEP_BACK, Effort
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.estimate import FreeLayer
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import Coming, ResultsCase, ResultsMistake, expected
from rnnspect.judging.finding import PAST_USE
from rnnspect.judging.verdict import Explained
from rnnspect.network.parameters import LayerParameters, suffix

_Key = tuple[str, tuple[tuple[str, Any], ...]]
_Catalogue = dict[At, dict[_Key, BackwardCause]]
_UNSEEN = ("clipped_steps", "padding")
"""Families whose mistakes need the gradients of the gates at each step, or the steps of padding."""
_OF_ALL = "scaled"
"""The family whose mistakes in parameters' gradients are made in the whole network at once."""
_EVERYTHING = "everything"
_TRUNCATED = "truncated"
_AT_A_PLACE = (_TRUNCATED, "outputs")
"""Families whose mistakes begin at some step, counted from the first."""
_PERIODS = 16
"""Truncations of at most so many steps are tried where no gradient of a step shows where one begins."""


def explain_given(case: ResultsCase, told: Mapping[str, WithError], kept: Mapping[str, Tensor]) -> Explained:
    """As `explain_results`, but only mistakes that are made after a right pass backwards."""
    search = _Search(case, told, kept, Effort(None))
    return search.as_explained(search.in_what_was_given())


def explain_results(
    case: ResultsCase, told: Mapping[str, WithError], kept: Mapping[str, Tensor], seconds: float | None
) -> Explained:
    """`told` is what the equations give, `kept` how far off each recorded number may be because of its rounding. The
    search ends after a fixed amount of work, or after so many `seconds`; with 0 there is none."""
    if seconds is not None and seconds <= 0:
        return Explained()
    return _Search(case, told, kept, Effort(seconds)).explained()


@dataclass(frozen=True)
class _Fit:
    causes: tuple[BackwardCause | GivenCause, ...]
    """One mistake, or two that were made one after the other."""
    scope: tuple[At, ...]
    ratio: float


class _Search:
    def __init__(
        self, case: ResultsCase, told: Mapping[str, WithError], kept: Mapping[str, Tensor], effort: Effort
    ) -> None:
        self._case, self._told, self._kept, self._effort = case, told, kept, effort
        self._unit, self._off = case.declared.roundoff.stored, recorded_to(case.given.named, kept)
        self._before, self._tried = self._ratios(told), 0
        self._assumptions = {at: assumption_of(case, at) for at in case.spec.places}
        self._order = order_of(case, told, kept)
        self._last = LastSteps.of(case, told, kept)

    def explained(self) -> Explained:
        steps = [self._before[name] > 1 for name in ("x", "h0", "c0") if name in self._before]
        found = [] if any(steps) else list(self._sums_of_all())
        found = found or self.in_what_was_given()
        for known in (self._known, self._somewhere) if self._order is None else (self._known,):
            for scope in self._scopes():
                if not found:
                    found = list(self._fitting(known, scope, any(steps), bool(steps)))
        other = None if found else in_own_windows(self._case, self._told, self._kept, self._effort)
        return other or self.as_explained(found)

    def as_explained(self, found: list[_Fit]) -> Explained:
        worst = max(self._before.values(), default=0.0)
        causes = tuple(one for fit in found for one in explanations(fit.causes, worst, fit.ratio, fit.scope))
        groups = (tuple(" + ".join(one.name for one in fit.causes) for fit in found),) if len(found) > 1 else ()
        return Explained(causes, groups, None if causes else self._effort.explains_nothing(self._tried))

    def _ratios(self, told: Mapping[str, WithError]) -> dict[str, float]:
        return ratios_of(self._case.given.named, told, self._kept, self._unit)

    def _explained(self, after: Mapping[str, WithError]) -> float | None:
        """The largest ratio with a mistake made. None where the mistake does not explain what is wrong: it comes no
        nearer to the equations, or bounds become so wide that nothing is known any more."""
        ratio = max(self._ratios(after).values(), default=0.0)
        if ratio > min(1.0, max(self._before.values(), default=0.0) / CLEARLY):
            return None
        wrong = (name for name, before in self._before.items() if before > 1)
        return None if any(self._is_lost(name, after) for name in wrong) else ratio

    def _is_lost(self, name: str, after: Mapping[str, WithError]) -> bool:
        """Whether with a mistake most numbers of a gradient have bounds too wide to say anything."""
        if name not in after:  # no gradient reaches it
            return False
        own, before = self._told[name]
        size = max(float(own.abs().max()), float(self._case.given.named[name].abs().max()))
        lost = (after[name][1] > PAST_USE * size) & (before <= PAST_USE * size)
        return 2 * int(lost.sum()) > lost.numel()

    def _scopes(self) -> list[tuple[At, ...]]:
        """Places where a mistake is assumed: all; those of the highest layer with a wrong gradient; its only wrong
        place, if there is one; and the layer above, since dL/dx of that layer is what the layer receives."""
        places = self._case.spec.places
        wrong = [at for at in places if any(self._before.get(name, 0.0) > 1 for name in self._names(at))]
        scopes = [tuple(places)]
        if wrong:
            top = max(layer for layer, _ in wrong)
            scopes += [tuple(at for at in of if at[0] == top) for of in (places, wrong)]
            scopes += [tuple(at for at in places if at[0] == top + 1)]
        return [one for one in dict.fromkeys(scopes) if one]

    def _names(self, at: At) -> list[str]:
        return list(LayerParameters.of(self._case.parameters, *at, self._case.spec).named(*at))

    @cached_property
    def _together(self) -> Seen:
        """All layers and directions taken together, as if their parameters were those of one."""
        given = self._case.given.parameters
        assumed = replace(self._assumptions[self._case.spec.places[0]], gradients=given)
        layer = layer_of(assumed, torch.zeros(*self._case.sequence.x.shape[:2], 0), given)
        known = {name: one for name, one in self._told.items() if name in given}
        return Seen(assumed, layer, known, None, recorded=self._off)

    def in_what_was_given(self) -> list[_Fit]:
        """Mistakes that were made after the pass backwards: one, or else two one after the other."""
        wrong = {name: ratio > 1 for name, ratio in self._before.items()}
        single = ((one,) for one in given_causes(self._case, self._told, wrong, self._together))
        pairs = decayed_and_multiplied(self._together, self._case.parameters)
        return list(self._made(single)) or list(self._made(pairs))

    def _made(self, known: Iterable[tuple[GivenCause, ...]]) -> Iterator[_Fit]:
        for causes in known:
            self._tried += 1
            after = reduce(lambda told, one: one.change(told), causes, self._told)
            if (ratio := self._explained(after)) is not None:
                yield _Fit(causes, places_of(self._case, causes), ratio)

    def _sums_of_all(self) -> Iterator[_Fit]:
        """Mistakes that the gradients of all parameters have in common."""
        seen = self._together
        for cause in catalogue(seen) if seen.known else ():
            if cause.family == _OF_ALL and cause.shows == "sums":
                sums = cause.change(seen.assumed).sums
                assert sums is not None
                self._tried += 1
                if (ratio := self._explained({**self._told, **sums(seen.known)})) is not None:
                    yield _Fit((cause,), tuple(self._case.spec.places), ratio)

    @cached_property
    def _known(self) -> _Catalogue:
        return {at: {one.key: one for one in self._catalogue(at)} for at in self._case.spec.places}

    @cached_property
    def _somewhere(self) -> _Catalogue:
        """Truncations at every step, and every so many steps from any step on: no gradient of a step tells where a
        state is detached."""
        found: _Catalogue = {at: {} for at in self._case.spec.places}
        for at, assumed in self._assumptions.items():
            for order in range(1, self._case.sequence.steps):
                for one in self._listed(assumed, order, without=set(families()) - {_TRUNCATED}):
                    if one.key not in self._known[at]:
                        found[at][one.key] = one
        return found

    def _fitting(
        self, known: _Catalogue, places: tuple[At, ...], steps_wrong: bool, steps_seen: bool
    ) -> Iterator[_Fit]:
        """`steps_wrong`: dL/dx or the gradient of an initial state is wrong; `steps_seen`: one of them was recorded."""
        found = {key: one for at in places[::-1] for key, one in known[at].items()}
        order = families()
        likeliest = sorted(found.items(), key=lambda one: (one[1].shows != "ends", order.index(one[1].family)))
        lacks = is_nothing(self._case.given.named[name] for name, ratio in self._before.items() if ratio > 1)
        for key, cause in likeliest:  # an initial state without a gradient is simpler than a path that is lost
            scope = tuple(at for at in places if key in known[at])
            if self._effort.is_over:
                return
            if IN_OWN_ORDER in cause.parameters and len({direction for _, direction in scope}) == 1:
                continue  # the same as another one of that direction
            if cause.shows == "sums" and (lacks or (steps_seen and steps_wrong)):
                continue
            if cause.shows != "sums" and steps_seen and not steps_wrong:
                continue
            made = {at: known[at][key].change(self._assumptions[at]) for at in scope}
            if not all(is_told(self._assumptions[at], one) for at, one in made.items()):
                continue  # it needs numbers that were not recorded
            self._tried += 1
            if cause.shows == "gates" and cause.family not in _AT_A_PLACE and self._is_refuted(key, made):
                continue
            if (after := self._after(key, made)) is None:
                continue
            if (ratio := self._explained(after)) is not None:
                yield _Fit((cause,), scope, ratio)

    def _is_refuted(self, key: _Key, made: Mapping[At, BackwardAssumption]) -> bool:
        """Whether the last steps alone contradict the mistake."""
        if self._last is None:
            return False
        self._effort.spend(STEP_BACK * STEPS * len(self._assumptions), 0)
        return self._last.refute(self._mistake(key, made))

    def _after(self, key: _Key, made: Mapping[At, BackwardAssumption]) -> dict[str, WithError] | None:
        """The results with the mistake; None where the parameters of some layer contradict it on the way."""
        found, steps, refuted = dict(self._told), self._case.sequence.steps, False
        summed = any(one.sums is not None for one in made.values())

        def refute(here: Mapping[str, WithError]) -> bool:
            nonlocal refuted
            self._effort.spend(STEP_BACK * steps, 0)
            given = {name: g for name, g in self._case.given.parameters.items() if name in here}
            refuted = not summed and max(ratios_of(given, here, self._kept, self._unit).values(), default=0.0) > 1
            return refuted

        if not all(is_in_sums(self._assumptions[at], one) for at, one in made.items()):
            found = expected(self._case, self._mistake(key, made), enough=refute)
            if refuted:
                return None
        for at, assumed in made.items():
            if assumed.sums is not None:
                end = suffix(*at)
                own = {name.removesuffix(end): one for name, one in found.items() if name in self._names(at)}
                found |= {name + end: one for name, one in assumed.sums(own).items()}
        return found

    def _mistake(self, key: _Key, made: Mapping[At, BackwardAssumption]) -> ResultsMistake:
        def layer(one: FreeLayer, at: At) -> FreeLayer:
            if at not in made:
                return one
            return replace(one, back=made[at].cell, changes=made[at].changes, mistake=made[at].mistake)

        def coming(at: At, output: Tensor, given: Coming) -> Coming:
            if at not in made or made[at].back is self._assumptions[at].back:
                return given
            own = self._assumptions[at].with_back(upstream=given[0], last=given[1])
            cause = next((one for one in self._listed(own, output=output) if one.key == key), None)
            if cause is None:  # the state has no gradient in this layer
                return given
            back = cause.change(own).back
            below = at[0] < self._case.spec.num_layers - 1 and cause.parameters.get("of") == _EVERYTHING
            return given[0] if below else back.upstream, back.last  # the layer above was given as much more already

        def dropped(number: int, factor: Tensor) -> Tensor:
            changes = [one.mistake.dropped for at, one in made.items() if at[0] == number]
            return factor if not changes or changes[0] is None else changes[0](factor)

        return ResultsMistake(layer, coming, dropped)

    def _catalogue(self, at: At) -> Iterator[BackwardCause]:
        assumed = self._assumptions[at]
        yield from self._listed(assumed, self._order)
        if self._order is None:
            yield from self._truncated(assumed)

    def _truncated(self, assumed: BackwardAssumption) -> Iterator[BackwardCause]:
        steps = self._case.sequence.steps
        for k in range(1, min(steps, _PERIODS + 1)):
            order = steps - (steps - 1) // k * k  # steps behind the last state that is detached
            for one in self._listed(assumed, order, without=set(families()) - {_TRUNCATED}):
                if one.name == "grad-truncated" and one.parameters["steps"] == k and "from" not in one.parameters:
                    yield one

    def _listed(
        self,
        assumed: BackwardAssumption,
        order: int | None = None,
        output: Tensor | None = None,
        without: Collection[str] = _UNSEEN,
    ) -> Iterator[BackwardCause]:
        """`output` is dL/d output of the layer, where it is known."""
        case, at = self._case, assumed.at
        if output is None:
            output = case.sequence.x.new_zeros(*case.sequence.x.shape[:2], case.spec.output_width)
        names = self._names(at)
        known = {name.removesuffix(suffix(*at)): self._told[name] for name in names if name in self._told}
        there = {name: case.given.parameters[name] for name in names if name in case.given.parameters}
        layer, dropped = layer_of(assumed, output, there), case.dropped.get(at[0])
        has_above = at[0] < case.spec.num_layers - 1
        seen = Seen(assumed, layer, known, order, dropped, self._off, has_above, case.spec.bidirectional)
        for cause in catalogue(seen, without):
            if cause.family != _OF_ALL or cause.shows != "sums":
                yield cause
