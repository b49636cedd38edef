"""Manual against engine, and the networks to compare: what the tests and the mutations both use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from hypothesis import strategies as st

from rnnspect import Spec
from rnnspect.arithmetic import unroll

if TYPE_CHECKING:
    import pytest

    from rnnspect import Trace

UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
TF32 = 2.0**-11
"""Rounding of the operands, where a GPU's float32 products are allowed to be TF32 ones."""

CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm"},
    "lstm-projected": {"cell": "lstm", "proj_size": 3},
    "gru": {"cell": "gru"},
}
"""Every cell in every form, for hidden_size 4 or more."""

ARITHMETICS = ["numpy", "torch"]
"""Both meanings of the operations that the manual path has; it takes the first for small steps."""


def computing_with(arithmetic: str, patch: pytest.MonkeyPatch) -> None:
    """Small networks in that arithmetic; half types have only torch's."""
    if arithmetic == "torch":
        patch.setattr(unroll, "serves", lambda *_step: False)


def allowance(trace: Trace) -> float:
    """How far two correct runs in the spec's dtype may be apart.

    float64: 1e-12 of the largest number, as the issue asks. Else, of both runs, so 2 ×:

    - a step stores at most 8 numbers on the way to h (two projections, sum, gates, products, state), each rounded by
      the dtype. σ and tanh are flat where their argument is large (|a|·tanh'(a) < 0.45), so that the largest h
      measures what comes of each rounding, however large x is;
    - a step sums k = I + P + 2 products in float32 at least: √k roundings (a random walk) of the sum of their
      magnitudes, with weights of at most 1/√H;
    - the errors of T steps add up like a random walk, √T, but no further than 4: what comes from the step before is
      multiplied by weights from U(−1/√H, 1/√H), of spectral radius 1/√3, or by a gate near ½. Those of L layers add.
    """
    spec = trace.spec
    peak_x = _largest(trace.x)
    peak_h = max([1.0, *(_largest(layer.quantities["h"]) for layer in trace.layers)])
    if spec.dtype == "float64":
        return 1e-12 * peak_h
    width = max(spec.layer_input_size(layer) for layer in range(spec.num_layers)) + spec.output_size + 2
    magnitudes = 1 + (spec.input_size * peak_x + 2 * spec.output_size * peak_h) / math.sqrt(spec.hidden_size)
    summed = UNIT_ROUNDOFF["float32"] if _exact_products(trace) else TF32
    step = math.sqrt(8) * UNIT_ROUNDOFF[spec.dtype] * peak_h + math.sqrt(width) * summed * magnitudes
    return 2 * step * min(math.sqrt(trace.steps), 4) * spec.num_layers


def _largest(values: torch.Tensor) -> float:
    """The largest finite magnitude."""
    return values.double().nan_to_num(0, 0, 0).abs().max().item()


def _exact_products(trace: Trace) -> bool:
    return all("tf32" not in value and value != "True" for value in trace.engine.precision.values())


def assert_engine_agrees(trace: Trace) -> None:
    """Every number that the engine shows is the manual one, NaN beside NaN and infinity beside infinity."""
    allowed = allowance(trace)
    for layer in trace.layers:
        at = f"h of layer {layer.layer} {layer.direction}"
        _assert_close(layer.quantities["h"], layer.engine["h"], allowed, at)
        assert layer.max_abs_difference <= allowed, at
    pairs = {"output": trace.output, "h_n": trace.h_n, "c_n": trace.c_n, "head": trace.head}
    for name, pair in pairs.items():
        if pair is not None:
            # c and the head's sum are not squashed as h is.
            wider = max(1.0, _largest(pair.manual))
            _assert_close(pair.manual, pair.engine, allowed * wider, name)


def _assert_close(manual: torch.Tensor, engine: torch.Tensor, allowed: float, what: str) -> None:
    torch.testing.assert_close(
        manual.double(), engine.double(), rtol=0, atol=allowed, equal_nan=True, msg=lambda text: f"{what}: {text}"
    )


@st.composite
def specs(draw: st.DrawFn, **fixed: Any) -> Spec:
    """Any network that PyTorch can build, small, with any input, states and lengths; `fixed` keys are kept."""
    cell = fixed.get("cell") or draw(st.sampled_from(["rnn", "lstm", "gru"]))
    hidden_size = draw(st.integers(1, 9))
    steps = draw(st.integers(1, 12))
    batch = draw(st.none() | st.integers(1, 4))
    states = st.sampled_from([None, "randn", "ones", "ramp", "impulse"])
    proj_size = draw(st.integers(0, hidden_size - 1)) if cell == "lstm" else 0
    lengths = st.lists(st.integers(1, steps), min_size=batch or 0, max_size=batch or 0)
    drawn = {
        "cell": cell,
        "input_size": draw(st.integers(1, 6)),
        "hidden_size": hidden_size,
        "num_layers": draw(st.integers(1, 3)),
        "nonlinearity": draw(st.sampled_from([None, "tanh", "relu"])) if cell == "rnn" else None,
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "dropout": draw(st.sampled_from([0.0, 0.5])),
        "bidirectional": draw(st.booleans()),
        "proj_size": proj_size,
        "dtype": draw(st.sampled_from(["float16", "bfloat16", "float32", "float64"])),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "head": {"out_features": draw(st.integers(1, 3))} if draw(st.booleans()) else None,
        "input": f"{draw(st.sampled_from(['randn', 'ramp', 'ones', 'zeros', 'impulse', 'sine']))}:{steps}",
        "batch": batch,
        "h0": draw(states),
        "c0": draw(states) if cell == "lstm" else None,
        "lengths": draw(st.none() | lengths) if batch else None,
    }
    return Spec(**drawn | fixed)
