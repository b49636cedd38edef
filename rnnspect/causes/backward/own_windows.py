"""Backpropagation through time that is truncated for each output by itself: its gradient goes back some steps and no
further, as in loops over `range(max(0, t - k), t + 1)` inside of a loop over t.

It is no state that is detached: each step gets gradients from the outputs of the next k steps, and of no later one. So
the outputs are taken in groups, of which each is every (k + 1)-th. Those of one group go back in windows that do not
overlap, as if the states were detached in between; the gradients of all groups are added up.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.backward.assumed import order_of, ratios_of
from rnnspect.causes.backward.given import GivenCause, Results
from rnnspect.causes.interface import CLEARLY, explanations
from rnnspect.causes.search.effort import Effort
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.estimate import FreeLayer
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import Coming, ResultsCase, ResultsMistake, expected
from rnnspect.judging.finding import PAST_USE
from rnnspect.judging.verdict import Explained

_BACK = 2_250_000  # nanoseconds that a step of a layer takes
_MOST = 8
"""Where dL/dx does not show how far gradients go back, at most so many steps are tried."""
_AFFORDABLE = 600
"""And no more of them than go over so many steps of a layer, all together."""


def in_own_windows(case: ResultsCase, told: Results, kept: Mapping[str, Tensor], effort: Effort) -> Explained | None:
    """The truncation that explains the results; None without one. `told` is what the equations give, `kept` how far off
    each given number may be because of its rounding."""
    given, unit = case.given.named, case.declared.roundoff.stored
    before = ratios_of(given, told, kept, unit)
    worst = max(before.values(), default=0.0)
    for cause in _causes(case, order_of(case, told)):
        effort.spend(_BACK * case.sequence.steps * (cause.parameters["steps"] + 1) * len(case.spec.places), 0)
        if effort.is_over:
            return None
        after = cause.change(told)
        ratio = max(ratios_of(given, after, kept, unit).values())
        if ratio <= min(1.0, worst / CLEARLY) and not any(_is_lost(after[name]) for name, r in before.items() if r > 1):
            return Explained(tuple(explanations((cause,), worst, ratio, tuple(case.spec.places))))
    return None


def _is_lost(told: WithError) -> bool:
    """Whether most numbers have bounds too wide to say anything."""
    value, error = told
    return float((error > PAST_USE * value.abs().max()).double().mean()) > 0.5


def _causes(case: ResultsCase, order: int | None) -> Iterator[GivenCause]:
    """The mistakes that may have been made. `order` is how many steps are gone back over before the first wrong dL/dx;
    None where that was not seen."""
    steps = case.sequence.steps
    if case.spec.directions != ("forward",) or (order is None and case.given.x is not None):  # dL/dx is right
        return
    work = steps * len(case.spec.places)
    for k in range(1, _MOST + 1) if order is None else (order - 1,):
        if order is None and work * (k + 1) * (k + 2) // 2 > _AFFORDABLE:
            return
        if 0 < k < steps - 1:
            yield GivenCause(
                "grad-truncated",
                f"going back through time is truncated for each output by itself: its gradient goes back {k} "
                f"step{'s' * (k > 1)}, and no further",
                f"Go back over all steps before each output, or check with sequences of {k + 1} steps, if the "
                "truncation is meant.",
                functools.partial(_truncated, case=case, k=k),
                {"steps": k, "of": "each output"},
            )


def _truncated(_told: Results, case: ResultsCase, k: int) -> dict[str, WithError]:
    found: dict[str, WithError] = {}
    for first in range(k + 1):
        for name, (value, error) in expected(case, _of_group(case, first, k + 1)).items():
            before, its_error = found.get(name, (torch.zeros_like(value), torch.zeros_like(error)))
            found[name] = before + value, its_error + error
    return found


def _of_group(case: ResultsCase, first: int, every: int) -> ResultsMistake:
    """The outputs of the steps `first`, `first` + `every` … go back alone, each up to the one before it."""
    sequence, top = case.sequence, case.spec.num_layers - 1
    ends = sequence.step_counts() - 1

    def layer(one: FreeLayer, _at: At) -> FreeLayer:
        return replace(one, mistake=replace(one.mistake, detached=detached))

    def detached(_state: str, places: Tensor) -> Tensor:
        return (places > 0) & (places % every == (first + 1) % every)

    def coming(at: At, _output: Tensor, given: Coming) -> Coming:
        output, last = given
        if at[0] == top:
            output = torch.where(torch.arange(len(output)).view(-1, 1, 1) % every == first, output, 0)
        return output, _of_items(last, ends % every == first)

    return ResultsMistake(layer, coming)


def _of_items(last: Mapping[str, Tensor], there: Tensor) -> dict[str, Tensor]:
    """Gradients of final states, of the items alone that are `there`; as many replicas of them as are given."""
    return {name: torch.where(there.repeat(len(g) // len(there)).unsqueeze(-1), g, 0) for name, g in last.items()}
