"""A run judged again as if mistakes had been made in some of its layers and directions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from rnnspect.arithmetic.numbers import Numbers, SmallNumbers, one_thread, serves
from rnnspect.arithmetic.perturbed import RUNS
from rnnspect.arithmetic.unroll import run_layer
from rnnspect.causes.interface import Cause
from rnnspect.causes.known import catalogue
from rnnspect.causes.known._rounded_products import COARSER, RoundedNumbers, Rounder, come_closer, rounded
from rnnspect.causes.known.reduced import PRODUCTS
from rnnspect.causes.search.beginning import COMPARED, STEPS, begins_well
from rnnspect.causes.search.effort import Effort, products_of
from rnnspect.causes.search.equal_changes import alike
from rnnspect.cells.trial import is_stepwise
from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.case import Case
from rnnspect.judging.estimate import Estimate, estimate
from rnnspect.judging.layer import cast
from rnnspect.judging.stack import Judged, judge_stack
from rnnspect.network.progress import StepsDone, untold

CauseGroup = tuple[Cause, ...]
"""One mistake, or two that were made at once."""

_WIDER, _SLACK = 32.0, 1e-4
"""At a first look a layer that was not observed is stepped once, without replicas. h may then be wrong by `_WIDER`
times the error that replicas of the run without mistakes show, plus `_SLACK` times 1 and the size of h."""
_OF_THE_WHOLE_RUN = {"calls", "order", "states", "states_of_layers", "directions"}
"""Families whose mistakes take numbers from later steps, so that the first steps alone do not show them as they are."""
_WINDOW = 64 + STEPS
"""At a first look so many steps of a longer run are stepped, if what a reverse layer remembers of later steps no longer
reaches the first ones."""
_FORGOTTEN = 1e-3
_JUDGED, _BEGUN, _STEP, _STEP_OF_REPLICAS = 5_000_000, 1_500_000, 50_000, 150_000
"""What calling the operations takes, in nanoseconds: to judge an observed layer, to judge its first steps, and for one
step of a layer, without and with replicas."""
_SMALL = 2**27
"""Up to so many multiplications, one thread computes the products of a run with x."""
_LOOKS = 8
"""To judge an observed layer takes so many times the work of its products."""


class Rejudging:
    """Judges one run again with mistakes in it. Layers that were not observed and that no mistake changes are stepped
    only once."""

    def __init__(self, case: Case, judged: Judged, effort: Effort) -> None:
        self._case, self._judged, self._effort = case, judged, effort
        self._unchanged: dict[At, Estimate] = {}
        self._known: dict[At, dict[Any, Cause]] = {}
        self._begun: dict[Any, bool] = {}
        self._tried: dict[Any, bool] = {}
        """Whether a place begins well under an assumption, by a key of the assumption (`equal_changes.alike`)."""
        self._windows: dict[At, tuple[Case, float]] = {}
        firsts = [place.finding.first for place in judged.places if place.quantity == "h" and judged.estimated]
        self._differs_at = min((first.order for first in firsts if first), default=None)

    def catalogue(self, at: At) -> dict[Any, Cause]:
        """Every mistake that can be made in a place, by its key."""
        if at not in self._known:
            assumed = self._judged.assumptions[at]
            stack = replace(assumed.stack, differs_at=self._differs_at)
            with one_thread():
                self._known[at] = {cause.key: cause for cause in catalogue(replace(assumed, stack=stack))}
        return self._known[at]

    def same_at(self, at: At, hypothesis: CauseGroup) -> CauseGroup | None:
        """The same mistakes in another place; None where one cannot be made there."""
        there = self.catalogue(at)
        same = tuple(there[cause.key] for cause in hypothesis if cause.key in there)
        return same if len(same) == len(hypothesis) else None

    def made(self, hypothesis: CauseGroup, scope: Collection[At]) -> Callable[[Assumption], Assumption]:
        """The change that makes the mistakes wherever in the scope they can be made."""

        def change(assumed: Assumption) -> Assumption:
            same = self.same_at(assumed.at, hypothesis) if assumed.at in scope else None
            return assumed if same is None else changed(assumed, same)

        return change

    def whole(self, hypothesis: CauseGroup, scope: Collection[At], *, meanings: bool) -> Judged:
        """The whole run, judged with the mistakes made in the scope. `meanings` is that of `judge_stack`."""
        for at, assumed in self._judged.assumptions.items():
            if at not in self._judged.estimated:
                steps = assumed.run.x.shape[0] if is_stepwise(assumed.cell, assumed.nonlinearity) else 0
                self._effort.spend(_JUDGED + steps * COMPARED, _LOOKS * products_of(assumed))
        stepped = functools.partial(self._stepped, scope=scope)
        return judge_stack(self._case, self.made(hypothesis, scope), meanings=meanings, estimator=stepped)

    def may_begin(self, hypothesis: CauseGroup, at: At, order: int) -> bool:
        """Whether a place begins well with the mistakes made in it, on the input that it is assumed to have
        received."""
        assumed = self._judged.assumptions[at]
        made = changed(assumed, hypothesis)
        same = at, order, alike(assumed, made)
        if same[-1] is None or same not in self._tried:
            self._effort.spend(_BEGUN, products_of(made, STEPS))
            self._tried[same] = begins_well(made, order, self._effort)
        return self._tried[same]

    def may_begin_above(self, hypothesis: CauseGroup, scope: Collection[At], begun: At) -> bool:
        """Whether a place begins well on the input that the layers below give it, which are stepped quickly with the
        mistakes."""
        asked = tuple(cause.key for cause in hypothesis), tuple(scope), begun
        if asked not in self._begun:
            self._begun[asked] = self._begins_above(hypothesis, scope, begun)
        return self._begun[asked]

    def _begins_above(self, hypothesis: CauseGroup, scope: Collection[At], begun: At) -> bool:
        self._effort.spend(_BEGUN, products_of(self._judged.assumptions[begun], STEPS))
        case, off, last = self._case, 0.0, None
        if not any(cause.family in _OF_THE_WHOLE_RUN or "step" in cause.parameters for cause in hypothesis):
            case, off = self._beginning(begun)
            last = (begun[0] - 1, "forward") if begun[1] == "forward" else None
        stepped = functools.partial(self._stepped, scope=scope, off=off, last=last)
        change = self.made(hypothesis, scope)
        judged = judge_stack(case, change, meanings=False, until=begun, estimator=stepped)
        made = judged.assumptions.get(begun)
        return made is not None and begins_well(made, 0, self._effort)

    def rounds_operands(self, name: str, scope: Collection[At], begun: At) -> bool:
        """Whether the values of a place come nearer to the equations when its products' operands are rounded as by the
        mistake of this name, and so are those of the layers below that are in the scope."""
        case, off = self._beginning(begun)

        def stepped(assumed: Assumption, _progress: StepsDone) -> Estimate:
            self._effort.spend(assumed.run.x.shape[0] * _STEP, products_of(assumed))
            found = _quick(assumed, self._as_read(assumed.at).error, rounding if assumed.at in scope else None)
            return replace(found, error=_first(self._as_read(assumed.at), len(found.h)).error + off)

        for rounding in COARSER[PRODUCTS[name]]:
            above = judge_stack(case, meanings=False, until=begun, estimator=stepped).assumptions[begun]
            if come_closer(above, (rounding,)):
                return True
        return False

    def _beginning(self, begun: At) -> tuple[Case, float]:
        """The part of the run that the first steps of a place need, and how far off cutting the run makes its input: a
        layer below that runs in reverse begins at its last step."""
        if self._case.spec.directions == ("forward",):
            return self._case.begun(STEPS), 0.0
        if begun not in self._windows:
            self._windows[begun] = self._case, 0.0
            if begun[1] == "forward" and self._case.sequence.steps > 2 * _WINDOW:
                case = self._case.begun(_WINDOW)
                stepped = functools.partial(self._stepped, scope=self._judged.estimated, off=0.0)
                cut = judge_stack(case, meanings=False, until=begun, estimator=stepped).assumptions[begun].run.x
                off = float((cut[:STEPS] - self._judged.assumptions[begun].run.x[:STEPS]).abs().max())
                if off < _FORGOTTEN:
                    self._windows[begun] = case, off
        return self._windows[begun]

    def _stepped(
        self,
        assumed: Assumption,
        progress: StepsDone,
        scope: Collection[At],
        off: float | None = None,
        last: At | None = None,
    ) -> Estimate:
        """A layer that was not observed, stepped with the mistakes where it is in the scope. With `off` it is stepped
        quickly; `off` is the additional error where the run was cut. Of the place `last` the first steps are enough.
        """
        steps = assumed.run.x.shape[0]
        if not any(at == assumed.at or at[0] < assumed.layer for at in scope):
            return _first(self._as_read(assumed.at), steps)
        if off is None:
            self._effort.spend(steps * _STEP_OF_REPLICAS, products_of(assumed) * RUNS)
            return estimate(assumed, progress)
        few = assumed.at == last and not assumed.run.reverse and assumed.back is None
        made = replace(assumed, run=assumed.run.first(2 * STEPS)) if few else assumed  # some mistakes read later steps
        self._effort.spend(made.run.x.shape[0] * _STEP, products_of(made))
        return _padded(_quick(made, self._as_read(assumed.at).error + off), steps)

    def _as_read(self, at: At) -> Estimate:
        """A layer that was not observed, stepped without any mistake."""
        if at not in self._unchanged:
            assumed = self._judged.assumptions[at]
            self._effort.spend(assumed.run.x.shape[0] * _STEP_OF_REPLICAS, products_of(assumed) * RUNS)
            self._unchanged[at] = estimate(assumed)
        return self._unchanged[at]


def changed(assumed: Assumption, hypothesis: CauseGroup) -> Assumption:
    """The assumption with the mistakes made in it, one after the other."""
    return functools.reduce(lambda made, cause: cause.change(made), hypothesis, assumed)


def _first(found: Estimate, steps: int) -> Estimate:
    """The first steps of an estimate of the whole run."""
    return found if len(found.h) == steps else replace(found, h=found.h[:steps], error=found.error[:steps])


def _padded(found: Estimate, steps: int) -> Estimate:
    """An estimate of the first steps as one of so many, of which nothing is known after these."""
    more = steps - len(found.h)
    h, error = (pad(of, (0, 0, 0, 0, 0, more), value=v) for of, v in ((found.h, 0.0), (found.error, torch.inf)))
    return replace(found, h=h, error=error) if more else found


@torch.inference_mode()
def _quick(assumed: Assumption, usual: Tensor, rounding: Rounder | None = None) -> Estimate:
    """h by the equations, stepped once, with a wider bound than a correct engine needs. `usual` (T, B, P) is the error
    of h without a mistake. With `rounding` every operand of a product is rounded by it."""
    run, p = assumed.run, cast(assumed.p, torch.float64)
    steps, batch = run.x.shape[:2]
    order, each = run.order(0, steps), torch.arange(batch)
    inside = run.inside
    x, gates = run.x[order, each].double(), len(assumed.cell.gates)
    arithmetic: Numbers | SmallNumbers
    if rounding is not None:
        p, x = rounded(p, rounding, rounding), rounding(x)
        arithmetic = RoundedNumbers(p, gates, assumed.nonlinearity, rounding)
    else:
        arithmetic = (SmallNumbers if serves(p, batch) else Numbers)(p, gates, assumed.nonlinearity)
    with one_thread() if x.shape[:2].numel() * p.products <= _SMALL else nullcontext():
        wx = linear(x, p.weight_ih, p.bias_ih)
    valid = None if run.lengths is None else inside
    state = tuple(initial.double() for initial in run.state)
    with one_thread():
        quantities, final = run_layer(assumed.cell, arithmetic, wx, state, valid, untold)
    h = torch.zeros_like(quantities["h"])
    h[order[inside], each.expand_as(order)[inside]] = quantities["h"][inside]
    room = usual[:steps] if usual[:steps].shape == h.shape else usual.max()
    error = h.abs().clamp_(min=1).mul_(_SLACK).add_(room, alpha=_WIDER)
    return Estimate(h, error, tuple((state, torch.full_like(state, torch.inf)) for state in final))
