"""One layer and direction in float64, written in numpy from the equations: what a framework is held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rnnspect.network.parameters import LayerParameters
from rnnspect.weights.layouts import FORMS

B, T, I, H = 2, 4, 3, 5  # noqa: E741 - the field's letters
TOLERANCE = 2e-6
"""float32: some twenty roundings (2⁻²⁴ each) of numbers below 4 on the way to an h below 1, over four steps.
Relative to the largest h where it is above 1 (relu)."""
NOTICED = 1e-3
"""What a mistake in a layout changes at least, with biases and states that are random and not small."""


def parameters(form: str, *, seed: int = 0, width: int = I) -> LayerParameters:
    """Random, all of them, in float32."""
    drawn = torch.Generator().manual_seed(seed)
    rows = len(FORMS[form]) * H

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=drawn) * 0.5

    return LayerParameters(some(rows, width), some(rows, H), some(rows), some(rows), None)


def sequence(seed: int = 1, width: int = I) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (B, T, I), h0 and c0 (B, H) in float32."""
    draw = np.random.default_rng(seed)
    return tuple(draw.normal(size=shape).astype(np.float32) for shape in [(B, T, width), (B, H), (B, H)])  # type: ignore[return-value]


def run(
    form: str, p: LayerParameters, x: np.ndarray, h: np.ndarray, c: np.ndarray, *, relu: bool = False
) -> np.ndarray:
    """h of every step, (B, T, H)."""
    named: dict[str, Any] = {"W": p.weight_ih, "U": p.weight_hh, "b": p.bias_ih, "d": p.bias_hh}
    gates = FORMS[form]
    rows = len(gates) * H
    zeros = np.zeros(rows)
    W, U, b, d = (zeros if value is None else value.double().numpy() for value in named.values())
    rows_of = {gate: slice(at * H, (at + 1) * H) for at, gate in enumerate(gates)}
    h, c, found = h.astype(float), c.astype(float), []

    def u(gate: str, x_t: np.ndarray) -> np.ndarray:
        return x_t @ W[rows_of[gate]].T + b[rows_of[gate]]

    def v(gate: str, h: np.ndarray) -> np.ndarray:
        return h @ U[rows_of[gate]].T + d[rows_of[gate]]

    for x_t in x.astype(float).swapaxes(0, 1):
        if form == "rnn":
            s = u("h", x_t) + v("h", h)
            h = np.maximum(0, s) if relu else np.tanh(s)
        elif form == "lstm":
            i, f, o = (_sigmoid(u(gate, x_t) + v(gate, h)) for gate in "ifo")
            c = f * c + i * np.tanh(u("g", x_t) + v("g", h))
            h = o * np.tanh(c)
        else:
            r, z = (_sigmoid(u(gate, x_t) + v(gate, h)) for gate in "rz")
            n = np.tanh(u("n", x_t) + (r * v("n", h) if form == "gru" else v("n", r * h)))
            h = (1 - z) * n + z * h
        found.append(h)
    return np.stack(found, 1)


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))
