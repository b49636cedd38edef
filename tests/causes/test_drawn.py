"""Mistakes in networks of two and three layers of which the output alone was recorded: each is named, and no other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.causes.search import effort
from tests.causes.drawn import Drawn, drawn
from tests.causes.mistakes import MISTAKES, Setting
from tests.marks import sampled

BY_NAME = {str(mistake): mistake for mistake in MISTAKES}


def names_of(verdict: rnnspect.Verdict) -> list[str]:
    return [cause.name for cause in verdict.causes]


@pytest.mark.slow
@pytest.mark.parametrize("case", sampled(list(drawn(12, seed=4)), 6), ids=str)
def test_the_first_that_is_named_is_right_and_none_is_wrong(case: Drawn) -> None:
    """What dropout left of layers that nobody saw may be anything, so that it need not be named."""
    verdict = case.check()
    assert verdict.verdict == "differ"
    assert names_of(verdict) or case.mistake.id == "dropout-active", verdict.notes
    assert all(case.right(cause) for cause in verdict.causes)


@pytest.mark.campaign
def test_of_200_at_least_95_in_100_are_named_first_and_none_wrongly() -> None:
    answers: Counter[str] = Counter()
    wrong = []
    for case in drawn(200):
        verdict = case.check()
        assert verdict.verdict == "differ", f"{verdict.verdict}: {case}"
        causes = verdict.causes
        answers["right" if causes and case.right(causes[0]) else "wrong" if causes else "none"] += 1
        wrong += [f"{case}: {names_of(verdict)}" for cause in causes if not case.right(cause)]
    assert not wrong, "\n".join(wrong)
    assert answers["right"] >= 0.95 * answers.total(), answers


@pytest.mark.parametrize(
    ("kind", "name", "layer"),
    sampled(
        [
            (kind, name, layer)
            for name, layer in [
                ("kernel-transposed", 0),
                ("bias-doubled (ih added twice)", 0),
                ("bias-doubled (ih added twice)", 1),
                ("bias-doubled (hh added twice)", 0),
                ("kernel-reshaped (ih, gate by gate, out×in taken for in×out)", None),
                ("kernel-reshaped (ih, gate by gate, in×out taken for out×in)", 0),
                ("kernel-reshaped (ih and hh, gate by gate, out×in taken for in×out)", None),
                ("kernel-reshaped (ih and hh, gate by gate, in×out taken for out×in)", 1),
            ]
            for kind in BY_NAME[name].cells
        ],
        10,
    ),
)
def test_a_mistake_in_both_directions_of_a_layer_is_named(kind: str, name: str, layer: int | None) -> None:
    mistake = BY_NAME[name]
    square = mistake.id == "kernel-transposed"
    case = Drawn(mistake, Setting(kind, 2, 2, inputs=5 if square else 4), layer, seed=0)
    verdict = case.check()
    assert verdict.verdict == "differ"
    assert names_of(verdict)[:1] == [mistake.id]
    assert verdict.causes[0].left == ()
    if layer == 0:
        assert verdict.causes[0].scope == ("layer 0 forward", "layer 0 reverse")
    fix = verdict.causes[0].fix
    assert "If it loads your weights: " in fix
    assert "If your weights come from it: " in fix


def large(seed: int) -> tuple[torch.nn.GRU, torch.Tensor, dict[str, Any]]:
    """A two-layer GRU in both directions whose weights are so large that nobody can tell what layer 0 really gave, x,
    and the output of an engine that takes the gates r z n for z r n."""
    torch.manual_seed(seed)
    meant, run = (torch.nn.GRU(8, 16, 2, bidirectional=True) for _ in range(2))
    with torch.no_grad():
        for own, other in zip(meant.parameters(), run.parameters(), strict=True):
            own.mul_(16)
            r, z, n = own.chunk(3)
            other.copy_(torch.cat([z, r, n]))
        x = torch.randn(40, 3, 8)
        return meant, x, {"output": run(x)[0].numpy()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.campaign)])
def test_where_almost_anything_fits_no_cause_is_named_but_what_to_record(seed: int) -> None:
    meant, x, recorded = large(seed)
    verdict = rnnspect.check(meant, x, recorded=recorded)
    assert verdict.verdict == "differ"
    assert verdict.causes == ()
    assert "record h of layer 0 as well" in verdict.notes[-1]


@pytest.mark.slow
def test_a_search_that_finds_nothing_says_what_it_tried() -> None:
    case = Drawn(BY_NAME["gru-mix-flipped"], Setting("gru", 2, 2), None, seed=0)
    output = case.planted.run({})["output"]
    case.recorded["output"] = output + np.float32(0.01) * np.random.default_rng(0).random(output.shape, np.float32)
    verdict = case.check()
    assert verdict.verdict == "differ"
    assert verdict.causes == ()
    for said in ("no known mistake explains this run", "known mistakes in layer 1", "in layer 0", "in layers 0 and 1"):
        assert said in verdict.notes[-1]


@pytest.mark.slow
def test_what_is_found_does_not_depend_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine so busy that every look takes an hour."""
    case = Drawn(BY_NAME["gate-order (ifog: miopen, coreml, ncnn)"], Setting("lstm", 2, 2), None, seed=0)
    hours = iter(range(0, 10**9, 3600))
    monkeypatch.setattr(effort.time, "monotonic", lambda: float(next(hours)))
    assert names_of(case.check()) == ["gate-order"]
    cut = case.check(explain=60)
    assert cut.causes == ()
    assert "stopped after 60 s" in cut.notes[-1]


def test_without_seconds_the_work_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Drawn(BY_NAME["gate-order (ifog: miopen, coreml, ncnn)"], Setting("lstm", 2, 2), None, seed=0)
    monkeypatch.setattr(effort, "WORK", 10**7)
    verdict = case.check()
    assert verdict.causes == ()
    assert "stopped before everything was tried" in verdict.notes[-1]


@pytest.mark.parametrize(("took", "longer"), [(8, 60), (50, 120), (200, 420)])
def test_a_search_that_was_stopped_is_told_to_take_longer_than_it_did(
    monkeypatch: pytest.MonkeyPatch, took: int, longer: int
) -> None:
    clock = iter([0.0, float(took)])
    monkeypatch.setattr(effort.time, "monotonic", lambda: next(clock))
    assert f"--explain {longer} " in effort.Effort(None).stopped
