"""How long a recovery of an engine's weights takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchmarks.layer import described, drawn
from benchmarks.measure import Row
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.judging.assumption import Assumption, Stack
from rnnspect.judging.evidence.recovering import recover

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG, SECONDS = (10_000, 1, 64, 128), 60.0
"""A recovery, and how long it may take on two cores."""


@torch.inference_mode()
def rows() -> Iterator[Row]:
    for kind in ("RNN", "GRU", "LSTM"):
        module, x = drawn(kind, LONG)
        theirs, _ = drawn(kind, LONG)
        for parameter in theirs.parameters():
            parameter.mul_(1 + 0.01 * torch.randn_like(parameter))
        assumed = assumption_of(module, x, theirs(x)[0])
        start = time.perf_counter()
        assert recover(assumed).lost == ()
        taken = time.perf_counter() - start
        yield Row(f"recovery of {kind}, 64 → 128, 1 % noise, from 10,000 steps", "seconds", SECONDS, taken)


def assumption_of(module: nn.RNNBase, x: Tensor, h: Tensor) -> Assumption:
    """The equations with the module's parameters, beside an engine's h."""
    stack = Stack.of(*described(module, x))
    return Assumption.of(stack, (0, "forward"), x, None, ROUNDOFF[torch.float32], h)
