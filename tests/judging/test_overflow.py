"""A sum in range may be reached by way of an infinity: then an engine's numbers tell nothing, and nobody is blamed.

W_ih x is 2¹²⁷ + 2¹²⁷ − 2¹²⁸ at one step of one item, which is 0, exactly, and infinite in float32 if the first two are
added first: an engine that does so meets ∞ − ∞ there, or ∞ in place of 0.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.judging.overflow import may_overflow
from rnnspect.network.parameters import LayerParameters
from tests.marks import sampled

pytestmark = [
    pytest.mark.usefixtures("no_causes"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

CELLS: dict[str, Any] = {
    "rnn": lambda **more: nn.RNN(3, 4, **more),
    "relu": lambda **more: nn.RNN(3, 4, nonlinearity="relu", **more),
    "lstm": lambda **more: nn.LSTM(3, 4, **more),
    "lstm-proj": lambda **more: nn.LSTM(3, 4, proj_size=2, **more),
    "gru": lambda **more: nn.GRU(3, 4, **more),
}
AT = 5, 0
"""The step and item of which a sum leaves the range."""


class Run:
    """What a network was given and what a right engine gives; the same of one that met an infinity and has NaN, 0 or
    another number from there on. Steps other than `AT` have ordinary sums. `power` is 64 for products of 2¹²⁷."""

    def __init__(self, cell: str, power: int = 64, value: float = torch.nan, **more: Any) -> None:
        torch.manual_seed(3)
        self.module = CELLS[cell](**more)
        with torch.no_grad():
            weight = self.module.weight_ih_l0
            weight.copy_(torch.tensor([2.0**63, 2.0**63, -(2.0**64)]).expand_as(weight))
        self.x = torch.randn(9, 2, 3) * 2.0**-64
        self.x[AT] = 2.0**power
        with torch.no_grad():
            output, ends = copy.deepcopy(self.module).double()(self.x.double())
        self.output, self.ends = output.float(), states(ends)
        self.met, self.met_ends = self.output.clone(), {name: end.clone() for name, end in self.ends.items()}
        self.met[AT[0] :, AT[1]] = value
        for end in self.met_ends.values():
            end[:, AT[1]] = value

    def check(self, **recorded: Tensor) -> rnnspect.Verdict:
        return rnnspect.check(self.module, self.x, recorded=recorded)


def states(ends: Any) -> dict[str, Tensor]:
    return dict(zip(("h_n", "c_n"), ends if isinstance(ends, tuple) else (ends,), strict=False))


@pytest.mark.each_value_once
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_engine_that_met_an_infinity_is_not_blamed(cell: str, value: float) -> None:
    run = Run(cell, value=value)
    assert run.check(output=run.output, **run.ends).verdict != "differ"
    for ends in ({}, run.met_ends):
        verdict = run.check(output=run.met, **ends)
        assert verdict.verdict == "cannot tell"
        assert "values, or sums that lead to them, overflow float32" in str(verdict.reason)


@pytest.mark.parametrize("cell", CELLS)
def test_cell_states_and_gates_too(cell: str) -> None:
    run = Run(cell)
    quantities = {"lstm": "ifgoc", "lstm-proj": "ifgoc", "gru": "rzn"}.get(cell, "")
    gates = torch.full((2, 9, 4), 0.5)
    gates[AT[1], AT[0] :] = torch.nan
    for name in quantities:
        verdict = run.check(output=run.met, **{f"l0.forward.{name}": gates})
        assert verdict.first is None or (verdict.first.step, verdict.first.batch) != AT


@pytest.mark.each_value_once
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
def test_final_states_alone_and_a_layer_that_nobody_recorded(cell: str, value: float) -> None:
    run = Run(cell, value=value)
    assert run.check(**run.met_ends).verdict == "cannot tell"
    deep = Run(cell, value=value, num_layers=2)
    assert deep.check(output=deep.output).verdict != "differ"
    verdict = deep.check(output=deep.met).verdict
    assert verdict == "cannot tell" or (value == 0 and verdict == "agree"), "0 is within what such sums may err by"


@pytest.mark.parametrize("cell", CELLS)
def test_elsewhere_a_wrong_number_is_found(cell: str) -> None:
    run = Run(cell)
    for step, item in ((2, 0), (7, 1)):
        wrong = run.met.clone()
        wrong[step, item, 1] += 0.3
        verdict = run.check(output=wrong)
        assert verdict.verdict == "differ"
        assert verdict.first is not None
        assert (verdict.first.step, verdict.first.batch) == (step, item)


@pytest.mark.parametrize("cell", CELLS)
def test_in_range_the_same_engine_is_wrong(cell: str) -> None:
    """All products are a sixteenth, and no order of them leaves the range."""
    run = Run(cell, power=60)
    assert run.check(output=run.output).verdict != "differ"
    verdict = run.check(output=run.met)
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.batch) == AT


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", sampled([torch.float16, torch.bfloat16, torch.float32, torch.float64], 2))
@pytest.mark.parametrize("cell", sampled(CELLS, 2))
def test_torch_itself_near_the_range(cell: str, dtype: torch.dtype) -> None:
    """Weights and inputs whose products are about the largest number: some runs have infinities in them, some meet
    them on the way, some do not; all are right."""
    largest = torch.finfo(dtype).max ** 0.5
    for seed in range(6):
        torch.manual_seed(seed)
        module = CELLS[cell](num_layers=1 + seed % 2, bidirectional=seed % 3 == 0).to(dtype)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if "weight_ih" in name:
                    parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * largest)
                elif "weight_hh" in name and seed % 2:
                    parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * largest**2 / 8)
            x = (torch.randn(4, 2, 3, dtype=torch.float64) * largest / 2).to(dtype)
            output, ends = module(x)
        assert rnnspect.check(module, x).verdict != "differ"
        for recorded in ({"output": output}, states(ends), {"output": output} | states(ends)):
            assert rnnspect.check(module, x, recorded=recorded).verdict != "differ"


def test_a_finite_number_where_infinity_is_right_is_not_taken_for_right() -> None:
    """There any number is within the limit, which is infinite; 3 in place of ∞ is nevertheless no agreement."""
    torch.manual_seed(0)
    module, x = nn.RNN(3, 4, nonlinearity="relu").half(), torch.randn(30, 1, 3).half()
    x[10] = 30_000
    with torch.no_grad():
        module.weight_ih_l0.copy_(torch.rand(4, 3) + 0.5)
        module.weight_hh_l0.mul_(0.25)
        output, h = [], torch.zeros(1, 4).half()
        for row in x:
            h = module(row[None], h[None])[1][0]
            h = h.masked_fill(h.isinf(), 3)
            output.append(h)
    recorded = torch.stack(output)
    overflows = int((recorded[10] == 3).sum())
    assert overflows
    verdict = rnnspect.check(module, x, recorded=recorded)
    assert verdict.verdict == "cannot tell"
    assert f"{overflows} of 120 values, or sums that lead to them, overflow float16" in str(verdict.reason)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_in_half_types_a_row_beside_an_infinite_one_may_be_anything(dtype: torch.dtype) -> None:
    """torch on CPUs with AVX512-BF16 has NaN there where the number of features is odd, an item of its own though it
    is. Of the rows that reach beyond the dtype by themselves there is one, step 2 of item 1."""
    weights = [torch.full(shape, 0.5, dtype=dtype) for shape in ((4, 3), (4, 4))]
    x, h = torch.ones(4, 2, 3, dtype=dtype), torch.ones(4, 2, 4, dtype=dtype)
    x[2, 1, 0] = torch.inf
    lost = may_overflow(LayerParameters(*weights, None, None, None), ROUNDOFF[dtype], x, h)
    assert lost is not None
    rows = [(int(t), int(b)) for t, b in lost.any(-1).nonzero()]
    assert rows == ([(2, 1)] if dtype == torch.float32 else [(2, 0), (2, 1), (3, 0)])


def squared(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    (n,) = a.split(wx)
    return {"n": n, "h": a.constant("scale") * (n * n) + a.constant("zero") * h}


SQUARED = Cell(
    name="squared",
    torch_name="",
    gates=("n",),
    states=("h",),
    quantities=("n", "h"),
    functions=(),
    step=squared,
    constants=(("scale", 2.0**-20), ("zero", 0.0)),
    is_recurrent=False,
)


@pytest.mark.parametrize(("power", "engine_gives", "verdict"), [
    (66, torch.inf, "cannot tell"),  # n² is 2¹³², and h would be 2¹¹²
    (66, 2.0**111, "differ"),
    (20, torch.inf, "differ"),
    (20, torch.nan, "differ"),
    (20, 2.0**20, "agree"),
])  # fmt: skip
def test_a_product_of_a_cell_of_one_s_own_overflows_on_the_way(power: int, engine_gives: float, verdict: str) -> None:
    def step(x_t: Tensor, _h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        n = x_t @ weight_ih.T + bias_ih
        return torch.where(x_t > 2.0**19, engine_gives, 2.0**-20 * (n * n))

    x = torch.rand(1, 8, 1)
    x[0, 5] = 2.0**power
    spec = rnnspect.Spec(cell=SQUARED, input_size=1, hidden_size=1, weights={"weight_ih_l0": [[1]], "bias_ih_l0": [0]})
    assert rnnspect.check(spec, x, engine=step).verdict == verdict


@pytest.mark.parametrize(("kept", "named"), [("float16", True), ("bfloat16", False), ("float32", False)])
def test_a_recording_of_less_range_than_the_engine_is_named(kept: str, named: bool) -> None:
    """h grows beyond 65504, which is no number that overflows the engine's float32."""
    torch.manual_seed(0)
    rnn, x = nn.RNN(3, 6, nonlinearity="relu"), torch.rand(60, 1, 3) * 4000
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(torch.eye(6))
        rnn.weight_ih_l0.abs_()
        recorded = rnn(x)[0].to(getattr(torch, kept))
    if not named:
        recorded[-1, 0, 0] = torch.inf
        rnn.weight_ih_l0.data *= 2.0**125
        x = x / 2.0**125
        x[-1] = 2.0**120
    verdict = rnnspect.check(rnn, x, recorded=recorded, explain=0)
    assert verdict.verdict == "cannot tell"
    assert ("beyond the range in which they were recorded (float16); use float32" in str(verdict.reason)) == named
    assert ("overflow float32" in str(verdict.reason)) != named
