"""Each mistake, made by a plain loop, is named; right runs and mistakes that nobody knows are given no name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnspect
from rnnspect import Spec
from rnnspect.views import documents
from tests.causes.mistakes import MISTAKES, layer

KINDS = ("rnn", "gru", "lstm")
APPLIES = {
    "forget-bias-added": {"lstm"},
    "forget-bias-missing": {"lstm"},
    "h-c-exchanged": {"lstm"},
    "hard-sigmoid": {"gru", "lstm"},
    "hard-sigmoid of a sixth": {"gru", "lstm"},
    "gate-order": {"gru", "lstm"},
    "kernel-reshaped": {"gru", "lstm"},  # a square kernel that is reshaped is one that is transposed
} | {name: {"gru"} for name in MISTAKES if name.startswith("gru-")}
CASES = [(name, kind) for name in MISTAKES for kind in KINDS if kind in APPLIES.get(name, KINDS)]


class Planted:
    """A spec, its parameters in torch and numpy, and what runs of it start from."""

    def __init__(self, kind: str, layers: int = 1, from_zero: bool = False, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.kind, size, (steps, batch) = kind, 5, (7, 4)
        rows = {"rnn": 1, "gru": 3, "lstm": 4}[kind] * size
        shapes = {"w_ih": (rows, size), "w_hh": (rows, size), "b_ih": (rows,), "b_hh": (rows,)}
        self.p = [{n: rng.uniform(-0.9, 0.9, s).astype(np.float32) for n, s in shapes.items()} for _ in range(layers)]
        self.x = rng.standard_normal((steps, batch, size)).astype(np.float32)
        self.states = rng.standard_normal((2, layers, batch, size)).astype(np.float32) * (not from_zero)
        self.spec = Spec(
            cell=kind, input_size=size, hidden_size=size, num_layers=layers, batch_first=False, weights=self.weights()
        )

    def weights(self) -> dict[str, Any]:
        torch_names = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
        return {f"{torch_names[n]}_l{at}": v.tolist() for at, p in enumerate(self.p) for n, v in p.items()}

    def check(self, *mistakes: dict[str, Any]) -> rnnspect.Verdict:
        x, recorded = self.x, {}
        for at, mistake in enumerate(mistakes):
            x = layer(self.kind, self.p[at], x, self.states[0, at], self.states[1, at], mistake)
            recorded[f"l{at}.forward.h"] = np.ascontiguousarray(x.transpose(1, 0, 2))
        states = self.states if self.kind == "lstm" else self.states[:1]
        return rnnspect.check(self.spec, self.x, *states, recorded=recorded)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_right_run_is_given_no_cause(kind: str, layers: int) -> None:
    verdict = Planted(kind, layers).check(*[{}] * layers)
    assert verdict.agrees
    assert verdict.causes == ()


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_planted_mistake_is_named(name: str, kind: str, layers: int) -> None:
    planted = Planted(kind, layers, from_zero=name == "time-batch-exchanged")
    verdict = planted.check(*[MISTAKES[name]] * layers)
    assert verdict.verdict == "differ"
    assert verdict.causes, verdict.pattern
    assert verdict.causes[0].name == name.partition(" ")[0], [cause.name for cause in verdict.causes]
    assert verdict.causes[0].worst_ratio_after <= 1 < verdict.causes[0].worst_ratio_before
    assert verdict.causes[0].left == ()
    assert len(verdict.causes[0].scope) == layers


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_in_one_of_two_layers_is_named_with_its_layer(kind: str) -> None:
    verdict = Planted(kind, 2).check({}, MISTAKES["recurrent-kernel-transposed"])
    assert [cause.name for cause in verdict.causes] == ["recurrent-kernel-transposed"]
    assert verdict.causes[0].scope == ("layer 1 forward",)


def test_a_mistake_that_accounts_for_one_layer_only_says_so() -> None:
    verdict = Planted("lstm", 2).check(MISTAKES["gate-order"], MISTAKES["hard-sigmoid"])
    assert verdict.causes[0].name == "gate-order"
    assert verdict.causes[0].parameters == {"order": "i o f g"}
    assert "onnx" in verdict.causes[0].explanation
    assert verdict.causes[0].left == ("layer 1 forward",)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_known_mistake_is_given_no_name(kind: str) -> None:
    planted = Planted(kind)
    planted.p[0]["w_hh"][2, 3] += np.float32(0.25)
    verdict = planted.check({})
    assert verdict.verdict == "differ"
    assert verdict.causes == ()
    assert verdict.pattern


def test_mistakes_that_give_the_same_numbers_are_all_told() -> None:
    planted = Planted("gru", seed=3)
    planted.p[0]["b_ih"][:] = 0
    planted.spec = planted.spec.with_changes(weights=planted.weights())
    verdict = planted.check({"b_hh": 0})
    names = {cause.name for cause in verdict.causes}
    assert "bias-dropped" in names
    document = documents.check_document(verdict)
    assert set(document["indistinguishable"][0]) == names
    dropped = {cause["parameters"]["which"] for cause in document["causes"] if cause["name"] == "bias-dropped"}
    assert dropped == {"bias_hh", "both biases"}
