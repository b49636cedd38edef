"""A module of both directions that is run on one window of its input after the other, each from zeros."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import Verdict
from rnnspect.judging.verdict import Explanation


def in_windows(kind: str, size: int, steps: int, layers: int = 1, bidirectional: bool = True) -> tuple[Verdict, Tensor]:
    """The check of its output, and the right one."""
    torch.manual_seed(1)
    module: nn.RNNBase = getattr(nn, kind)(5, 7, layers, bidirectional=bidirectional)
    x = torch.randn(steps, 2, 5)
    with torch.no_grad():
        recorded = torch.cat([module(window)[0] for window in x.split(size)])
        return rnnspect.check(module, x, recorded=recorded), module(x)[0]


def only(verdict: Verdict) -> Explanation:
    assert verdict.verdict == "differ"
    (cause,) = verdict.causes
    assert not cause.left
    assert not verdict.indistinguishable
    return cause


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("steps", [15, 17])
def test_both_directions_of_a_layer_are_named_at_once(kind: str, steps: int) -> None:
    """17 steps make windows of 5, 5, 5 and 2; the reverse direction begins with the last one."""
    cause = only(in_windows(kind, 5, steps)[0])
    assert (cause.name, cause.parameters["every"], cause.parameters["from"]) == ("chunk-state-lost", 5, "zeros")
    assert set(cause.scope) == {"layer 0 forward", "layer 0 reverse"}


def test_two_windows_have_one_edge() -> None:
    cause = only(in_windows("GRU", 9, 14)[0])
    assert (cause.name, cause.parameters["step"]) == ("chunk-state-lost", 9)
    assert len(cause.scope) == 2


@pytest.mark.parametrize(("kind", "bidirectional"), [("GRU", True), ("RNN", True), ("LSTM", False)])
def test_so_is_a_stack_of_which_the_output_alone_was_recorded(kind: str, bidirectional: bool) -> None:
    cause = only(in_windows(kind, 6, 21, 2, bidirectional)[0])
    assert (cause.name, cause.parameters["every"]) == ("chunk-state-lost", 6)
    assert cause.explanation == "every layer lost its state every 6 steps, where a call begins: it starts from zeros"
    assert len(cause.scope) == 2 * (1 + bidirectional)


def test_a_reverse_direction_alone_is_named_by_the_steps_of_the_input() -> None:
    torch.manual_seed(2)
    module, x = nn.GRU(4, 6, bidirectional=True), torch.randn(20, 2, 4)
    with torch.no_grad():
        y = module(x)[0]
        y[:8, :, 6:] = module(x[:8])[0][..., 6:]
    cause = only(rnnspect.check(module, x, recorded=y))
    assert cause.explanation.startswith("the state is lost at step 8")
    assert cause.scope == ("layer 0 reverse",)
