"""A run agrees only where a state that is lost would mostly be seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.cells import CELLS, Arithmetic, Cell, V
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.finding import Finding
from rnnspect.judging.judge import Judge
from rnnspect.network.parameters import LayerParameters
from tests.causes.convolved import convolved
from tests.causes.own_cells import MAMBA

pytestmark = pytest.mark.usefixtures("no_causes")


def of_mamba(dtype: str, mistake: str) -> Verdict:
    """Drawn weights make S a few hundredths of h: more than bfloat16's roundings, and less than its limit."""
    spec = Spec(cell=MAMBA, input_size=3, hidden_size=6, dtype=dtype, input="randn:37")
    found = rnnspect.check(spec, engine=convolved(8, mistake))
    assert isinstance(found, Verdict)
    return found


@pytest.mark.slow
def test_where_it_would_not_be_seen_no_run_agrees() -> None:
    assert not of_mamba("bfloat16", "scan").agrees
    right = of_mamba("bfloat16", "")
    assert right.verdict == "cannot tell"
    assert right.reason is not None
    assert "a lost S would not show: h without it is within its limit at 3" in right.reason
    assert right.reason.endswith("check a copy in float32")


@pytest.mark.slow
def test_where_it_would_be_seen_the_answer_is_what_it_was() -> None:
    assert of_mamba("float32", "").agrees
    assert of_mamba("float32", "scan").verdict == "differ"


def leaking(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    (n,) = a.split(wx)
    return {"n": n, "h": a.constant("kept") * h + n}


@pytest.mark.parametrize("kept", [1e-13, 0.5])
def test_a_state_that_hardly_counts_is_not_asked_about(kept: float) -> None:
    """An engine without 1e-13 of h gives the same numbers, so that no limit could tell it."""
    cell = Cell("leaking", "", ("n",), ("h",), ("n", "h"), (), leaking, constants=(("kept", kept),), is_recurrent=False)
    spec = Spec(cell=cell, input_size=3, hidden_size=2, input="randn:30")

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        return kept * h + x_t @ weight_ih.T + bias_ih

    assert rnnspect.check(spec, engine=step).verdict == "agree"


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ({}, None),
        ({"h": (0, 0)}, None),
        ({"h": (10, 5)}, None),
        ({"h": (10, 6)}, "h"),
        ({"h": (10, 6), "S": (10, 9), "n": (3, 0)}, "S"),
    ],
)
def test_the_worst_block_is_named_where_most_steps_hide_it(lost: dict[str, Any], named: str | None) -> None:
    assert Finding(1, 1, resolution=torch.zeros(1, 1), lost=lost).could_be_lost == named


@pytest.mark.parametrize(("dtype", "looked_at"), [(torch.float32, 64), (torch.float64, 64), (torch.bfloat16, 640)])
def test_how_many_steps_are_looked_at(dtype: torch.dtype, looked_at: int) -> None:
    """Of 40 chunks of 16 steps four, evenly spread; in a half type, whose limits are wide, each. h counts at all."""
    torch.manual_seed(0)
    module = torch.nn.RNN(3, 4).to(dtype)
    module.weight_hh_l0.data.copy_(2 * torch.eye(4))
    x, h0 = torch.randn(640, 1, 3).to(dtype), torch.ones(1, 1, 4, dtype=dtype)
    p = LayerParameters.of(dict(module.named_parameters()), 0, "forward")
    with torch.no_grad():
        found, _ = Judge(CELLS["rnn"], p)(LayerRun(x, module(x, h0)[0], h0[0]), rows=16)
    assert found.lost["h"][0] == looked_at
