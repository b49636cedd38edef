"""Coarser products are given as the reason only where recomputing with them explains what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rnnspect.checking.check import check_observation
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation
from rnnspect.network.recording import EngineInfo
from tests.judging import loops
from tests.judging.cases import parameters
from tests.judging.test_stack import _Holder, check, every_layer, network, observed
from tests.marks import sampled

if TYPE_CHECKING:
    from rnnspect.tracing.prepare import Prepared

cells = pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])


def to_bfloat16(v: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return torch.from_numpy(np.ascontiguousarray(v, np.float32)).bfloat16().float().numpy()


def small(cell: str) -> Prepared:
    return network(cell, batch=1, hidden_size=32, h0=None, c0=None)


def run(made: Prepared, cell: str, operand: Any) -> Observation:
    s = made.sequence
    c0 = torch.zeros_like(s.h0[0]) if s.c0 is None else s.c0[0]
    kind = "tanh" if cell == "rnn" else cell
    h = loops.in_numpy(kind, parameters(_Holder(made.parameters)), s.x, s.h0[0], c0, operand)
    return Observation(EngineInfo("recorded", "", "", "float32"), {(0, "forward"): {"h": h}})


@pytest.mark.each_value_once
@cells
@pytest.mark.parametrize(
    ("operand", "name"),
    [(loops.to_ten_bits, "TF32"), (loops.cut_to_ten_bits, "TF32"), (to_bfloat16, "bfloat16")],
    ids=["nearest", "truncated", "bfloat16"],
)
def test_a_run_with_such_products_gets_the_reason(cell: str, operand: Any, name: str) -> None:
    made = small(cell)
    verdict = check(made, run(made, cell, operand))
    assert verdict.verdict == "differ"
    assert f"{name} products explain this" in str(verdict.reason)


@pytest.mark.parametrize("cell", sampled(["rnn", "gru", "lstm"], 3))
@pytest.mark.parametrize("fault", sampled(["entry", "bias", "float16 weights", "noise"], 4))
def test_other_faults_of_that_size_do_not(cell: str, fault: str) -> None:
    made = small(cell)
    wrong = {name: v.clone() for name, v in made.parameters.items()}
    if fault == "entry":
        wrong["weight_hh_l0"][3, 4] += 2e-3
    elif fault == "bias":
        wrong["bias_hh_l0"] += 3e-4
    elif fault == "float16 weights":
        wrong = {name: v.half().float() for name, v in wrong.items()}
    else:
        torch.manual_seed(0)
        wrong["weight_ih_l0"] += 1e-4 * torch.randn_like(wrong["weight_ih_l0"])
    verdict = check(made, run(replace(made, parameters=wrong), cell, lambda v: v))
    assert verdict.verdict == "differ"
    assert verdict.reason is None


@cells
def test_a_wrong_final_state_alone_does_not(cell: str) -> None:
    made = network(cell)
    seen = observed(made)
    assert seen.h_n is not None
    verdict = check(made, replace(seen, h_n=seen.h_n * 1.0005))
    assert (verdict.verdict, verdict.reason) == ("differ", None)


def test_a_wrong_gate_alone_does_not() -> None:
    made = network("lstm")
    h = every_layer(made)[0, "forward"]["h"]
    gate = torch.full_like(h, 0.5)
    verdict = check(made, observed(made, layers={(0, "forward"): {"h": h, "i": gate}}, h_n=None, c_n=None))
    assert (verdict.verdict, verdict.reason) == ("differ", None)


def test_where_it_may_use_them_it_is_held_to_them() -> None:
    made = small("rnn")
    declared = replace(ARITHMETICS["float32"], permitted=ARITHMETICS["tf32"])

    def held(operand: Any, parameters: Any = made.parameters) -> Any:
        seen = run(replace(made, parameters=parameters), "rnn", operand)
        return check_observation(Case(made.spec, made.parameters, made.sequence, seen, declared))

    found = held(loops.to_ten_bits)
    assert (found.verdict, found.arithmetic) == ("agree", "float32, TF32 products")
    found = held(lambda v: v)
    assert (found.verdict, found.arithmetic) == ("agree", "float32")
    found = held(lambda v: v, made.parameters | {"bias_hh_l0": made.parameters["bias_hh_l0"] + 1})
    assert (found.verdict, found.arithmetic) == ("differ", "float32")


@pytest.mark.parametrize(("dtype", "size"), [("float16", 1), ("bfloat16", 8)])
def test_sums_in_a_half_type_are_allowed_where_they_are_permitted(dtype: str, size: int) -> None:
    """Slices of a product are summed in float32, their sums in the half type, as split-K kernels do."""
    made = network(
        "rnn", dtype=dtype, input_size=512, hidden_size=4, batch=1, input="ones:6", h0=None, nonlinearity="relu"
    )
    kind = getattr(torch, dtype)
    made.parameters["weight_ih_l0"].copy_(torch.linspace(0.001, 0.002, 4 * 512).view(4, 512))
    p, h, steps = made.parameters, torch.zeros(1, 4, dtype=kind), []

    def product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(1, len(w), dtype=kind)
        for a, b in zip(x.split(size, 1), w.split(size, 1), strict=True):
            total = total + (a.float() @ b.float().T).to(kind)
        return total

    for row in made.sequence.x:
        s = product(row, p["weight_ih_l0"]) + p["bias_ih_l0"] + product(h, p["weight_hh_l0"]) + p["bias_hh_l0"]
        h = s.relu()
        steps.append(h)
    info = EngineInfo("recorded", "", "", dtype)
    seen = Observation(info, {(0, "forward"): {"h": torch.stack(steps)}})
    plain = ARITHMETICS[dtype]
    assert check(made, seen).verdict == "differ"
    permitted = replace(plain, permitted=ARITHMETICS[f"{dtype}-sums"])
    found = check_observation(Case(made.spec, made.parameters, made.sequence, seen, permitted))
    assert found.verdict == "cannot tell"
    assert found.arithmetic == f"{dtype}, {dtype} sums"
