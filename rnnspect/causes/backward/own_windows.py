"""Backpropagation through time that is truncated for each output by itself: its gradient goes back some steps and no
further, as in loops over `range(max(0, t - k), t + 1)` inside of a loop over t. Or for some outputs together: every k1
steps the last k1 of them go back k2 steps, more than k1.

It is no state that is detached: each step gets gradients from the outputs of the windows that it is in, and of no later
one. So the windows are taken in groups, of which each has every m-th, so many that those of one group do not overlap.
They go back as if the states were detached where each begins; the gradients of all groups are added up.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.backward.assumed import order_of, ratios_of
from rnnspect.causes.backward.given import GivenCause, Results
from rnnspect.causes.interface import CLEARLY, explanations
from rnnspect.causes.search.effort import STEP_BACK, Effort
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.estimate import FreeLayer
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import Coming, ResultsCase, ResultsMistake, expected
from rnnspect.judging.finding import PAST_USE
from rnnspect.judging.verdict import Explained

_MOST = 8
"""Where dL/dx does not show how far gradients go back, at most so many steps are tried."""
_AFFORDABLE = 600
"""And no more of them than go over so many steps of a layer, all together."""
_AFFORDABLE_OF_SOME = 2000
"""The same of windows of which each has several outputs."""


def in_own_windows(case: ResultsCase, told: Results, kept: Mapping[str, Tensor], effort: Effort) -> Explained | None:
    """The truncation that explains the results; None without one. `told` is what the equations give, `kept` how far off
    each given number may be because of its rounding."""
    given, unit = case.given.named, case.declared.roundoff.stored
    before = ratios_of(given, told, kept, unit)
    worst = max(before.values(), default=0.0)
    for windows in _windows(case, order_of(case, told, kept)):
        effort.spend(STEP_BACK * case.sequence.steps * windows.groups * len(case.spec.places), 0)
        if effort.is_over:
            return None
        cause = _cause(case, windows)
        after = cause.change(told)
        ratio = max(ratios_of(given, after, kept, unit).values())
        if ratio <= min(1.0, worst / CLEARLY) and not any(_is_lost(after[name]) for name, r in before.items() if r > 1):
            return Explained(tuple(explanations((cause,), worst, ratio, tuple(case.spec.places))))
    return None


def _is_lost(told: WithError) -> bool:
    """Whether most numbers have bounds too wide to say anything."""
    value, error = told
    return float((error > PAST_USE * value.abs().max()).double().mean()) > 0.5


@dataclass(frozen=True)
class _Windows:
    """Each time `every` outputs go back over `steps` steps together; the last window ends before step `end`."""

    every: int
    steps: int
    end: int

    @property
    def groups(self) -> int:
        """So many windows one after the other may overlap."""
        return -(-(self.steps + -self.end % self.every) // self.every)

    def of(self, outputs: Tensor) -> Tensor:
        """The number of the window in which an output goes back."""
        return outputs // self.every

    def begin(self, group: int) -> Tensor:
        """The steps with which the windows of a group begin; below zero for those that go back over all."""
        ends = range(self.every * (group + 1), self.end + self.every, self.every * self.groups)
        return torch.tensor([min(end, self.end) - self.steps for end in ends], dtype=torch.int64)


def _windows(case: ResultsCase, order: int | None) -> Iterator[_Windows]:
    """The windows that may have been taken. `order` is how many steps are gone back over before the first wrong dL/dx;
    None where that was not seen."""
    steps = case.sequence.steps
    if case.spec.directions != ("forward",) or (order is None and case.given.x is not None):  # dL/dx is right
        return
    work = steps * len(case.spec.places)
    for k2 in range(2, _MOST + 2) if order is None else (order,):
        if order is None and work * k2 * (k2 + 1) // 2 > _AFFORDABLE:
            return
        if 1 < k2 < steps:
            yield _Windows(1, k2, steps)
    spent = 0
    for one in _of_some(steps, order):
        spent += work * one.groups
        if spent > _AFFORDABLE_OF_SOME:
            return
        yield one


def _of_some(steps: int, order: int | None) -> Iterator[_Windows]:
    """Windows of several outputs, fewer than steps: as many would be a state that is detached. Their number is most
    often a divisor of that of the steps."""
    for k2 in range(4, min(steps, _MOST + 1)) if order is None else (order,):
        for k1 in sorted(range(2, k2), key=lambda k1: (k2 % k1 > 0, -k1)):
            if order is not None or k2 % k1 == 0:
                yield from _ending(k1, k2, steps)


def _ending(k1: int, order: int, steps: int) -> Iterator[_Windows]:
    """The windows of which the last one shows `order` steps. It may be shorter than the others, or have fewer
    outputs."""
    yield _Windows(k1, order, steps)
    if over := -steps % k1:
        yield _Windows(k1, order + over, steps + over)


def _cause(case: ResultsCase, windows: _Windows) -> GivenCause:
    k1, k2 = windows.every, windows.steps
    if k1 == 1:
        said = f"for each output by itself: its gradient goes back {k2 - 1} step{'s' * (k2 > 2)}, and no further"
        parameters: dict[str, Any] = {"steps": k2 - 1, "of": "each output"}
    else:
        said = (
            f"in windows that overlap: every {k1} steps the gradients of the last {k1} outputs go back over {k2} "
            "steps, and no further"
        )
        parameters = {"steps": k2, "every": k1, "of": "windows"}
    return GivenCause(
        "grad-truncated",
        f"backpropagation is truncated {said}",
        f"Go back over all steps before each output, or check with sequences of {k2} steps, if the truncation is "
        "meant.",
        functools.partial(_truncated, case=case, windows=windows),
        parameters,
    )


def _truncated(_told: Results, case: ResultsCase, windows: _Windows) -> dict[str, WithError]:
    found: dict[str, WithError] = {}
    for group in range(windows.groups):
        for name, (value, error) in expected(case, _of_group(case, group, windows)).items():
            before, its_error = found.get(name, (torch.zeros_like(value), torch.zeros_like(error)))
            found[name] = before + value, its_error + error
    return found


def _of_group(case: ResultsCase, group: int, windows: _Windows) -> ResultsMistake:
    """The outputs of a group's windows go back alone, each to where its window begins."""
    sequence, top = case.sequence, case.spec.num_layers - 1
    ends, begin = sequence.step_counts() - 1, windows.begin(group)

    def is_in(outputs: Tensor) -> Tensor:
        return windows.of(outputs) % windows.groups == group

    def layer(one: FreeLayer, _at: At) -> FreeLayer:
        return replace(one, mistake=replace(one.mistake, detached=detached))

    def detached(_state: str, places: Tensor) -> Tensor:
        return (places > 0) & torch.isin(places, begin)

    def coming(at: At, _output: Tensor, given: Coming) -> Coming:
        output, last = given
        if at[0] == top:
            output = torch.where(is_in(torch.arange(len(output))).view(-1, 1, 1), output, 0)
        return output, _of_items(last, is_in(ends))

    return ResultsMistake(layer, coming)


def _of_items(last: Mapping[str, Tensor], there: Tensor) -> dict[str, Tensor]:
    """Gradients of final states, of the items alone that are `there`; as many replicas of them as are given."""
    return {name: torch.where(there.repeat(len(g) // len(there)).unsqueeze(-1), g, 0) for name, g in last.items()}
