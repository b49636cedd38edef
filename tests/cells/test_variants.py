"""The variants that ONNX's operators know: equations, bounds and verdicts beside a numpy loop from the text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnspect import Spec
from rnnspect.arithmetic import unroll
from rnnspect.cells.functions import KINDS
from rnnspect.checking.check import check_observation
from rnnspect.errors import RnnspectError
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation
from rnnspect.network.drawing import draw_parameters, generator_of
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from tests import operator_loops
from tests.marks import sampled

ACTIVATIONS = [*KINDS, "affine(0.7, -0.1)", "leaky_relu(0.3)", "thresholded_relu(0.2)", "scaled_tanh(1.3, 0.6)"]
ACTIVATIONS += ["hard_sigmoid(0.4, 0.3)", "elu(0.5)"]
GATES = ["sigmoid", "hard_sigmoid", "hard_sigmoid(0.4, 0.3)", "softsign", "tanh", "affine(0.2, 0.5)"]


def usual(cell: str, f: str = "sigmoid", g: str = "tanh", h: str = "tanh") -> list[str]:
    return {"rnn": [g], "gru": [f, g], "lstm": [f, g, h]}[cell]


@st.composite
def specs(draw: Any) -> Spec:
    cell = draw(st.sampled_from(["rnn", "gru", "lstm", "lstm"]))
    keys: dict[str, Any] = {"cell": cell, "input_size": draw(st.integers(1, 5)), "hidden_size": draw(st.integers(1, 5))}
    keys |= {"bias": draw(st.booleans()), "dtype": "float64", "input": None}
    keys |= {draw(st.sampled_from(["bidirectional", "reverse", "bias"])): True}
    if cell == "gru":
        keys["reset"] = draw(st.sampled_from(["after", "before"]))
    if cell == "lstm":
        keys |= {"input_forget": draw(st.booleans()), "peepholes": draw(st.booleans())}
    if draw(st.booleans()):
        both = bool(keys.get("bidirectional")) and draw(st.booleans())
        names = st.sampled_from(ACTIVATIONS)
        each = [usual(cell, draw(st.sampled_from(GATES)), draw(names), draw(names)) for _ in range(1 + both)]
        keys["activations"] = [name for direction in each for name in direction]
    keys["clip"] = draw(st.sampled_from([None, None, 0.5, 2.0]))
    return Spec(**keys)


def drawn(spec: Spec, steps: int = 6, batch: int = 3, seed: int = 0):
    """Parameters, x, h0 and c0 in the spec's dtype."""
    kind = getattr(torch, spec.dtype)
    torch.manual_seed(seed)
    p = {name: v.mul(1.5).to(kind) for name, v in draw_parameters(spec, generator_of(spec)).items()}
    x = torch.randn(steps, batch, spec.input_size).to(kind)
    h0, c0 = (torch.randn(spec.num_directions, batch, spec.hidden_size).to(kind) for _ in range(2))
    return p, Sequence(x, h0, c0 if spec.cell == "lstm" else None, None, True)


def by_loop(spec: Spec, p: dict[str, torch.Tensor], s: Sequence, kind: type, fault: str = ""):
    c0 = None if s.c0 is None else s.c0.numpy()
    return operator_loops.run(spec, {n: v.numpy() for n, v in p.items()}, s.x.numpy(), s.h0.numpy(), c0, kind, fault)


@pytest.mark.parametrize("arithmetic", ["numpy", "torch"])
@settings(max_examples=150, deadline=None)
@given(spec=specs())
def test_numbers_are_those_of_the_text(arithmetic: str, spec: Spec):
    """float64 on both sides: the loop and ours differ by summation order over a few steps of at most 11 terms, with
    slopes of at most 1.3; unbounded activations grow, so relative."""
    p, s = drawn(spec)
    right = by_loop(spec, p, s, np.float64)
    with pytest.MonkeyPatch.context() as patch:
        if arithmetic == "torch":
            patch.setattr(unroll, "serves", lambda *_: False)
        for run in unroll.unroll(spec, p, s):
            for name, values in right[run.direction].items():
                # a thresholded relu jumps: within 1e-12 of its threshold nothing is drawn; and where peepholes of an
                # unbounded function run away, the loop's softplus overflows before ours
                ours, told = run.quantities[name].numpy(), np.abs(values) < 1e100
                np.testing.assert_allclose(ours[told], values[told], rtol=1e-9, atol=1e-11, err_msg=name)


CASES: dict[str, dict[str, Any]] = {
    "gru before": {"cell": "gru", "reset": "before"},
    "gru before, hard": {"cell": "gru", "reset": "before", "activations": usual("gru", "hard_sigmoid")},
    "gru after, softsign gates": {"cell": "gru", "activations": usual("gru", "softsign", "softsign")},
    "gru clip": {"cell": "gru", "clip": 1.0},
    "lstm coupled": {"cell": "lstm", "input_forget": True},
    "lstm peepholes": {"cell": "lstm", "peepholes": True},
    "lstm both": {"cell": "lstm", "input_forget": True, "peepholes": True},
    "lstm both, clip": {"cell": "lstm", "input_forget": True, "peepholes": True, "clip": 1.5},
    "lstm hard": {"cell": "lstm", "activations": usual("lstm", "hard_sigmoid")},
    "lstm affine gates": {"cell": "lstm", "activations": usual("lstm", "affine(0.2, 0.3)")},
    "lstm softsign h": {"cell": "lstm", "activations": usual("lstm", h="softsign")},
    "lstm clip": {"cell": "lstm", "clip": 0.8},
    "lstm reverse": {"cell": "lstm", "reverse": True},
    **{f"rnn {f}": {"cell": "rnn", "activations": [f]} for f in ACTIVATIONS if f != "affine"},
}


def judged(spec: Spec, p: dict[str, torch.Tensor], s: Sequence, found: dict[str, dict[str, np.ndarray]]):
    layers = {(0, direction): {"h": torch.from_numpy(q["h"].copy())} for direction, q in found.items()}
    observation = Observation(EngineInfo("loop", "", "cpu", spec.dtype), layers)
    return check_observation(Case(spec, p, s, observation, ARITHMETICS[spec.dtype]))


@pytest.mark.each_value_once
@pytest.mark.parametrize("keys", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("steps", [3, 60])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_float_loop_agrees(keys: dict[str, Any], steps: int, dtype: str):
    spec = Spec(**{"input_size": 7, "hidden_size": 9, "dtype": dtype, "input": None} | keys)
    kind = getattr(np, dtype)
    for seed in range(3):
        p, s = drawn(spec, steps, seed=seed)
        verdict = judged(spec, p, s, by_loop(spec, p, s, kind))
        assert verdict.verdict == "agree", verdict
        assert verdict.worst is None or verdict.worst.ratio < 1  # None: equal to the bit


FAULTS = {"reset": ["gru before", "gru before, hard"], "peepholes": ["lstm peepholes", "lstm both", "lstm both, clip"]}
FAULTS |= {"coupled": ["lstm coupled", "lstm both"], "old c": ["lstm peepholes", "lstm both"]}
FAULTS |= {"squash": ["lstm softsign h", "lstm clip"]}


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize(
    ("fault", "case"), sampled([(fault, case) for fault, cases in FAULTS.items() for case in cases], 4)
)
@pytest.mark.parametrize("steps", [3, 60])
def test_a_planted_fault_is_found(fault: str, case: str, steps: int):
    spec = Spec(**{"input_size": 7, "hidden_size": 9, "input": None} | CASES[case])
    p, s = drawn(spec, steps)
    verdict = judged(spec, p, s, by_loop(spec, p, s, np.float32, fault))
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert verdict.first.step <= 2


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("keys", sampled(CASES.values(), 4), ids=CASES.keys())
def test_one_number_that_is_off_is_found_where_it_is(keys: dict[str, Any]):
    """Teacher-forced: of a wrong h at one step only that step and the next can differ."""
    spec = Spec(**{"input_size": 7, "hidden_size": 9, "input": None} | keys)
    p, s = drawn(spec, 20)
    found = by_loop(spec, p, s, np.float32)
    direction = spec.directions[0]
    found[direction]["h"][11, 1, 4] += 1e-3
    first = judged(spec, p, s, found).first
    assert first is not None
    assert (first.step, first.batch, first.unit) == (11, 1, 4)


WRONG = {
    "cell lstm has no reset, only cell gru": {"cell": "lstm", "reset": "before"},
    "cell gru has no peepholes, only cell lstm": {"cell": "gru", "peepholes": True},
    "did you mean 'softsign'": {"cell": "rnn", "activations": ["softsing"]},
    "3 or 6": {"cell": "lstm", "bidirectional": True, "activations": ["tanh"]},
    "exclude each other": {"bidirectional": True, "reverse": True},
    "cannot read the activation 'tanh(3)'": {"cell": "rnn", "activations": ["tanh(3)"]},
    "clip": {"cell": "rnn", "clip": -1.0},
}


@pytest.mark.parametrize(("said", "keys"), WRONG.items(), ids=WRONG.keys())
def test_a_wrong_variant_is_one_error(said: str, keys: dict[str, Any]):
    with pytest.raises(RnnspectError) as raised:
        Spec(**keys)
    assert said in str(raised.value)


@pytest.mark.parametrize("keys", [case for name, case in CASES.items() if name != "rnn tanh"])
def test_torch_says_what_it_does_not_compute(keys: dict[str, Any]):
    from rnnspect import check

    with pytest.raises(RnnspectError, match=r"torch cannot run this spec: torch.nn.\w+ \w+"):
        check(Spec(**keys))
