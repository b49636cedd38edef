"""A check of a stack of which only the output was recorded, beside the forward pass: two layers in both directions have
to be computed by the equations, step by step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import rnnspect
from benchmarks.measure import Row, alternated

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 9
STEPS, UNITS, LAYERS = 1000, 128, 3
MOST = {"GRU": 2.0}
"""torch computes an LSTM with oneDNN, in a third of the time of a GRU; a plain RNN has a third of a GRU's products."""


def rows() -> Iterator[Row]:
    for kind in ("RNN", "GRU", "LSTM"):
        torch.manual_seed(0)
        module: nn.RNNBase = getattr(nn, kind)(UNITS, UNITS, LAYERS, batch_first=True, bidirectional=True)
        x = torch.randn(1, STEPS, UNITS)
        with torch.no_grad():
            recorded = {"output": module(x)[0]}
        forward, check = alternated(ROUNDS, partial(_forward, module, x), partial(_check, module, x, recorded))
        what = f"check of {kind}, T = {STEPS}, B = 1, {UNITS} → {UNITS}, three bidirectional layers, output alone"
        yield Row(what, "the module's forward", MOST.get(kind), check / forward)


@torch.inference_mode()
def _forward(module: nn.RNNBase, x: Tensor) -> Tensor:
    output: Tensor = module(x)[0]
    return output


def _check(module: nn.RNNBase, x: Tensor, recorded: dict[str, Tensor]) -> None:
    assert rnnspect.check(module, x, recorded=recorded).agrees
