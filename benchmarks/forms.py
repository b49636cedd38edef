"""What a check of an implementation that computes many steps at once takes, beside our own stepping."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import rnnspect
from benchmarks.measure import Row, alternated
from rnnspect.engines.own.loading import load_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS, STEPS, UNITS = 5, 10_000, 64
STEPPED = 3.0
MEMORIES = {"short": 0.0, "long": -7.0}
"""The bias of the gate: a share of a half, or of a thousandth, is new at each step."""
EXAMPLES = Path(__file__).parents[1] / "examples"
CHUNK, CHUNKED = 16, f"{EXAMPLES / 'chunked.py'}:mingru"


def rows() -> Iterator[Row]:
    for memory, bias in MEMORIES.items():
        spec, x = drawn(bias)
        verdict = rnnspect.check(spec, x, engine=CHUNKED)
        assert verdict.verdict == "agree"
        ours, stepped = alternated(
            ROUNDS, partial(rnnspect.check, spec, x, engine=CHUNKED), partial(rnnspect.trace, spec, x)
        )
        what = f"check of a minimal GRU in chunks of {CHUNK}, {memory} memory, T = {STEPS}, {UNITS} → {UNITS}"
        yield Row(what, "the equations, step by step", STEPPED, ours / stepped)


def drawn(bias: float) -> tuple[rnnspect.Spec, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2 * UNITS, UNITS, generator=generator) * 0.1
    biases = torch.randn(2 * UNITS, generator=generator) * 0.3
    biases[:UNITS] += bias
    weights = {"weight_ih_l0": weight.tolist(), "bias_ih_l0": biases.tolist()}
    keys: dict[str, Any] = {"cell": load_cell(f"{EXAMPLES / 'cells' / 'mingru.py'}:mingru"), "weights": weights}
    spec = rnnspect.Spec(input_size=UNITS, hidden_size=UNITS, batch_first=True, **keys)
    return spec, torch.randn(1, STEPS, UNITS, generator=generator)
