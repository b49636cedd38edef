"""Where a run is wrong, and what of it counts."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnspect
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


def exchanged_gates(ending: str) -> tuple[nn.GRU, Tensor, Tensor]:
    """A GRU of two directions, an input, and its output with r and z exchanged in the parameters so named."""
    torch.manual_seed(5)
    module, x = nn.GRU(3, 4, bidirectional=True), torch.randn(12, 2, 3)
    engine = deepcopy(module)
    for name, own in engine.named_parameters():
        if name.endswith(ending):
            r, z, n = own.data.chunk(3)
            own.data = torch.cat([z, r, n])
    return module, x, engine(x)[0].detach()


@pytest.mark.parametrize("at", [np.s_[1::2], np.s_[..., 2:]], ids=["steps", "units"])
def test_nothing_is_looked_for_where_the_first_wrong_h_is_nan(at: Any) -> None:
    module, x, output = exchanged_gates("nothing")
    output[at] = torch.nan
    said = " ".join(rnnspect.check(module, x, recorded=output).notes)
    assert "no known mistake was looked for in layer 0: the first wrong h is NaN there" in said
    assert "tried" not in said


@pytest.mark.slow
def test_a_direction_that_is_wrong_before_it_is_nan_is_searched() -> None:
    module, x, output = exchanged_gates("_l0")
    output[10:, :, :4] = torch.nan
    assert "tried" in " ".join(rnnspect.check(module, x, recorded=output).notes)


def test_a_direction_beside_one_that_is_nan_is_searched() -> None:
    module, x, output = exchanged_gates("_reverse")
    output[1::2, :, :4] = torch.nan
    (cause,) = rnnspect.check(module, x, recorded=output).causes
    assert (cause.name, cause.scope, cause.left) == ("gate-order", ("layer 0 reverse",), ("layer 0 forward",))
