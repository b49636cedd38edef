"""In no correct run a parameter is named, and none differs by evidence.

The plans of the second generator, changed so that h is seen of as many layers as can be, on input that is steady or
periodic more often, by every implementation that is installed. A few short runs of those that need no framework here;
100,000 with `pytest -m campaign -s tests/judging/test_evidence_drawn.py`, or as many as DRAWN says, from the seed FIRST
on.
"""

from __future__ import annotations

import copy
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect import Verdict
from tests.judging.drawn import SUMS, Plan, draw, make
from tests.judging.drawn_runs import FRAMEWORKS
from tests.judging.test_drawn import judged
from tests.marks import sampled

QUICK, QUICK_STEPS, MOST_STEPS = 80, 100, 1000
DRAWN, FIRST = int(os.environ.get("DRAWN", "100000")), int(os.environ.get("FIRST", "0"))
PLAIN = ("torch", "torch", "cells", *(f"numpy {order}" for order in SUMS))
STEADY = ("randn", "constant", "periodic", "one-hot")


def installed() -> tuple[str, ...]:
    return tuple(name for name in ("onnxruntime", *FRAMEWORKS) if find_spec(name))


def of_evidence(seed: int, engines: Sequence[str]) -> Plan:
    """The plan of this seed, made so that evidence can be looked for: a layer whose x and h are known, and steps."""
    plan, r = draw(seed), np.random.default_rng((seed, 2))

    def one(of: Sequence[Any]) -> Any:
        return of[int(r.integers(len(of)))]

    plan = replace(
        plan,
        layers=1 if r.random() < 0.7 else plan.layers,
        input=one(STEADY) if r.random() < 0.7 else plan.input,
        steps=min(MOST_STEPS, plan.steps + 16),
    )
    able = [engine for engine in engines if _can_run(engine, plan)]
    engine = one(able)
    return replace(
        plan,
        engine=engine,
        shown=one(("output", "module", *("layers",) * (engine != "torch"), *("all",) * engine.startswith("numpy"))),
        bias=plan.bias and (engine, plan.cell) != ("flax", "gru"),  # flax' GRU has no b_hn
    )


def _can_run(engine: str, plan: Plan) -> bool:
    if plan.cell == "lstm proj":
        return engine == "torch" or engine.startswith("numpy")
    if engine == "flax" and plan.seed % 4:
        return False  # it compiles each shape anew, which takes ten times as long as all else
    if engine in ("keras", "flax") and plan.dtype in ("float16", "bfloat16"):
        return False  # they may keep sums in half types: `--engine` knows that, a recording does not say it
    if engine == "keras":
        return plan.dtype != "float64"
    return engine not in ("onnxruntime", "openvino") or plan.dtype == "float32"


def named(verdict: Verdict) -> str | None:
    """What is wrong with the verdict of a correct run."""
    if verdict.suspects:
        return f"{verdict.verdict}: {'; '.join(one.said for one in verdict.suspects)}"
    return f"differ: {verdict.first}" if verdict.verdict == "differ" else None


@pytest.mark.parametrize("part", sampled(range(2), 2))
def test_no_parameter_is_named_in_a_correct_run(part: int) -> None:
    for plan in (of_evidence(seed, PLAIN) for seed in range(part, QUICK, 2)):
        plan = replace(plan, steps=min(QUICK_STEPS, plan.steps))
        assert not named(judged(make(plan))), plan


@pytest.mark.parametrize(("seed", "engine", "shown"), [(71, None, None), (31025902, "numpy joined", "all")])
def test_correct_runs_that_were_named_once(seed: int, engine: str | None, shown: str | None) -> None:
    """On constant input, what is added up is rounded the same way at every step, which looks like another parameter."""
    plan = of_evidence(seed, PLAIN)
    plan = replace(plan, engine=engine or plan.engine, shown=shown or plan.shown)
    assert plan.input == "constant"
    assert not named(judged(make(plan))), plan


@pytest.mark.parametrize("seed", [5000021, 5000283])
def test_a_gate_that_x_does_not_reach_is_still_looked_at(seed: int) -> None:
    """Its row of weight_ih is zeros, so a change of the whole gate begins in another parameter."""
    plan = replace(of_evidence(seed, PLAIN), engine="numpy pairwise")
    assert plan.weights == "sparse"
    assert not named(judged(make(plan))), plan


def test_a_gate_that_is_shut_is_not_named_for_how_a_recording_rounds_it() -> None:
    """h is recorded as 1.0000 where it is 0.99995, at every step: a larger bias of the candidate would do that, too."""
    plan = replace(of_evidence(31014706, PLAIN), engine="numpy backwards", shown="layers")
    assert plan.kept == "decimals:4"
    assert not named(judged(make(plan))), plan


def test_halves_of_a_saturated_cell_do_not_say_how_it_was_recorded() -> None:
    """c grows by i g = 1/2 to 22.5. Of few digits, such numbers looked as if the recording kept so many of them."""
    plan = replace(of_evidence(1752, PLAIN), engine="numpy sequential", shown="all")
    assert (plan.weights, plan.kept) == ("integer", "decimals:3")
    assert not named(judged(make(plan))), plan


@pytest.mark.parametrize("size", [2e-4, 4e-4, 6e-4])
def test_values_that_an_engine_rounds_to_zero_are_no_smaller_weights(size: float) -> None:
    """As onnxruntime's tanh does: near zero it gives multiples of 2⁻²⁴."""
    torch.manual_seed(0)
    module, x, h0 = torch.nn.RNN(6, 4, bias=False), size * torch.randn(700, 1, 6), torch.randn(1, 1, 4)
    with torch.no_grad():
        for weight in module.parameters():
            weight *= 6e-5
        exact, _ = copy.deepcopy(module).double()(x.double(), h0.double())
    output = (exact * 2**24).round().float() / 2**24
    output[0] = exact[0].float()
    assert 0.7 < float((output == 0).double().mean()) < 1
    verdict = rnnspect.check(module, x, h0=h0, recorded={"output": output})
    assert verdict.agrees
    assert not verdict.suspects


def test_values_that_a_recording_rounds_to_zero_are_no_weights_of_zero() -> None:
    plan = replace(of_evidence(2012091, PLAIN), engine="numpy joined", shown="module")
    assert (plan.weights, plan.kept) == ("tiny", "np.round:5")
    assert not named(judged(make(plan))), plan


@pytest.mark.campaign
def test_no_parameter_is_named_in_any_drawn_run() -> None:
    """Prints how many runs there were of each implementation, and on each kind of input."""
    runs: Counter[tuple[str, str]] = Counter()
    wrong: list[tuple[Plan, str]] = []
    engines, begun = (*PLAIN, *2 * installed()), time.perf_counter()
    for seed in range(FIRST, FIRST + DRAWN):
        plan = of_evidence(seed, engines)
        verdict = judged(make(plan))
        runs[plan.engine.partition(" ")[0], "all"] += 1
        runs[plan.engine.partition(" ")[0], "in half types"] += plan.dtype in ("float16", "bfloat16")
        runs[plan.engine.partition(" ")[0], f"on {plan.input} input"] += 1
        runs[plan.engine.partition(" ")[0], f"that {verdict.verdict}"] += 1
        if said := named(verdict):
            wrong.append((plan, said))
            print(f"named: {plan} {said}", flush=True)
    took = time.perf_counter() - begun
    print(f"\n{DRAWN} runs, {1e3 * took / DRAWN:.0f} ms each, {len(wrong)} in which something was named")
    for (engine, kind), count in sorted(runs.items()):
        print(f"{count:7}  {engine}, {kind}")
    assert not wrong
