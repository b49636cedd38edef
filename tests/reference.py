"""Recurrent networks once more, from the textbook equations: Python loops over numpy float64, one item at a time.

Slow on purpose. Every sum is `math.fsum`, every item of a batch runs alone, a reverse direction runs the reversed
list. Nothing here comes from the package, so that nothing there can be wrong in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

Vector = list[float]
Step = dict[str, Vector]


@dataclass
class Reference:
    """Quantities (B, T, units) by (layer, direction), NaN beyond an item's length; output and final states."""

    layers: dict[tuple[int, str], dict[str, np.ndarray]] = field(default_factory=dict)
    output: np.ndarray = field(default_factory=lambda: np.zeros(0))
    h_n: np.ndarray = field(default_factory=lambda: np.zeros(0))
    c_n: np.ndarray | None = None


class Weights:
    """The parameters of one layer and direction as rows of numbers, by the names of torch.nn."""

    def __init__(self, parameters: dict[str, np.ndarray], layer: int, direction: str) -> None:
        end = f"_l{layer}" + ("_reverse" if direction == "reverse" else "")
        rows = {
            name.removesuffix(end): p.astype(float).tolist() for name, p in parameters.items() if name.endswith(end)
        }
        self.ih, self.hh, self.hr = rows["weight_ih"], rows["weight_hh"], rows.get("weight_hr")
        self.b_ih = rows.get("bias_ih", [0.0] * len(self.ih))
        self.b_hh = rows.get("bias_hh", [0.0] * len(self.hh))

    def from_x(self, row: int, x: Vector) -> float:
        return math.fsum([*(w * v for w, v in zip(self.ih[row], x, strict=True)), self.b_ih[row]])

    def from_h(self, row: int, h: Vector) -> float:
        return math.fsum([*(w * v for w, v in zip(self.hh[row], h, strict=True)), self.b_hh[row]])


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))


def rnn_tanh(w: Weights, x: Vector, h: Vector, c: Vector) -> Step:
    return {"h": [math.tanh(w.from_x(j, x) + w.from_h(j, h)) for j in range(len(h))]}


def rnn_relu(w: Weights, x: Vector, h: Vector, c: Vector) -> Step:
    return {"h": [max(0.0, w.from_x(j, x) + w.from_h(j, h)) for j in range(len(h))]}


def lstm(w: Weights, x: Vector, h: Vector, c: Vector) -> Step:
    """Rows of the packed weights: input gate, forget gate, candidate, output gate (torch.nn.LSTM)."""
    units = len(c)
    a = [w.from_x(row, x) + w.from_h(row, h) for row in range(4 * units)]
    i = [sigmoid(a[0 * units + j]) for j in range(units)]
    f = [sigmoid(a[1 * units + j]) for j in range(units)]
    g = [math.tanh(a[2 * units + j]) for j in range(units)]
    o = [sigmoid(a[3 * units + j]) for j in range(units)]
    c = [f[j] * c[j] + i[j] * g[j] for j in range(units)]
    h = [o[j] * math.tanh(c[j]) for j in range(units)]
    if w.hr is not None:
        h = [math.fsum(w.hr[p][j] * h[j] for j in range(units)) for p in range(len(w.hr))]
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}


def gru(w: Weights, x: Vector, h: Vector, c: Vector) -> Step:
    """Rows of the packed weights: reset gate, update gate, candidate (torch.nn.GRU)."""
    units = len(h)
    r = [sigmoid(w.from_x(j, x) + w.from_h(j, h)) for j in range(units)]
    z = [sigmoid(w.from_x(units + j, x) + w.from_h(units + j, h)) for j in range(units)]
    n = [math.tanh(w.from_x(2 * units + j, x) + r[j] * w.from_h(2 * units + j, h)) for j in range(units)]
    return {"r": r, "z": z, "n": n, "h": [(1 - z[j]) * n[j] + z[j] * h[j] for j in range(units)]}


STEPS = {"rnn": rnn_tanh, "relu": rnn_relu, "lstm": lstm, "gru": gru}


def reference(
    cell: str,
    parameters: dict[str, np.ndarray],
    x: np.ndarray,
    h0: np.ndarray,
    c0: np.ndarray | None = None,
    lengths: tuple[int, ...] | None = None,
    *,
    bidirectional: bool = False,
) -> Reference:
    """x (B, T, I), h0 (L·D, B, P), c0 (L·D, B, H); `cell` is rnn, relu, lstm or gru."""
    batch, steps, _ = x.shape
    found = Reference()
    directions = ("forward", "reverse") if bidirectional else ("forward",)
    lengths = lengths or (steps,) * batch
    items = [x[b, : lengths[b]].astype(float).tolist() for b in range(batch)]
    finals: list[list[Step]] = []
    for layer in range(len(h0) // len(directions)):
        runs: list[list[list[Step]]] = []
        for d, direction in enumerate(directions):
            weights, row = Weights(parameters, layer, direction), layer * len(directions) + d
            run = [
                _one(cell, weights, item, h0[row, b].tolist(), [] if c0 is None else c0[row, b].tolist(), direction)
                for b, item in enumerate(items)
            ]
            finals.append([item[0 if direction == "reverse" else -1] for item in run])
            found.layers[layer, direction] = _padded(run, steps)
            runs.append(run)
        items = [[[value for run in runs for value in run[b][t]["h"]] for t in range(lengths[b])] for b in range(batch)]
    found.output = np.zeros((batch, steps, len(items[0][0])))
    for b, item in enumerate(items):
        found.output[b, : lengths[b]] = item
    found.h_n = np.array([[step["h"] for step in row] for row in finals])
    found.c_n = None if c0 is None else np.array([[step["c"] for step in row] for row in finals])
    return found


def _one(cell: str, weights: Weights, x: list[Vector], h: Vector, c: Vector, direction: str) -> list[Step]:
    """Every step of one item, in the order of the input."""
    done: list[Step] = []
    for x_t in x[::-1] if direction == "reverse" else x:
        step = STEPS[cell](weights, x_t, h, c)
        h, c = step["h"], step.get("c", [])
        projection = [weights.from_x(row, x_t) for row in range(len(weights.ih))]
        done.append({"x": x_t, "input_projection": projection, **step})
    return done[::-1] if direction == "reverse" else done


def _padded(run: list[list[Step]], steps: int) -> dict[str, np.ndarray]:
    padded = {name: np.full((len(run), steps, len(values)), np.nan) for name, values in run[0][0].items()}
    for b, item in enumerate(run):
        for t, step in enumerate(item):
            for name, values in step.items():
                padded[name][b, t] = values
    return padded
