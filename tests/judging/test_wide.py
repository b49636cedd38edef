"""A batch of many items is judged some items at a time; what is found is what all of them together show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import rnnspect
from rnnspect import Spec
from rnnspect.judging import judge

if TYPE_CHECKING:
    from rnnspect import Verdict
    from rnnspect.judging.verdict import Point

pytestmark = pytest.mark.usefixtures("no_causes")
BATCH, STEPS = 11, 30


def verdict_of(kind: str, faults: list[tuple[int, int, int]], lengths: list[int] | None) -> Verdict:
    spec = Spec(cell=kind, input_size=3, hidden_size=4, bidirectional=True, batch_first=False, batch=BATCH, h0="randn")
    spec = spec.with_changes(input=f"randn:{STEPS}", lengths=lengths)
    ran = rnnspect.trace(spec)
    halves = {f"l0.{one.direction}.h": one.engine["h"].clone() for one in ran.layers}
    for step, item, unit in faults:
        halves["l0.forward.h"][item, step, unit] += 0.05
    finals = {"h_n": ran.h_n.engine} | ({} if ran.c_n is None else {"c_n": ran.c_n.engine})
    return rnnspect.check(spec, recorded=halves | finals)


@pytest.mark.usefixtures("no_causes")
@pytest.mark.each_value_once
@pytest.mark.parametrize("lengths", [None, [30, 4, 11, 30, 2, 7, 30, 30, 9, 30, 5]])
@pytest.mark.parametrize("faults", [[], [(3, 9, 2), (1, 2, 0)], [(1, 10, 1)]])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_it_is_the_same_verdict(
    monkeypatch: pytest.MonkeyPatch, kind: str, faults: list[tuple[int, int, int]], lengths: list[int] | None
) -> None:
    together = verdict_of(kind, faults, lengths)
    monkeypatch.setattr(judge, "_WIDE", 4)
    apart = verdict_of(kind, faults, lengths)
    assert apart.verdict == together.verdict == ("differ" if faults else "agree")
    assert said(apart) == said(together)
    assert apart.worst is not None
    assert together.worst is not None
    # Which one is nearest to its bound depends on which chunks a cheap look cleared; on which side it is does not.
    assert (apart.worst.ratio <= 1) == (together.worst.ratio <= 1) == (not faults)
    if together.first is not None:
        assert apart.first is not None
        assert address(apart.first) == address(together.first)
        # The same numbers, summed by kernels of another shape.
        assert apart.first.ratio == pytest.approx(together.first.ratio, rel=1e-3)


def said(verdict: Verdict) -> tuple[object, ...]:
    """On how many steps several items differ is not known where each was looked at by itself."""
    pattern = re.sub(r"(?:\d+ )?steps (?:between )?(\d+) (?:and|to) (\d+)", r"steps \1 to \2", verdict.pattern or "")
    return pattern, verdict.values, verdict.steps, verdict.observed, verdict.cleared


def address(at: Point) -> tuple[object, ...]:
    return at.quantity, at.layer, at.direction, at.step, at.batch, at.unit
