"""States that are lost at steps that follow no rule, in all items of a batch or in each at its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import Spec

STEPS = 40
KINDS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def begun_anew(module: Any, x: Tensor, lost: list[list[int]]) -> Tensor:
    """The output (B, T, H) where each item begins from zeros at its own steps."""
    output = torch.zeros(*x.shape[:2], module.hidden_size)
    for item, steps in enumerate(lost):
        for start, stop in zip([0, *steps], [*steps, x.shape[1]], strict=True):
            output[item, start:stop] = module(x[item, start:stop])[0]
    return output


@torch.no_grad()
def checked(kind: str, lost: list[list[int]], **keys: Any) -> rnnspect.Verdict:
    torch.manual_seed(0)
    module, x = KINDS[kind](4, 5, batch_first=True), torch.randn(len(lost), STEPS, 4)
    spec = Spec(cell=kind, input_size=4, hidden_size=5, weights=dict(module.named_parameters()))
    return rnnspect.check(spec, x, recorded=begun_anew(module, x, lost), **keys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_items_at_steps_that_follow_no_rule(kind: str) -> None:
    (cause,) = checked(kind, [[5, 18, 19]] * 2).causes
    assert (cause.name, cause.parameters["steps"], cause.left) == ("chunk-state-lost", "5, 18, 19", ())
    assert cause.explanation.startswith("the state is lost at steps 5, 18 and 19, where")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ([[], [15]], "in batch item 1 at step 15, where"),
        ([[7], [3, 30], []], "in batch item 0 at step 7, in batch item 1 at steps 3 and 30, where"),
        (
            [[1, 2, 3, 4, 9, 39], [3]],
            "in batch item 0 at steps 1, 2, 3, 4, 9 and 1 more, in batch item 1 at step 3, where",
        ),
        ([[7], [8], [9], [20], [20]], "in batch item 2 at step 9 and in 2 more, where"),
    ],
)
def test_each_item_at_its_own_steps(kind: str, lost: list[list[int]], said: str) -> None:
    (cause,) = checked(kind, lost).causes
    assert (cause.name, cause.left) == ("chunk-state-lost", ())
    assert said in cause.explanation


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_items_that_end_at_different_steps(kind: str) -> None:
    (cause,) = checked(kind, [[10, 30], [12]], lengths=[STEPS, 25]).causes
    assert "in batch item 0 at steps 10 and 30, in batch item 1 at step 12, where" in cause.explanation
    (cause,) = checked(kind, [[10, 13, 30], [10, 13]], lengths=[STEPS, 25]).causes
    assert "the state is lost at steps 10, 13 and 30, where" in cause.explanation


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_a_stack(kind: str) -> None:
    torch.manual_seed(0)
    lower, upper, x = KINDS[kind](4, 5, batch_first=True), KINDS[kind](5, 5, batch_first=True), torch.randn(2, STEPS, 4)
    weights = dict(lower.named_parameters())
    weights |= {name.replace("l0", "l1"): values for name, values in upper.named_parameters()}
    below = begun_anew(lower, x, [[7], [3, 30]])
    above = begun_anew(upper, below, [[7], [3, 30]])
    spec = Spec(cell=kind, input_size=4, hidden_size=5, num_layers=2, weights=weights)
    recorded = {"l0.forward.h": below, "l1.forward.h": above}
    (cause,) = rnnspect.check(spec, x, recorded=recorded).causes
    assert (cause.name, cause.left) == ("chunk-state-lost", ())
    assert "in batch item 0 at step 7, in batch item 1 at steps 3 and 30" in cause.explanation
