"""Where a run is wrong, and what of it counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnnspect.causes.search.would_agree import _any_runs_away
from rnnspect.causes.search.wrong import Wrong, wrong_in
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation
from rnnspect.judging.stack import Judged, judge_stack
from rnnspect.judging.verdict import Point
from rnnspect.network.recording import EngineInfo
from rnnspect.tracing.prepare import prepare


def test_the_ratio_of_an_unobserved_layer_is_that_of_its_worst_final_state() -> None:
    points = [Point(name, 0, "forward", -1, 0, 0, 0.0, 0.0, 1.0, ratio) for name, ratio in (("h_n", 1.5), ("c_n", 900))]
    for finals in (points, points[::-1]):
        found = wrong_in(Judged(finals=finals, estimated=[(0, "forward")]))
        assert found == {(0, "forward"): Wrong(0, 900)}


@pytest.mark.parametrize("beyond", [torch.nan, 0.0])
def test_what_stands_in_padding_says_nothing_of_how_large_a_run_grows(beyond: float) -> None:
    module, x = nn.GRU(3, 4), torch.randn(12, 2, 3)
    output, _ = module(x)
    output = output.detach().clone()
    output[5:, 1] = beyond
    prepared = prepare(module, x, lengths=[12, 5])
    seen = Observation(EngineInfo("torch", "2", "cpu", "float32"), {(0, "forward"): {"h": output}})
    case = Case(prepared.spec, prepared.parameters, prepared.sequence, seen, ARITHMETICS["float32"])
    assert not _any_runs_away(judge_stack(case))
