"""Which changed assumptions are taken for the same, so that each is tried once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnnspect import Spec
from rnnspect.arithmetic.unroll import unroll
from rnnspect.causes.search import rejudging
from rnnspect.causes.search.effort import Effort
from rnnspect.causes.search.equal_changes import alike
from rnnspect.causes.search.rejudging import Rejudging, changed
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation
from rnnspect.judging.stack import Judged, judge_stack
from rnnspect.network.recording import EngineInfo
from rnnspect.tracing.prepare import prepare
from tests.causes.own_cells import MINGRU

AT = 0, "forward"


def case_of(**keys: Any) -> tuple[Case, Judged]:
    """A right run, but for its first step."""
    spec = Spec(input_size=3, hidden_size=3, batch_first=False, input="randn:6", **keys)
    made = prepare(spec)
    (run,) = unroll(spec, made.parameters, made.sequence)
    h = run.quantities["h"].clone()
    h[0] += 0.1
    seen = Observation(EngineInfo("equations", "", "", spec.dtype), {AT: {"h": h}}, None, None)
    case = Case(spec, made.parameters, made.sequence, seen, ARITHMETICS[spec.dtype])
    return case, judge_stack(case)


def assumed(**keys: Any) -> Assumption:
    return case_of(**keys)[1].assumptions[AT]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_has_the_same_numbers_is_the_same(dtype: str) -> None:
    right = assumed(cell="gru", dtype=dtype)
    same, other = right.p.weight_ih.clone(), right.p.weight_ih.clone()
    other[4, 1] += 0.5
    assert alike(right, right.with_parameters(weight_ih=same)) == alike(right, right)
    assert alike(right, right.with_parameters(weight_ih=other)) != alike(right, right)
    assert alike(right, right.with_functions(clip=0.5)) != alike(right, right)


def test_another_run_is_never_taken_for_the_same() -> None:
    right = assumed(cell="gru")
    assert alike(right, right.with_run(h0=torch.ones_like(right.run.h0))) is None


def test_recurrent_weights_count_only_where_there_are_some() -> None:
    for cell, counts in (("gru", True), (MINGRU, False)):
        right = assumed(cell=cell)
        made = right.with_parameters(weight_hh=right.p.weight_hh + 1)
        assert (alike(right, made) != alike(right, right)) is counts


def test_two_mistakes_in_either_order_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(rejudging, "begins_well", lambda made, *_: tried.append(made) or False)
    again = Rejudging(*case_of(cell="gru"), Effort(None))
    known = {cause.name: cause for cause in reversed(again.catalogue(AT).values())}  # the first of each
    pair = known["kernel-transposed"], known["gate-order"]
    swapped = known["gate-order"], known["bias-dropped"]
    assert not again.may_begin(pair, AT, 0)
    assert not again.may_begin(swapped, AT, 0)
    assert not again.may_begin(swapped[::-1], AT, 0)
    right = again._judged.assumptions[AT]
    assert alike(right, changed(right, swapped)) == alike(right, changed(right, swapped[::-1]))
    assert len(tried) == 2
