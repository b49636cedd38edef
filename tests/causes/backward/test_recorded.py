"""Recorded gradients of one layer, with a planted mistake: it is named, or none is; never another one."""

from __future__ import annotations

from typing import Any

import pytest

from rnnspect.checking.backward import judge_recorded_backward
from rnnspect.judging.verdict import Verdict
from tests.causes.backward.drawn import Plan, prepared_of
from tests.causes.backward.mistakes import MISTAKES, Mistake
from tests.marks import sampled

UNSEEN = ("slope", "dx", "r missing in dW_hn", "h after in dW_hh", "not turned", "exchanged", "padding")
"""What changes the gates' gradients in a way of its own, the terms of a sum, or the order of steps: of that a recording
of results tells no cause."""
CASES = [(mistake, kind) for mistake in MISTAKES for kind in mistake.cells]


def recorded(plan: Plan, flags: Any) -> Verdict:
    prepared, upstream = prepared_of(plan, flags)
    given = prepared.engine.backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)  # type: ignore[attr-defined]
    arrays = {"grad.output": upstream.output, "grad.h_n": upstream.h_n, "grad.c_n": upstream.c_n}
    arrays |= {f"grad.{name}": g for name, g in given.named.items()}
    return judge_recorded_backward(prepared, {name: g for name, g in arrays.items() if g is not None})


@pytest.mark.parametrize(("mistake", "kind"), sampled(CASES, 4), ids=lambda one: getattr(one, "id", one))
def test_a_mistake_is_named_or_none_is(mistake: Mistake, kind: str) -> None:
    found = recorded(Plan(**({"seed": 3, "kind": kind} | mistake.needs)), mistake.flags)
    names = [cause.name for cause in found.causes]
    assert found.verdict == "differ"
    assert names[:1] == ([] if any(word in mistake.id for word in UNSEEN) else [mistake.name]), found.notes
    if not names:
        assert "known mistakes of going back explains it" in found.notes[-1]


def test_of_several_layers_none_is_looked_for() -> None:
    found = recorded(Plan(3, kind="lstm", layers=2), {"c lost": True})
    assert found.verdict == "differ"
    assert not found.causes
    assert "one layer" in found.notes[-1]
