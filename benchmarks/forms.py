"""What a check of an implementation that computes many steps at once takes, beside our own stepping."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import rnnspect
from benchmarks.measure import Row, alternated
from rnnspect.engines.own.cell import load_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS, STEPS, UNITS, CHUNK = 5, 10_000, 64, 16
STEPPED = 3.0
MEMORIES = {"short": 0.0, "long": -7.0}
"""The bias of the gate: a share of a half, or of a thousandth, is new at each step."""
CELL = Path(__file__).parents[1] / "examples" / "cells" / "mingru.py"


def rows() -> Iterator[Row]:
    for memory, bias in MEMORIES.items():
        spec, x = drawn(bias)
        verdict = rnnspect.check(spec, x, engine=chunked)
        assert verdict.verdict == "agree"
        ours, stepped = alternated(
            ROUNDS, partial(rnnspect.check, spec, x, engine=chunked), partial(rnnspect.trace, spec, x)
        )
        what = f"check of a minimal GRU in chunks of {CHUNK}, {memory} memory, T = {STEPS}, {UNITS} → {UNITS}"
        yield Row(what, "the equations, step by step", STEPPED, ours / stepped)


def drawn(bias: float) -> tuple[rnnspect.Spec, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2 * UNITS, UNITS, generator=generator) * 0.1
    biases = torch.randn(2 * UNITS, generator=generator) * 0.3
    biases[:UNITS] += bias
    weights = {"weight_ih_l0": weight.tolist(), "bias_ih_l0": biases.tolist()}
    keys: dict[str, Any] = {"cell": load_cell(f"{CELL}:mingru"), "weights": weights}
    spec = rnnspect.Spec(input_size=UNITS, hidden_size=UNITS, batch_first=True, **keys)
    return spec, torch.randn(1, STEPS, UNITS, generator=generator)


def chunked(x: Tensor, state: Tensor, weight_ih_l0: Tensor, bias_ih_l0: Tensor) -> tuple[Tensor, Tensor]:
    """Decays cumulated in each chunk, and one division."""
    z, n = (x @ weight_ih_l0.T + bias_ih_l0).chunk(2, -1)
    z = z.sigmoid()
    h, output = state[0], []
    for start in range(0, x.shape[1], CHUNK):
        steps = slice(start, start + CHUNK)
        faded = (1 - z[:, steps]).cumprod(1)
        output.append(faded * (h[:, None] + (z[:, steps] * n[:, steps] / faded).cumsum(1)))
        h = output[-1][:, -1]
    return torch.cat(output, 1), h[None]
