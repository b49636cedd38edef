"""Half types: usual networks agree, and every mistake that is larger than the type's own rounding differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect
from tests.causes import loops
from tests.causes.planted import Case, Planted, cases
from tests.marks import sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.causes.loops import Array

pytestmark = pytest.mark.usefixtures("no_causes")

BELOW_THE_ROUNDING = {"float16-sums", "int8-weights", "rounded-weights", "activation-approximated"}
"""Mistakes that change no gate by as much as bfloat16's own rounding may hide: sums in float16 are more exact than what
bfloat16 stores, and weights of 8 bits, or of a few decimals, are about as exact as those of bfloat16."""


@pytest.mark.each_value_once
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("hidden_size", [16, 64, 256])
@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 0.25), (torch.float16, 0.03125)])
def test_a_usual_network_agrees(
    dtype: torch.dtype, limit: float, kind: type[torch.nn.RNNBase], hidden_size: int, scale: int
) -> None:
    torch.manual_seed(0)
    module = kind(32, hidden_size)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(scale)
    module, x = module.to(dtype), torch.randn(100, 2, 32).to(dtype)
    verdict = rnnspect.check(module, x)
    assert verdict.agrees
    assert verdict.telling == limit  # 64 unit roundoffs
    shifted = kind(32, hidden_size).to(dtype)
    shifted.load_state_dict(module.state_dict())
    with torch.no_grad():
        shifted.bias_ih_l0[:] += 4 * limit
        assert rnnspect.check(module, x, recorded=shifted(x)[0], explain=0).verdict == "differ"


def in_bfloat16(values: Array) -> Array:
    rounded: Array = torch.from_numpy(np.ascontiguousarray(values, np.float32)).bfloat16().float().numpy()
    return rounded


@pytest.fixture
def states_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops keep h and c in bfloat16, and compute the step between in float32."""
    exact: Callable[..., tuple[Array, Array]] = loops._step

    def step(*given: Any) -> tuple[Array, Array]:
        h, c = exact(*given)
        return in_bfloat16(h), in_bfloat16(c)

    monkeypatch.setattr(loops, "_step", step)


def judged(planted: Planted, recorded: Mapping[str, Array]) -> rnnspect.Verdict:
    given, spec = planted.given, planted.spec.with_changes(dtype="bfloat16")
    c0 = given.c0 if planted.setting.kind == "lstm" else None
    kept = {name: torch.from_numpy(in_bfloat16(values)).bfloat16() for name, values in recorded.items()}
    return rnnspect.check(spec, given.x, given.h0, c0, lengths=given.lengths, recorded=kept, explain=0)


def answer(case: Case) -> str:
    """Of a run with the mistake, all in bfloat16; "the same" where that has the numbers of the right run, which must
    not differ."""
    planted = Planted(case.setting)
    for name, values in planted.net.parameters.items():
        planted.net.parameters[name] = in_bfloat16(values)
    given = planted.given
    planted.given = replace(given, x=in_bfloat16(given.x), h0=in_bfloat16(given.h0), c0=in_bfloat16(given.c0))
    right, wrong = planted.run({}), planted.run(case.mistake.flags)
    assert judged(planted, right).verdict != "differ"
    if all(np.array_equal(in_bfloat16(values), in_bfloat16(wrong.get(name, ()))) for name, values in right.items()):
        return "the same"
    return judged(planted, wrong).verdict


def planted_in_bfloat16(every: int) -> list[Case]:
    told = [case for case in cases() if case.mistake.id not in BELOW_THE_ROUNDING]
    return told[::every]


@pytest.mark.usefixtures("states_in_bfloat16")
@pytest.mark.parametrize("case", sampled(planted_in_bfloat16(every=80), 5), ids=str)
def test_a_mistake_planted_in_bfloat16_differs(case: Case) -> None:
    assert answer(case) in ("differ", "the same")


@pytest.mark.campaign
@pytest.mark.usefixtures("states_in_bfloat16")
def test_every_mistake_planted_in_bfloat16_differs() -> None:
    answers = {str(case): answer(case) for case in planted_in_bfloat16(every=1)}
    assert not {case: said for case, said in answers.items() if said not in ("differ", "the same")}
    assert list(answers.values()).count("differ") > 1000


@pytest.mark.parametrize(("off", "reason"), [(0.0, True), (1.0, False)], ids=["right", "wrong"])
def test_sums_in_a_half_type_are_said_to_explain_a_run(off: float, reason: bool) -> None:
    """One addition after another in float16, which nobody declared."""
    torch.manual_seed(0)
    module, x, h, output = nn.RNN(16, 8).half(), torch.randn(20, 1, 16).half(), torch.zeros(8).half(), []
    w_ih, w_hh, b_ih, b_hh = (p.detach() for p in module.parameters())
    for row in x[:, 0]:
        of_x, of_h = torch.zeros(8).half(), torch.zeros(8).half()
        for column, value in zip(w_ih.t(), row, strict=True):
            of_x = of_x + column * value
        for column, value in zip(w_hh.t(), h, strict=True):
            of_h = of_h + column * value
        h = torch.tanh(of_x + b_ih + (of_h + b_hh) + off)
        output.append(h)
    found = rnnspect.check(module, x, recorded=torch.stack(output)[:, None], explain=0)
    assert isinstance(found, rnnspect.Verdict)
    assert found.verdict == "differ"
    assert ("--arithmetic float16-sums" in str(found.reason)) == reason


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output: torch.Tensor = self.lstm(x)[0]
        return output


def test_what_autocast_hides_is_not_laid_to_the_initial_state() -> None:
    """The forget gate shows after a few steps, though c0 is zero."""
    torch.manual_seed(0)
    model, x = Autocast(), torch.randn(30, 6)
    verdict = rnnspect.check(model, x)
    assert verdict.verdict == "cannot tell"
    assert "the rounding of bfloat16 by autocast hides an error of" in str(verdict.reason)
    assert "c0" not in str(verdict.reason)


def test_a_gate_may_be_zero_where_exp_overflows() -> None:
    """1 / (1 + exp(−s)) in float16 is 0 below −11.09, where σ is 1.5e-5."""
    half, wide = np.float16, np.float32

    def lstm(module: nn.LSTM, x: Array) -> Array:
        w_ih, w_hh, b_ih, b_hh = (p.detach().numpy() for p in module.parameters())
        h = c = np.zeros((1, 8), half)
        found = []
        for step in x:
            sums = [(v.astype(wide) @ w.astype(wide).T).astype(half) for v, w in ((step, w_ih), (h, w_hh))]
            i, f, g, o = np.split(sums[0] + b_ih + (sums[1] + b_hh), 4, -1)
            with np.errstate(over="ignore"):
                i, f, o = (half(1) / (half(1) + np.exp(-s)) for s in (i, f, o))
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
            found.append(h)
        return np.stack(found)

    for seed in range(3):
        torch.manual_seed(seed)
        module, x = nn.LSTM(3, 8), torch.randn(60, 1, 3).half()
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(8)
        found = rnnspect.check(module.half(), x, recorded=lstm(module, x.numpy()))
        assert found.verdict != "differ"
        assert not any("rounded" in note for note in found.notes)
