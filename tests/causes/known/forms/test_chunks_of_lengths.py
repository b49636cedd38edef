"""States that are handed on wrongly from chunk to chunk, or from call to call, where items end at different steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect

EVERY, STEPS = 8, 32
_MADE = {
    "chunk-state-lost": lambda state: tuple(0 * one for one in state),
    "chunk-state-doubled": lambda state: tuple(2 * one for one in state),
    "cell-state-squashed": lambda state: (state[0], state[1].tanh()),
    "chunk-state-exchanged": lambda state: state[::-1],
}


def in_calls(module: Any, x: Tensor, lengths: list[int], mistake: str) -> Tensor:
    """The output (B, T, H), item by item and call by call, with zeros in the padding."""
    output = torch.zeros(*x.shape[:2], module.hidden_size)
    for item, length in enumerate(lengths):
        state = None
        for start in range(0, length, EVERY):
            steps = slice(start, min(start + EVERY, length))
            output[item, steps], after = module(x[item, steps], state)
            after = after if isinstance(after, tuple) else (after,)
            handed = _MADE[mistake](after) if mistake else after
            state = handed if len(handed) > 1 else handed[0]
    return output


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.each_value_once
@pytest.mark.parametrize("lengths", [[STEPS, STEPS], [STEPS, 19], [5, 24, STEPS]])
@pytest.mark.parametrize(
    ("cell", "mistake"),
    [("gru", "chunk-state-lost"), ("gru", "chunk-state-doubled"), *(("lstm", one) for one in _MADE)],
)
def test_where_chunks_begin(cell: str, mistake: str, lengths: list[int]) -> None:
    torch.manual_seed(0)
    module = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](3, 6, batch_first=True)
    x = torch.randn(len(lengths), STEPS, 3)
    spec = rnnspect.Spec(cell=cell, input_size=3, hidden_size=6, weights=dict(module.named_parameters()))
    given = {"lengths": lengths}
    assert rnnspect.check(spec, x, recorded=in_calls(module, x, lengths, ""), **given).agrees
    found = rnnspect.check(spec, x, recorded=in_calls(module, x, lengths, mistake), **given)
    assert [(one.name, one.parameters.get("every")) for one in found.causes] == [(mistake, EVERY)]


@torch.no_grad()
@pytest.mark.slow
def test_calls_of_layers_that_were_not_recorded() -> None:
    torch.manual_seed(0)
    module, x, lengths = nn.GRU(3, 6, 2, batch_first=True), torch.randn(2, STEPS, 3), [STEPS, 19]
    spec = rnnspect.Spec(cell="gru", num_layers=2, input_size=3, hidden_size=6, weights=dict(module.named_parameters()))
    recorded = in_calls(module, x, lengths, "chunk-state-lost")
    (cause, *_) = rnnspect.check(spec, x, lengths=lengths, recorded=recorded).causes
    assert (cause.name, cause.parameters["every"]) == ("chunk-state-lost", EVERY)
