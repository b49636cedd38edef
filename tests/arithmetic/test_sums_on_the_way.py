"""Gradients are added up in an order of the engine's own: nothing is known of a sum that may overflow on the way."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnspect.arithmetic.backward_bounded import BackwardBounded
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.judging.backward.range import Range
from rnnspect.network.parameters import LayerParameters

U = ROUNDOFF[torch.float16]
OVER, WITHIN = (60_000.0, 20_000.0, -30_000.0), (30_000.0, 20_000.0, -10_000.0)
"""Three numbers of float16 each: of the first ones two add up to more than its largest number, 65,504."""


def arithmetic(gates: int = 1) -> BackwardBounded:
    w = torch.eye(1).repeat(gates, 1)
    return BackwardBounded(LayerParameters(w, w, None, None, None), gates, U)


def number(value: float | Tensor, steps: int = 1) -> Number:
    return Number(torch.as_tensor(value).expand(steps, 1, 1), torch.zeros(()), U)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_three_numbers_in_any_order(order: tuple[int, ...]) -> None:
    for values, known in ((OVER, False), (WITHIN, True)):
        first, second, third = (number(values[place]) for place in order)
        a = arithmetic()
        found = a.plus(a.plus(first, second), third)
        assert float(found.v) == sum(values)
        assert math.isfinite(float(found.e)) is known


@pytest.mark.parametrize(("values", "known"), [(OVER, False), (WITHIN, True)])
def test_what_a_state_hands_on_beside_what_each_gate_adds(values: tuple[float, ...], known: bool) -> None:
    """dL/dh before a step is z ⊙ dL/dh after it, and what two gates add."""
    a, (carried, *gates) = arithmetic(2), values
    rest = a.transposed("weight_hh", a.exact(torch.tensor([[gates]])))
    assert math.isfinite(float(rest.e))
    found = a.scanned(number(1.0), Number(torch.tensor([[carried]]), torch.zeros(()), U), rest)
    assert float(found.v[0]) == sum(values)
    assert math.isfinite(float(found.e[0])) is known


@pytest.mark.parametrize(("values", "known"), [(OVER, False), (WITHIN, True)])
def test_a_step_that_was_not_seen(values: tuple[float, ...], known: bool) -> None:
    w = torch.eye(1)
    watched = Range(LayerParameters(w, w, None, None, None), torch.finfo(torch.float16).max, 1)
    of_gates, after, dy = (np.array([[[abs(value)]]]) for value in values)
    watched.back(np.array([True]), of_gates, [np.zeros((1, 1, 1))], [after, dy])
    assert bool(watched.over[0]) is not known
