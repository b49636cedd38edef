"""Layers that nobody observed, stepped without replicas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnnspect import Spec
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.estimate import estimates
from rnnspect.judging.observation import Observation
from rnnspect.judging.plain_steps import plainly
from rnnspect.judging.stack import assumptions_of
from rnnspect.network.recording import RECORDING, EngineInfo
from rnnspect.network.sequence import Sequence

UNITS = 12


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("lengths", [None, (40, 17, 1)])
def test_plain_steps_are_the_exact_run_among_the_replicas(cell: str, lengths: tuple[int, ...] | None) -> None:
    """The same sums in float64, in another order: to 1e-12 in networks that forget."""
    module = getattr(nn, cell.upper())(5, UNITS, bidirectional=True)
    spec = Spec(cell=cell, input_size=5, hidden_size=UNITS, bidirectional=True)
    states = [torch.randn(2, 3, UNITS) for _ in range(2)]
    sequence = Sequence(torch.randn(40, 3, 5), states[0], states[1] if cell == "lstm" else None, lengths, batched=True)
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    case = Case(
        spec, parameters, sequence, Observation(EngineInfo(RECORDING, "", "", "float32")), ARITHMETICS["float32"]
    )
    assumed = assumptions_of(case)
    ways = [assumed(0, direction) for direction in spec.directions]
    for one, other in zip(plainly(ways), estimates(ways, lambda _steps: None), strict=True):
        assert torch.allclose(one.h, other.h, rtol=0, atol=1e-12)
        assert not bool(one.error.any())
        for (end, _), (same, _) in zip(one.final, other.final, strict=True):
            assert torch.allclose(end, same, rtol=0, atol=1e-12)
