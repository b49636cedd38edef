"""Recorded gradients, with a planted mistake: it is named, or none is; never another one."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import rnnspect
from rnnspect.checking.backward import judge_recorded_backward
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.estimate import FreeLayer
from rnnspect.judging.backward.results import ResultsCase, ResultsMistake, expected
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.verdict import Verdict
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.recording import EngineInfo
from rnnspect.tracing.prepare import Prepared
from tests.causes.backward.drawn import Plan, prepared_of
from tests.causes.backward.mistakes import MISTAKES, Mistake
from tests.causes.backward.test_planted import is_named
from tests.marks import sampled

UNSEEN = ("padding", "clip at each step")
"""What was done in padding, and what a gradient was clipped to within the loop: results alone do not tell."""
EVERY = [(mistake, kind) for mistake in MISTAKES for kind in mistake.cells]
CASES = EVERY[::3]
"""Of each mistake a cell or two; `tests/causes/backward/test_planted.py` has them all, seen gate by gate."""


def recorded(plan: Plan, flags: Any, names: Collection[str] = ()) -> Verdict:
    """Of a pass of the loops; `names`: of these gradients alone."""
    return recorded_of(*prepared_of(plan, flags), names)


def recorded_of(prepared: Prepared, upstream: Upstream, names: Collection[str] = ()) -> Verdict:
    given = prepared.engine.backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)  # type: ignore[attr-defined]
    arrays = {"grad.output": upstream.output, "grad.h_n": upstream.h_n, "grad.c_n": upstream.c_n}
    arrays |= {f"grad.{name}": g for name, g in given.named.items() if not names or name in names}
    arrays |= {f"x_l{layer}": received for layer, received in given.inputs.items()}
    if given.inputs:
        arrays["output"] = given.output
    return judge_recorded_backward(prepared, {name: g for name, g in arrays.items() if g is not None})


def assert_named_or_none(found: Verdict, mistake: Mistake) -> None:
    assert found.verdict == "differ"
    if any(word in mistake.id for word in UNSEEN) and not found.causes:
        assert "known mistakes of the backward pass explains it" in found.notes[-1]
    else:
        assert is_named(mistake, found), (found.causes, found.notes)


@pytest.mark.slow
@pytest.mark.parametrize(("mistake", "kind"), sampled(CASES, 42), ids=lambda one: getattr(one, "id", one))
def test_a_mistake_is_named_or_none_is(mistake: Mistake, kind: str) -> None:
    """In each float type."""
    dtype = ("float32", "float64")[CASES.index((mistake, kind)) % 2]
    plan = Plan(**({"seed": 3, "kind": kind, "dtype": dtype} | mistake.needs))
    assert_named_or_none(recorded(plan, mistake.flags), mistake)


STACKED = ("c lost", "exchanged", "h after in", "slope of g: left", "final c lost", "hh-not-trans", "dx not turned")
STACKS = [one for one in MISTAKES if any(word in one.id for word in STACKED)]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", sampled(STACKS, 14), ids=lambda one: one.id)
def test_a_mistake_of_every_layer_and_direction_is_named(mistake: Mistake) -> None:
    found = recorded(Plan(4, mistake.cells[-1], layers=2, directions=2, steps=6), mistake.flags)
    assert is_named(mistake, found), (found.causes, found.notes)
    assert {place for cause in found.causes[:1] for place in cause.scope} >= {"layer 0 reverse", "layer 1 reverse"}


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("how", "of"),
    [
        ("of the last step lost", "the last step"),
        ("of the first step lost", "the first step"),
        ("of the last step alone", "all but the last step"),
        ("of the step after", "the step after"),
        ("of the step before", "the step before"),
    ],
)
def test_what_a_loop_that_both_directions_share_leaves_out_is_named(how: str, of: str, layers: int) -> None:
    """Each direction in its own order: the first step of the reverse one is the last of the input."""
    kind = ("rnn", "gru", "lstm")[len(how) % 3]
    found = recorded(Plan(6, kind, layers=layers, directions=2, steps=8), {"dy": how, "each in its own order": True})
    assert found.causes, found.notes
    assert found.causes[0].parameters == {"of": of, "in the order of each direction": True}
    assert len(found.causes[0].scope) == 2 * layers


@pytest.mark.slow
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(("how", "name"), [("alone", "grad-overwritten"), ("left out", "grad-last-step-left-out")])
def test_what_each_item_s_own_last_step_adds_is_all_or_is_missing(
    how: str, name: str, lengths: bool, directions: int
) -> None:
    found = recorded(Plan(7, "gru", directions=directions, lengths=lengths), {"own last step": how})
    assert [cause.name for cause in found.causes] == [name]
    assert found.causes[0].parameters in ({"is": "of the first step gone over"}, {"in": "every parameter"})


@pytest.mark.slow
def test_a_truncation_is_found_in_both_directions() -> None:
    """There dL/dx does not tell where it begins, for the other direction is wrong elsewhere."""
    found = recorded(Plan(5, "gru", directions=2), {"truncated": 4})
    assert [(cause.name, cause.parameters) for cause in found.causes] == [("grad-truncated", {"steps": 4})]


@pytest.mark.slow
def test_an_initial_state_without_a_gradient_is_called_detached() -> None:
    """Where nothing else is recorded a lost path gives the same; the simpler mistake comes first."""
    for names in (("h0",), ("h0", "x"), ()):
        found = recorded(Plan(3, "rnn", steps=4), {"start detached": True}, names)
        assert [cause.name for cause in found.causes][:1] == ["grad-initial-state-detached"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "flags", "named"),
    [
        (Plan(3, "lstm", directions=2, layers=2, steps=5), {"truncated": 3, "of": "c"}, {"step": 3, "of": "c"}),
        (Plan(3, "gru", "float64", directions=2, steps=7), {"truncated": 6}, {"step": 6}),
    ],
    ids=lambda one: getattr(one, "kind", ""),
)
def test_a_state_detached_at_one_step_is_found_in_both_directions(plan: Plan, flags: Any, named: Any) -> None:
    found = recorded(plan, flags)
    assert [(cause.name, cause.parameters) for cause in found.causes] == [("grad-detached", named)]
    assert len(found.causes[0].scope) == plan.layers * 2


@pytest.mark.slow
def test_a_truncation_counted_from_the_last_step_is_found_in_both_directions() -> None:
    found = recorded(Plan(3, "rnn", directions=2, steps=7), {"truncated": 3, "counted from the end": True})
    assert [(cause.name, cause.parameters) for cause in found.causes] == [
        ("grad-truncated", {"steps": 3, "from": "the end"})
    ]


@pytest.mark.slow
def test_dx_of_one_direction_of_one_layer_is_found_there() -> None:
    """The layer below gets wrong gradients then, and is right itself; `tests/causes/backward/test_planted.py` has such
    an engine."""
    found = recorded(Plan(3, "gru", directions=2, layers=2, steps=4), {"dx without": "reverse", "in layer": 1})
    assert [(cause.name, cause.scope) for cause in found.causes] == [("grad-x-of-one-direction", ("layer 1 reverse",))]


def test_a_mask_that_no_number_shows_may_be_either() -> None:
    """Where the layer below gives exactly 0, as a GRU with z = 1 does from h0 = 0, nobody sees what dropout did."""
    prepared, upstream = prepared_of(Plan(3, "gru", layers=2, dropout=0.4, hard=True), {})
    bias = prepared.parameters["bias_ih_l0"].clone()
    bias[5:7] = 100.0  # z of two units
    sequence = replace(prepared.sequence, h0=torch.zeros_like(prepared.sequence.h0))
    prepared = replace(prepared, parameters={**prepared.parameters, "bias_ih_l0": bias}, sequence=sequence)
    assert recorded_of(prepared, upstream).first is None


def test_a_factor_of_one_parameter_is_told_of_its_layer_alone() -> None:
    prepared, upstream = prepared_of(Plan(3, "rnn", layers=2, directions=2, steps=4), {})
    given = prepared.engine.backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)  # type: ignore[attr-defined]
    arrays = {f"grad.{name}": g for name, g in given.named.items()} | {"grad.output": upstream.output}
    arrays |= {"grad.h_n": upstream.h_n, "grad.weight_hh_l0_reverse": 2 * given.parameters["weight_hh_l0_reverse"]}
    (cause,) = judge_recorded_backward(prepared, arrays).causes
    assert (cause.name, cause.scope) == ("grad-accumulated", ("layer 0 reverse",))


@pytest.mark.slow
def test_a_long_run_is_searched_to_the_end() -> None:
    """Most mistakes are refuted by its last steps: the work that a search may do is enough for all of them."""
    found = recorded(Plan(11, "lstm", layers=2, steps=60), {"slope of f": "left out"})
    assert [(cause.name, cause.parameters["of"]) for cause in found.causes] == [("grad-slope-left-out", "f")]
    unknown = recorded(Plan(11, "lstm", layers=2, steps=60), {"clip at each step": ("h", "value", 0.02)})
    assert "none of" in unknown.notes[-1]
    assert "stopped before everything was tried" not in unknown.notes[-1]


@pytest.mark.slow
def test_a_mistake_in_one_layer_or_direction_alone_is_named_there() -> None:
    for place in ((0, "reverse"), (1, "forward")):
        prepared, upstream = prepared_of(Plan(6, "lstm", layers=2, directions=2, steps=6), {})
        right = recorded_case(prepared, upstream)
        wrong = expected(right, ResultsMistake(layer=functools.partial(_without_c, place=place)))
        arrays = {f"grad.{name}": value.to(torch.float32) for name, (value, _) in wrong.items()}
        arrays |= {"grad.output": upstream.output, "grad.h_n": upstream.h_n, "grad.c_n": upstream.c_n}
        found = judge_recorded_backward(prepared, arrays)
        assert [(cause.name, cause.scope) for cause in found.causes] == [
            ("grad-c-path-lost", (f"layer {place[0]} {place[1]}",))
        ]


def recorded_case(prepared: Prepared, upstream: Upstream) -> ResultsCase:
    given = EngineGradients(EngineInfo("", "", "cpu", "float32"), None, None, None, None, None, None, {})
    parts = prepared.spec, prepared.parameters, prepared.sequence, upstream
    return ResultsCase(*parts, given, ARITHMETICS["float32"])


def _without_c(layer: FreeLayer, at: At, place: At) -> FreeLayer:
    return replace(layer, changes={"carry-c": None}) if at == place else layer


@pytest.mark.parametrize(("kind", "name"), [("RNN", "grad-detached"), ("LSTM", "grad-first-step-skipped")])
def test_where_the_loop_ends_shows_in_gradients_of_four_digits(kind: str, name: str) -> None:
    """That the numbers are rounded is no sign that those of the last step are wrong."""
    torch.manual_seed(1)
    start = 1 if name == "grad-first-step-skipped" else 4
    module, x, g = getattr(nn, kind)(3, 5), torch.randn(9, 2, 3, requires_grad=True), torch.randn(9, 2, 5)
    before, state = module(x[:start])
    state = tuple(one.detach() for one in state) if isinstance(state, tuple) else state.detach()
    after, _ = module(x[start:], state)
    torch.cat([before.detach() if start == 1 else before, after]).backward(g)
    named = {"x": x.grad, **{name: p.grad for name, p in module.named_parameters()}}
    recorded = {f"grad.{name}": in_four_digits(values) for name, values in named.items()}
    found = rnnspect.check(module, x.detach(), recorded=recorded | {"grad.output": g}, backward=True)
    assert isinstance(found, Verdict)
    assert [cause.name for cause in found.causes] == [name]


def in_four_digits(values: torch.Tensor) -> torch.Tensor:
    return torch.tensor([float(f"{one:.3e}") for one in values.flatten().tolist()]).view(values.shape)
