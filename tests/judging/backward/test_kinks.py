"""Pre-activations at a kink, of whose two derivatives an engine may use either, at each of them another one."""

from __future__ import annotations

import itertools

import pytest
import torch

from rnnspect import Spec
from rnnspect.engines.interface import EngineInfo
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.judging.backward.results_words import results_verdict
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.sequence import Sequence

SHARES = torch.tensor([1.0, -1.0, 0.5, -0.5])
"""dL/dh of each step: of the sums at all kinks together nothing is left."""


def _case(is_open: tuple[bool, ...], off: float = 0.0) -> ResultsCase:
    """A relu of weights that are zero, and what an engine gives for which it is open at these steps, but for `off`."""
    spec = Spec(cell="rnn", input_size=1, hidden_size=1, nonlinearity="relu", dtype="float32")
    names = {"weight_ih_l0": (1, 1), "weight_hh_l0": (1, 1), "bias_ih_l0": (1,), "bias_hh_l0": (1,)}
    x, zero = torch.ones(len(SHARES), 1, 1), torch.zeros(1, 1, 1)
    total = (SHARES * torch.tensor(is_open)).sum() + off
    gradients = {name: total.expand(shape) for name, shape in names.items()}
    gradients["weight_hh_l0"] = torch.zeros(1, 1)
    engine = EngineInfo("", "", "cpu", "float32")
    given = EngineGradients(engine, torch.zeros_like(x), zero, None, torch.zeros_like(x), zero, None, gradients)
    parameters = {name: torch.zeros(shape) for name, shape in names.items()}
    upstream = Upstream(SHARES.view(-1, 1, 1), None)
    return ResultsCase(spec, parameters, Sequence(x, zero, None, None, True), upstream, given, ARITHMETICS["float32"])


@pytest.mark.parametrize("is_open", [*itertools.product((False, True), repeat=len(SHARES))])
def test_an_engine_may_be_on_another_side_of_each_kink(is_open: tuple[bool, ...]) -> None:
    """Roundings put one sum above its kink and another below. The terms of both may cancel where both are open."""
    case = _case(is_open)
    assert results_verdict(case, case.told, {}).verdict != "differ"


def test_a_gradient_that_no_sides_of_the_kinks_give_is_wrong() -> None:
    case = _case((True, False, True, False), off=30)
    assert results_verdict(case, case.told, {}).verdict == "differ"
