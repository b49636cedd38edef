"""The gradient of a parameter, as the sum of what each step of each item adds."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.evaluation import Floats, total
from rnnspect.arithmetic.expression import Expression
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec
from rnnspect.reporting.gradients.data import GradientAt, GradientInTurn, GradientNames, Terms, in_turn
from rnnspect.reporting.gradients.run import GradientRun


def of_parameter(run: GradientRun, at: GradientAt) -> dict[str, Any]:
    """The fields of a derivation for the sum that is the gradient of a parameter; with a step, for what that step adds
    to it."""
    every = torch.arange(run.sequence.steps)[:, None]
    inside = every < run.sequence.step_counts()
    whole = terms = _terms(run, at, inside)
    names = GradientNames("step", "step before", "step after", ())
    if at.step is not None:
        terms, names = _terms(run, at, inside & (every == at.step)), _names(run, at, at.step)
    return {
        "names": names,
        "terms": terms,
        "equations": (),
        "evaluation": None,
        "in_turn": tuple(_in_turn(terms, at, run.prepared.spec, names)),
        "value": _total(terms),
        "whole": _total(whole),
    }


def _terms(run: GradientRun, at: GradientAt, inside: Tensor) -> tuple[Terms, ...]:
    """The terms of the steps and items that `inside` (T, B) marks."""
    items, steps = torch.nonzero(inside.t(), as_tuple=True)

    def numbers(values: Tensor | None, index: int) -> Floats | None:
        return None if values is None else values[steps, items, index].numpy()

    found = []
    for factors, units, series in _factors(run, at):
        left, right = (numbers(values, index) for values, index in series)
        assert left is not None
        found.append(Terms(factors, units, steps.numpy(), items.numpy(), left, right))
    return tuple(found)


def _total(terms: tuple[Terms, ...]) -> float:
    return total(product for one in terms for product in one.products.tolist())


def _names(run: GradientRun, at: GradientAt, step: int) -> GradientNames:
    """The names at one step. Items of a batch may start at different steps, so that the step before is not named
    there."""
    if run.sequence.batch > 1:
        return GradientNames(f"step {step}", "step before", None, ())
    row, before = run.prepared.spec.row(at.layer, at.direction), run.next_step(at, step, -1)
    place = (row, 0) if run.sequence.batched else (row,)
    return GradientNames(f"step {step}", None if before is None else f"step {before}", None, place)


_Factors = tuple[Expression, Expression | None]
_Series = tuple[tuple[Tensor, int], tuple[Tensor | None, int]]


def _factors(run: GradientRun, at: GradientAt) -> Iterator[tuple[_Factors, tuple[int, int], _Series]]:
    """For each sum in the gradient: both factors, for any step, and the unit of each; and their numbers (T, B, ·) with
    the index of the unit in them."""
    rule, weight = run.rule(at.layer, at.direction), at.name.removesuffix(suffix(at.layer, at.direction))
    column, own = at.indices[-1], rule.parameters.get(weight)
    row = (
        at.indices[0] if own is None else int(np.ravel_multi_index(at.indices, run.prepared.parameters[at.name].shape))
    )
    spec = run.prepared.spec
    sizes = (spec.hidden_size,) * len(rule.peepholes) if weight == "weight_ch" else spec.gate_sizes
    block, unit = (0, row) if weight == "weight_hr" or own else _block(sizes, row)
    found = run.gradients[at.direction].products[at.name]
    if weight == "weight_ch" or own:  # unit by unit
        whole = own or rule.peepholes[block]
        if whole.kind == "packed":  # of a parameter that was split a block for each gate
            block, unit = _block([one.units for one in whole.of], row)
            whole = whole.of[block]
        if whole.kind == "·" and not any(one.of for one in whole.of):
            g, c = ((_series(run, one, at.direction), unit) for one in whole.of)
            yield (whole.of[0], whole.of[1]), (unit, unit), (g, c)
        else:
            yield (whole, None), (unit, unit), ((found[0].left, row), (None, unit))
        return
    written = [one for one in rule.products if one.weight == weight.replace("bias", "weight")]
    for one, products in zip(written, found, strict=True):
        if (left := one.left[block]) is not None:
            right = None if products.right is None else one.right
            yield (left, right), (unit, column), ((products.left, row), (products.right, column))


def _block(sizes: Sequence[int], row: int) -> tuple[int, int]:
    """The block of a packed parameter that holds a row, and the row's index in it."""
    ends = list(itertools.accumulate(sizes))
    block = bisect.bisect_right(ends, row)
    return block, row - ends[block] + sizes[block]


def _series(run: GradientRun, leaf: Expression, direction: str) -> Tensor:
    """(T, B, units): the values of a gradient, a quantity or a state before the step."""
    if leaf.kind == "given":
        return run.before(leaf.name, direction)
    if leaf.kind == "quantity":
        return run.quantities[direction].quantities[leaf.name]
    return run.gradients_of(direction)[leaf.name]


def _in_turn(terms: tuple[Terms, ...], at: GradientAt, spec: Spec, names: GradientNames) -> Iterator[GradientInTurn]:
    """The gradients in the largest product of each sum."""
    for one in terms:
        largest = int(abs(one.products).argmax())
        step, item, unit = int(one.steps[largest]), int(one.items[largest]), one.units[0]
        here = replace(names, now=f"step {step}")
        for leaf in one.written[0].leaves():
            if leaf.kind == "gradient":
                there = replace(at, step=step, batch=item)
                yield in_turn(here.address(leaf, unit), leaf.name, unit, there, spec)
