"""ONNX's operators RNN, GRU and LSTM once more, from the text of the operators: a numpy loop over steps.

Gates are named and packed as in torch.nn (a coupled LSTM has no rows for f). In float64 it is the reference; in
float32 it is an engine that rounds after every operation.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

Array = np.ndarray
DEFAULTS = {"affine": (1, 0), "leaky_relu": (0.01,), "thresholded_relu": (1,), "scaled_tanh": (1, 1)}
DEFAULTS |= {"hard_sigmoid": (0.2, 0.5), "elu": (1,)}


def activation(written: str, clip: float | None, kind: type) -> Any:
    name, _, rest = written.partition("(")
    said = [float(n) for n in re.findall(r"[-+.e\d]+", rest)]
    a, b = ([kind(n) for n in (*said, *DEFAULTS.get(name, ())[len(said) :])] + [kind(0), kind(0)])[:2]
    one, zero = kind(1), kind(0)
    table = {
        "sigmoid": lambda x: one / (one + np.exp(-x)),
        "tanh": np.tanh,
        "relu": lambda x: np.maximum(x, zero),
        "affine": lambda x: a * x + b,
        "leaky_relu": lambda x: np.where(x >= 0, x, a * x),
        "thresholded_relu": lambda x: np.where(x > a, x, zero),
        "scaled_tanh": lambda x: a * np.tanh(b * x),
        "hard_sigmoid": lambda x: np.minimum(np.maximum(a * x + b, zero), one),
        "elu": lambda x: np.where(x >= 0, x, a * (np.exp(np.minimum(x, zero)) - one)),
        "softsign": lambda x: x / (one + np.abs(x)),
        "softplus": lambda x: np.log(one + np.exp(x)),
    }

    def function(x: Array) -> Array:
        with np.errstate(over="ignore"):  # σ of what is far below zero is 0
            found: Array = table[name](x if clip is None else np.clip(x, kind(-clip), kind(clip)))
        return found

    return function


def run(spec: Any, parameters: dict[str, Array], x: Array, h0: Array, c0: Array | None, kind: type, fault: str = ""):
    """x (T, B, I), h0 and c0 (D, B, H) -> by direction every quantity (T, B, H), by step of the input."""
    found: dict[str, dict[str, Array]] = {}
    for d, direction in enumerate(spec.directions):
        end = "_l0_reverse" if direction == "reverse" else "_l0"
        p = {name.removesuffix(end): v.astype(kind) for name, v in parameters.items() if name.endswith(end)}
        usual = {"rnn": [spec.nonlinearity or "tanh"], "gru": ["sigmoid", "tanh"], "lstm": ["sigmoid", "tanh", "tanh"]}
        written = list(spec.activations or usual[spec.cell])
        n = len(usual[spec.cell])
        written = written[n:] if direction == "reverse" and len(written) > n else written[:n]
        f = [activation(w, spec.clip, kind) for w in written]
        h, c = h0[d].astype(kind), None if c0 is None else c0[d].astype(kind)
        steps = range(len(x))[::-1] if direction == "reverse" else range(len(x))
        out: list[dict[str, Array]] = []
        for t in steps:
            q = _step(spec, p, f, x[t].astype(kind), h, c, kind, fault)
            h, c = q["h"], q.get("c")
            out.append(q)
        out = out[::-1] if direction == "reverse" else out
        found[direction] = {name: np.stack([q[name] for q in out]) for name in out[0]}
    return found


def _step(spec: Any, p: dict[str, Array], f: list[Any], x: Array, h: Array, c: Array | None, kind: type, fault: str):
    zero = np.zeros(len(p["weight_ih"]), kind)
    b_ih, b_hh = p.get("bias_ih", zero), p.get("bias_hh", zero)
    one, size = kind(1), h.shape[1]

    def part(gate: int, state: Array = h) -> tuple[Array, Array]:
        rows = slice(gate * size, (gate + 1) * size)
        return x @ p["weight_ih"][rows].T + b_ih[rows], state @ p["weight_hh"][rows].T + b_hh[rows]

    if spec.cell == "rnn":
        return {"h": f[0](sum(part(0)))}
    if spec.cell == "gru":
        r, z = f[0](sum(part(0))), f[0](sum(part(1)))
        before = (spec.reset == "before") != (fault == "reset")
        from_x, from_h = part(2, r * h) if before else part(2)
        n = f[1](from_x + from_h) if before else f[1](from_x + r * from_h)
        return {"r": r, "z": z, "n": n, "h": (one - z) * n + z * h}
    assert c is not None
    looks = p.get("weight_ch", np.zeros(3 * size, kind)).reshape(-1, size)
    if fault == "peepholes":
        looks = looks * kind(0)
    p_i, p_o = looks[0], looks[-1]
    i = f[0](sum(part(0)) + p_i * c)
    if spec.input_forget and fault != "coupled":
        fg, g = one - i, f[1](sum(part(1)))
    elif spec.input_forget:
        fg, g = i, f[1](sum(part(1)))
    else:
        fg, g = f[0](sum(part(1)) + (looks[1] if len(looks) == 3 else 0) * c), f[1](sum(part(2)))
    new = fg * c + i * g
    seen = c if fault == "old c" else new
    o = f[0](sum(part(2 if spec.input_forget else 3)) + p_o * seen)
    return {"i": i, "f": fg, "g": g, "o": o, "c": new, "h": o * (np.tanh(new) if fault == "squash" else f[2](new))}
