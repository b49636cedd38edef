"""A check of gradients beside the pass backwards that it checks: warm, float32, on the CPU, every gate's gradient
observed, bound and all."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchmarks.check import SIZES
from benchmarks.layer import described, drawn
from benchmarks.measure import Row, alternated
from rnnspect.checking.exposed import exposed_layers
from rnnspect.engines.torch import TorchEngine
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.network.gradients import Upstream
from rnnspect.network.recording import EngineInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

ROUNDS = 5
LIMIT, ALONE = 3.0, 1.0
"""Of the module's own pass backwards, whose forward is not counted: what the judge may take, and at batch 1."""


def rows() -> Iterator[Row]:
    for sizes in SIZES:
        for kind in ("RNN", "GRU", "LSTM"):
            ratio = measured(kind, sizes)
            steps, batch, inputs, hidden = sizes
            what = f"check of {kind}'s gradients, T = {steps}, B = {batch}, {inputs} → {hidden}"
            yield Row(what, "the module's backward", ALONE if batch == 1 else LIMIT, ratio)


def measured(kind: str, sizes: tuple[int, int, int, int]) -> float:
    case, module, x, g = case_of(kind, sizes)
    x.requires_grad_()
    y, _ = module(x)
    back = partial(torch.autograd.grad, y, [x, *module.parameters()], g, retain_graph=True)
    assert backward_verdict(case, judge_backward(case)).agrees
    judge, theirs = alternated(ROUNDS, partial(judge_backward, case), back)
    return judge / theirs


def case_of(kind: str, sizes: tuple[int, int, int, int]) -> tuple[BackwardCase, nn.RNNBase, Tensor, Tensor]:
    """What torch's own kernel shows of its pass backwards; its module, x and dL/d output."""
    module, x = drawn(kind, sizes)
    g = torch.randn(*x.shape[:2], module.hidden_size)
    spec, p, sequence = described(module, x)
    layers = exposed_layers(TorchEngine(), spec, p, sequence, Upstream(g), [x])
    engine = EngineInfo("torch", torch.__version__, "cpu", "float32")
    return BackwardCase(spec, p, sequence, engine, layers, ARITHMETICS["float32"]), module, x.clone(), g
