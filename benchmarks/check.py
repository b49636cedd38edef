"""A check beside the run that it checks: warm, float32, on the CPU, every layer observed, bound and all."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchmarks.layer import described, drawn
from benchmarks.measure import Row, alternated
from rnnspect.arithmetic.bounded_values import Product
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.checking.check import check_observation
from rnnspect.judging.assumption import Assumption, Stack
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import LayerRun, chunks
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.evidence.suspects import suspects
from rnnspect.judging.judge import Judge
from rnnspect.judging.observation import Observation
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.recording import EngineInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rnnspect.judging.layer import LayerEquations
    from rnnspect.judging.verdict import Verdict

ROUNDS = 9
SIZES = (10_000, 1, 64, 128), (1000, 8, 256, 256), (1000, 1, 512, 512), (200, 32, 512, 512)
EVIDENCE = 1.0
"""Of the forward: what is looked for in all values together may take so much."""
BEYOND = 0.4
"""Of the forward: what a check may take beyond the two products that nobody can avoid. How long these take beside the
forward depends on the CPU, and so does a check as a whole."""


def rows() -> Iterator[Row]:
    for sizes in SIZES:
        for kind in ("RNN", "GRU", "LSTM"):
            yield from _case(kind, sizes)


@torch.inference_mode()
def _case(kind: str, sizes: tuple[int, int, int, int]) -> Iterator[Row]:
    steps, batch, inputs, hidden = sizes
    module, x = drawn(kind, sizes)
    spec, p, sequence = described(module, x)
    y, state = module(x)
    h_n, c_n = state if kind == "LSTM" else (state, None)
    seen = Observation(EngineInfo("torch", torch.__version__, "cpu", "float32"), {(0, "forward"): {"h": y}}, h_n, c_n)

    def check() -> Verdict:
        return check_observation(Case(spec, p, sequence, seen, ARITHMETICS["float32"]))

    assert check().agrees
    layer = Judge(spec.cell_type, LayerParameters.of(p, 0, "forward")).layer
    run = LayerRun(x, y, sequence.h0[0])
    assumed = Assumption.of(Stack.of(spec, p, sequence), (0, "forward"), x, None, ROUNDOFF[torch.float32], y)
    parts = partial(suspects, assumed, False, False), partial(two_products, layer, run), partial(_forward, module, x)
    ours, evidence, products, forward = alternated(ROUNDS, check, *parts)
    what = f"check of {kind}, T = {steps}, B = {batch}, {inputs} → {hidden}"
    yield Row(what, "the module's forward", None, ours / forward)
    yield Row("evidence in it", "the module's forward", EVIDENCE, evidence / forward)
    beyond = (ours - evidence - products) / forward
    yield Row("beyond its two products and evidence", "the module's forward", BEYOND, beyond)


def _forward(module: nn.RNNBase, x: Tensor) -> None:
    module(x)


def two_products(layer: LayerEquations, run: LayerRun) -> None:
    """W_ih x + b_ih + W_hh h + b_hh of every gate and step, and nothing else."""
    a = layer.plain
    for chunk in chunks(run, 512):
        for p, q in zip(a.split(a.input(chunk.x)), a.split(a.hidden(a.observed(chunk.before))), strict=True):
            both = p + q
            assert isinstance(both, Product)
            both.sum()
