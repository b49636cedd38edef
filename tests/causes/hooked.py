"""Whole stacks as plain numpy loops in float32, whose products and functions can be others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import rnnspect
from rnnspect import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

ONE = np.float32(1)
ROWS = {"rnn": 1, "gru": 3, "lstm": 4}


def product(v: Array, w: Array) -> Array:
    return v @ w.T


def sigmoid(s: Array) -> Array:
    return ONE / (ONE + np.exp(-s))


def tanh(s: Array) -> Array:
    return np.tanh(s)


@dataclass(frozen=True)
class Hooks:
    """`of_x` is the product with x, `of_h` that with h."""

    of_x: Callable[[Array, Array], Array] = product
    of_h: Callable[[Array, Array], Array] = product
    sigmoid: Callable[[Array], Array] = sigmoid
    tanh: Callable[[Array], Array] = tanh


def run(kind: str, p: dict[str, Array], x: Array, h: Array, c: Array, reverse: bool, hooks: Hooks) -> Array:
    """x (T, B, I), h and c (B, H) -> h (T, B, H); parameters by the names of torch.nn, without their ends."""
    out = np.zeros((*x.shape[:2], h.shape[1]), np.float32)
    for t in range(len(x))[:: -1 if reverse else 1]:
        u = np.split(hooks.of_x(x[t], p["weight_ih"]) + p["bias_ih"], ROWS[kind], -1)
        v = np.split(hooks.of_h(h, p["weight_hh"]) + p["bias_hh"], ROWS[kind], -1)
        if kind == "rnn":
            h = hooks.tanh(u[0] + v[0])
        elif kind == "gru":
            r, z = hooks.sigmoid(u[0] + v[0]), hooks.sigmoid(u[1] + v[1])
            n = hooks.tanh(u[2] + r * v[2])
            h = (ONE - z) * n + z * h
        else:
            i, f, o = (hooks.sigmoid(u[at] + v[at]) for at in (0, 1, 3))
            c = f * c + i * hooks.tanh(u[2] + v[2])
            h = o * hooks.tanh(c)
        out[t] = h
    return out


class Network:
    """A spec with its parameters, and what runs of it start from."""

    def __init__(
        self, kind: str, layers: int = 1, directions: int = 1, size: int = 8, steps: int = 12, batch: int = 3,
        scale: float = 0.7,
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(layers + 2 * directions)
        self.kind, self.ends = kind, ["", "_reverse"][:directions]
        self.p: dict[str, dict[str, Array]] = {}
        for layer in range(layers):
            shapes = {"weight_ih": (size, 5 if layer == 0 else size * directions), "weight_hh": (size, size)}
            shapes |= {"bias_ih": (size,), "bias_hh": (size,)}
            for end in self.ends:
                self.p[f"_l{layer}{end}"] = {
                    name: rng.uniform(-scale, scale, (ROWS[kind] * shape[0], *shape[1:])).astype(np.float32)
                    for name, shape in shapes.items()
                }
        self.x = rng.standard_normal((steps, batch, 5)).astype(np.float32)
        self.states = rng.uniform(-0.9, 0.9, (2, layers * directions, batch, size)).astype(np.float32)
        weights: Any = {name + end: v.tolist() for end, p in self.p.items() for name, v in p.items()}
        self.spec = Spec(
            cell=kind, input_size=5, hidden_size=size, num_layers=layers, bidirectional=directions == 2,
            batch_first=False, weights=weights,
        )  # fmt: skip

    def recorded(self, hooks: Hooks, change: Callable[[str, Array], Array] = lambda _name, v: v) -> dict[str, Array]:
        """What every layer gave, (B, T, H), with each parameter changed."""
        x, found = self.x, {}
        for layer in range(self.spec.num_layers):
            outputs = []
            for at, end in enumerate(self.ends, layer * len(self.ends)):
                p = {name: change(name, v) for name, v in self.p[f"_l{layer}{end}"].items()}
                h = run(self.kind, p, x, *self.states[:, at], bool(end), hooks)
                found[f"l{layer}.{'reverse' if end else 'forward'}.h"] = np.ascontiguousarray(h.transpose(1, 0, 2))
                outputs.append(h)
            x = np.concatenate(outputs, -1)
        return found

    def check(self, recorded: dict[str, Array]) -> rnnspect.Verdict:
        states = self.states if self.kind == "lstm" else self.states[:1]
        return rnnspect.check(self.spec, self.x, *states, recorded=recorded)
