"""Features of x in another order than the columns of weight_ih: another list of columns, or a sorted one."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._dropout_masks import MANY, Equations, Step, solved
from rnnspect.causes.known._first_step import FirstStep
from rnnspect.causes.known.order import first_few
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import INPUT


@dataclass(frozen=True)
class _Through(Step):
    """The first step through a layer and those `above` it, each with its state before the step."""

    above: tuple[tuple[Equations, tuple[Tensor, ...]], ...]

    def h(self, x: Tensor) -> Tensor:
        h = super().h(x)
        for equations, state in self.above:
            h = equations.projected(equations.step(equations.input(h), state)[0])
        return h

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, slopes = super().slopes(x)
        for equations, state in self.above:
            h, own = equations.slopes(equations.input(h), state)
            slopes = own @ slopes
        return h, slopes


def causes(assumed: Assumption) -> Iterator[Cause]:
    step = None if assumed.layer or not _each_unit_alone(assumed) else FirstStep.of(assumed)
    if step is None or (order := _order(step)) is None:
        return
    words = first_few(order)
    yield Cause(
        "features-reordered",
        f"the features of x are read in another order, or the columns of weight_ih are in another: {words}",
        "Give x its features in the order of the columns of weight_ih: that of the data it was trained on.",
        functools.partial(_with_features, order=order),
        {"order": words},
        reach="layer",
    )


def _each_unit_alone(assumed: Assumption) -> bool:
    """Whether h of a unit depends on the gates of that unit alone, as the slopes of a step assume."""
    return not assumed.cell.mixes and set(assumed.p.gate_sizes(len(assumed.cell.gates))) == {assumed.units}


def _order(step: FirstStep) -> list[int] | None:
    """The order of the features with which the equations give the first h; None where there is none, or where it is
    their own. The x that the engine read is solved for; each of its features has to be one of x."""
    features, ((equations, state), *above) = step.x.shape[1], step.layers
    if not 1 < features <= min(MANY, step.h.shape[1]):
        return None
    through = _Through(equations, state, step.h, tuple(above))
    read, off = solved([through], torch.ones_like(step.x), step.x, step.room)
    told = off <= step.room
    order = (read[told].unsqueeze(2) - step.x[told].unsqueeze(1)).abs().sum(0).argmin(1)
    if len(set(order.tolist())) < features or torch.equal(order, torch.arange(features)):
        return None
    left = (step.given(step.x[:, order]) - step.h).abs()
    return order.tolist() if bool((left <= step.room).all()) else None


def _with_features(assumed: Assumption, order: list[int]) -> Assumption:
    at = torch.tensor(order)
    return replace(assumed, run=assumed.run.mapped(lambda values: values[:][..., at], INPUT))
