"""Searches for the known mistakes of going back that explain a pass backwards which differs from the equations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspect.arithmetic.tape import UnknownGradientError
from rnnspect.causes.backward.interface import BackwardCause, Seen, is_nothing
from rnnspect.causes.backward.known import catalogue
from rnnspect.causes.interface import CLEARLY, explanations, named
from rnnspect.causes.search.effort import Effort, products_of
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.case import BackwardAssumption, BackwardCase
from rnnspect.judging.backward.judge import BackwardRun
from rnnspect.judging.backward.stack import BackwardJudged, judge_of, judge_place, judge_x
from rnnspect.judging.verdict import Explained, Explanation

_CauseGroup = tuple[BackwardCause, ...]
"""One mistake; or one in the gates' gradients and one in the sums that are made of them."""
_STEPS = 8
"""How many steps after the first wrong one, going back, a mistake is tried on before the whole run."""
_ITEMS = 8
_HOPELESS = 100.0
"""A ratio so large that no other order of summation brings it to 1."""
_CALLED, _LOOKS, _SCAN = 5 * 10**6, 12, 2
"""What judging a place costs: the nanoseconds of calling operations, and how many times the work of its products; for
the cell state of a first look it is the last number."""
_CHUNK = 512
"""How many steps a first look takes in any case, about."""


@torch.inference_mode()
def explain_backward(case: BackwardCase, judged: BackwardJudged, seconds: float | None) -> Explained:
    """Every known mistake that explains the first layer and direction that differs, from the top layer down, the
    likeliest first; then the same for the next one that is still wrong. A layer is judged on what the layer above
    really gave it, so that it shows only its own mistakes. A mistake is named only if with it the place agrees: the
    gradients of the gates, of the initial states and of the parameters. The search ends after a fixed amount of work,
    or after so many `seconds`; with 0 there is none."""
    if seconds is not None and seconds <= 0:
        return Explained()
    return _Search(case, judged, Effort(seconds)).explained()


@dataclass(frozen=True)
class _Fit:
    hypothesis: _CauseGroup
    scope: tuple[At, ...]
    ratio: float
    """The largest ratio of difference to bound that is left."""

    @property
    def name(self) -> str:
        return " + ".join(cause.name for cause in self.hypothesis)


class _Search:
    def __init__(self, case: BackwardCase, judged: BackwardJudged, effort: Effort) -> None:
        self._case, self._judged, self._effort = case, judged, effort
        self._known: dict[At, list[BackwardCause]] = {}
        self._tried = 0

    def explained(self) -> Explained:
        spec = self._case.spec
        wrong = {at: ratio for at in self._judged.assumptions if (ratio := worst_of(self._judged, at)) > 1}
        left = sorted(wrong, key=lambda at: (-at[0], self._order(at), spec.directions.index(at[1])))
        causes: list[Explanation] = []
        groups: list[tuple[str, ...]] = []
        while left:
            at, *others = left
            found = self._fits(at, others)
            most = max((len(fit.scope) for fit in found), default=0)
            best = [fit for fit in found if len(fit.scope) == most]
            left = [other for other in others if not best or other not in best[0].scope]
            beyond = [other for other in wrong if not best or other not in best[0].scope]
            for fit in best:
                worst, left_over = max(wrong[at] for at in fit.scope), (*named(beyond), *self._of_x(fit))
                causes += explanations(fit.hypothesis, worst, fit.ratio, fit.scope, left_over)
            if len(best) > 1:
                groups.append(tuple(fit.name for fit in best))
        return Explained(tuple(causes), tuple(groups), None if causes else self._effort.explains_nothing(self._tried))

    def _of_x(self, fit: _Fit) -> Iterator[str]:
        """The layers whose dL/dx still differs."""
        for layer, finding in self._judged.x.items():
            if finding.first:
                here = [assumed for at, assumed in self._judged.assumptions.items() if at[0] == layer]
                made = [self._changed(one, fit) if one.at in fit.scope else one for one in here]
                if judge_x(made).first:
                    yield f"dL/dx of layer {layer}"

    def _changed(self, assumed: BackwardAssumption, fit: _Fit) -> BackwardAssumption:
        there = {cause.key: cause for cause in self._catalogue(assumed.at)}
        for cause in fit.hypothesis:
            assumed = there.get(cause.key, cause).change(assumed)
        return assumed

    def _order(self, at: At) -> int:
        first = self._judged.gates[at].first
        return self._case.sequence.steps if first is None else first.order

    def _fits(self, at: At, others: Iterable[At]) -> list[_Fit]:
        found = []
        for hypothesis, ratio in self._fitting(at, self._catalogue(at)):
            if ratio > worst_of(self._judged, at) / CLEARLY:
                continue
            keys = [cause.key for cause in hypothesis]
            scope, largest = [at], ratio
            for other in others:
                there = {cause.key: cause for cause in self._catalogue(other)}
                if all(key in there for key in keys):
                    after = self._ratio(other, tuple(there[key] for key in keys))
                    if after <= 1:
                        scope.append(other)
                        largest = max(largest, after)
            found.append(_Fit(hypothesis, tuple(scope), largest))
        return found

    def _fitting(self, at: At, known: list[BackwardCause]) -> Iterator[tuple[_CauseGroup, float]]:
        """Single mistakes, one after the other; then a mistake in the gates together with one in the parameters'
        gradients."""
        gates_wrong = self._judged.gates[at].first is not None
        alone, half = [], []
        for cause in known:
            if (cause.shows == "gates") != gates_wrong or (cause.shows == "sums" and _lacks(self._judged, at)):
                continue
            after = self._judged_with(at, (cause,))
            if after is None:
                continue
            if (ratio := worst_of(after, at)) <= 1:
                alone.append(((cause,), ratio))
            elif after.gates[at].first is None:
                half.append((cause, after))
        yield from alone
        if alone:
            return
        for cause, after in half:
            for other in self._sums(at, after):
                if (ratio := self._ratio(at, (cause, other))) <= 1:
                    yield (cause, other), ratio

    def _sums(self, at: At, judged: BackwardJudged) -> list[BackwardCause]:
        """The mistakes that show in the parameters' gradients alone, for a place that has another mistake in its
        gates."""
        if _lacks(judged, at):
            return []
        return [one for one in catalogue(self._seen(judged.assumptions[at], None)) if one.shows != "gates"]

    def _catalogue(self, at: At) -> list[BackwardCause]:
        if at not in self._known:
            first = self._judged.gates[at].first
            seen = self._seen(self._judged.assumptions[at], None if first is None else first.order)
            self._known[at] = list(catalogue(seen))
        return self._known[at]

    def _seen(self, assumed: BackwardAssumption, order: int | None) -> Seen:
        self._effort.spend(_CALLED, _LOOKS * products_of(assumed))
        found = judge_of(assumed)(assumed.back, glance=assumed.run.x.shape[0])
        known = found.sums.known(found.steps)
        return Seen(assumed, self._case.layers[assumed.layer - self._case.lowest], known, order)

    def _ratio(self, at: At, hypothesis: _CauseGroup) -> float:
        after = self._judged_with(at, hypothesis)
        return float("inf") if after is None else worst_of(after, at)

    def _judged_with(self, at: At, hypothesis: _CauseGroup) -> BackwardJudged | None:
        """The place judged with the mistakes; None where a first look contradicts them, or the search has to end."""
        if self._effort.is_over:
            return None
        self._tried += 1
        assumed = self._judged.assumptions[at]
        for cause in hypothesis:
            assumed = cause.change(assumed)
        judged = BackwardJudged(assumptions={at: assumed})
        try:
            if self._is_refuted(assumed):
                return None
            self._effort.spend(_CALLED, _LOOKS * products_of(assumed))
            judge_place(assumed, judged)
        except UnknownGradientError:
            return None
        return None if judged.gates[at].unjudged else judged

    def _is_refuted(self, assumed: BackwardAssumption) -> bool:
        """Whether a first look contradicts the mistakes: at some items, and in the steps up to a few after the first
        wrong one."""
        first = self._judged.gates[assumed.at].first
        if first is None:
            return False
        scanned = _SCAN * products_of(assumed) if assumed.cell.has_cell_state else 0
        self._effort.spend(_CALLED, scanned + _LOOKS * products_of(assumed, max(_CHUNK, first.order + _STEPS)))
        few = torch.tensor(sorted({first.batch, *range(min(assumed.run.x.shape[1], _ITEMS))}))
        worst = judge_of(assumed)(_some(assumed.back, few), glance=first.order + _STEPS).finding.worst
        return worst is not None and not worst.ratio < _HOPELESS


def worst_of(judged: BackwardJudged, at: At) -> float:
    """The largest ratio of a layer and direction: of its gates, initial states and parameters. Values that another
    order of summation explains count as not above 1."""
    finding = judged.gates[at]
    gates = finding.worst.ratio if finding.worst else 0.0
    gates = gates if finding.first is not None else min(gates, 1.0)
    others = [*(point.ratio for point in judged.states[at]), *(one.ratio for one in judged.parameters[at])]
    return max([gates, *others])


def _lacks(judged: BackwardJudged, at: At) -> bool:
    """Whether every wrong gradient of a parameter is zero everywhere: of how it is summed that says nothing."""
    given = judged.assumptions[at].gradients
    return is_nothing(given[one.parameter] for one in judged.parameters[at] if one.first is not None)


def _some(back: BackwardRun, items: Tensor) -> BackwardRun:
    last = {name: g[items] for name, g in back.last.items()}
    return BackwardRun(back.run.take(items=items), back.seen[:, items], back.upstream[:, items], last)
