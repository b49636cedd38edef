"""A run that differs everywhere: what is said of it, and how much is computed for that."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect
from rnnspect.judging.layer import LayerEquations
from tests.marks import sampled

pytestmark = pytest.mark.usefixtures("no_causes")

STEPS, BATCH, UNITS = 1200, 4, 16
"""4800 rows: three chunks of the judge."""


def recorded(cell: str, wrong_from: int) -> tuple[torch.nn.RNNBase, torch.Tensor, dict[str, Any]]:
    """A module, x, and its output with 0.01 added from a step on."""
    torch.manual_seed(0)
    made = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](UNITS, UNITS)
    x = torch.randn(STEPS, BATCH, UNITS)
    with torch.no_grad():
        output, *_ = made(x)
    output[wrong_from:] += 0.01
    return made, x, {"output": output.numpy()}


@pytest.mark.each_value_once
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("wrong_from", [0, 3, 700])
def test_the_first_wrong_value_and_how_many_are_told(cell: str, wrong_from: int) -> None:
    made, x, given = recorded(cell, wrong_from)
    verdict = rnnspect.check(made, x, recorded=given, explain=0)
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert verdict.worst is not None
    assert (verdict.first.step, verdict.first.batch, verdict.first.unit) == (wrong_from, 0, 0)
    assert verdict.worst.ratio >= verdict.first.ratio
    values = STEPS * BATCH * UNITS
    count = int(str(verdict.pattern).rpartition("; ")[2].split()[0])
    # 0.01 is 10⁴ of the roundings at a step that is wrong alone; after it, h before is as wrong as h, and hides some.
    wrong = (STEPS - wrong_from) * BATCH * UNITS
    assert 0.98 * wrong <= count <= wrong
    assert verdict.values == values


@pytest.mark.parametrize("cell", sampled(["lstm", "gru", "rnn"], 2))
def test_it_takes_little_more_than_a_right_one(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In rows that are computed, a row in float64 counted twice: time is not the same twice."""
    rows = 0
    compare = LayerEquations.compare

    def counted(self: LayerEquations, chunk: Any, c: Any, a: Any, unit: int | None = None) -> Any:
        nonlocal rows
        whole = 1 if unit is None else 1 / self.units
        rows += chunk.x.shape[0] * chunk.x.shape[1] * (2 if a.dtype == torch.float64 else 1) * whole
        return compare(self, chunk, c, a, unit)

    monkeypatch.setattr(LayerEquations, "compare", counted)
    taken = {}
    for wrong_from in (STEPS, 0):
        made, x, given = recorded(cell, wrong_from)
        rnnspect.check(made, x, recorded=given, explain=0)
        taken[wrong_from], rows = rows, 0
    assert taken[0] <= 2 * taken[STEPS]


@pytest.mark.parametrize("cell", sampled(["lstm", "gru"], 2))
def test_where_many_units_differ_none_is_tried_alone(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the first wrong value, which is computed again, and the largest, which is looked for in a unit and in the
    first steps, and then computed as it is printed."""
    alone = 0
    compare = LayerEquations.compare

    def counted(self: LayerEquations, chunk: Any, c: Any, a: Any, unit: int | None = None) -> Any:
        nonlocal alone
        alone += unit is not None
        return compare(self, chunk, c, a, unit)

    monkeypatch.setattr(LayerEquations, "compare", counted)
    made, x, given = recorded(cell, 0)
    assert rnnspect.check(made, x, recorded=given, explain=0).verdict == "differ"
    assert alone <= 4


def test_a_value_that_is_not_finite_is_counted_in_a_later_chunk() -> None:
    made, x, given = recorded("gru", 0)
    given["output"][1100, 2, 3] = float("nan")
    verdict = rnnspect.check(made, x, recorded=given, explain=0)
    assert verdict.worst is not None
    assert verdict.worst.ratio == float("inf")
    assert (verdict.worst.step, verdict.worst.batch, verdict.worst.unit) == (1100, 2, 3)
