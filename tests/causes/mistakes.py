"""One layer in plain numpy, float32, one direction, with mistakes written in by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[np.float32]
ONE = np.float32(1)


def sigmoid(v: Array) -> Array:
    return ONE / (ONE + np.exp(-v))


def hard(v: Array) -> Array:
    return np.clip(np.float32(0.2) * v + np.float32(0.5), 0, 1).astype(np.float32)


def hard6(v: Array) -> Array:
    return np.clip(v / np.float32(6) + np.float32(0.5), 0, 1).astype(np.float32)


def relu(v: Array) -> Array:
    return np.maximum(v, 0)


MISTAKES: dict[str, dict[str, Any]] = {
    "bias-dropped": {"b_ih": 0, "b_hh": 0},
    "bias-doubled": {"b_hh": "b_ih"},
    "forget-bias-added": {"forget": 1},
    "forget-bias-missing": {"forget": -1},
    "kernel-transposed": {"w_ih": "T"},
    "recurrent-kernel-transposed": {"w_hh": "T"},
    "kernel-reshaped": {"w_ih": "reshape"},
    "directions-exchanged": {"reverse": True},
    "time-batch-exchanged": {"swap": True},
    "h-c-exchanged": {"exchange": True},
    "state-ignored": {"zero": True},
    "state-not-carried": {"forgetful": True},
    "shifted-by-one": {"late": True},
    "hard-sigmoid": {"sigma": hard},
    "hard-sigmoid of a sixth": {"sigma": hard6},
    "activation-relu": {"tanh": relu},
    "gru-reset-before": {"before": True},
    "gru-mix-flipped": {"flip": True},
    "gru-b_hn-dropped": {"b_hn": 0},
    "gru-b_hn-folded": {"fold": True},
    "gate-order": {"gates": {"lstm": "iofg", "gru": "zrn"}},
}


def layer(kind: str, p: dict[str, Array], x: Array, h0: Array, c0: Array, mistake: dict[str, Any]) -> Array:
    """x (T, B, I), h0 and c0 (B, H) -> h (T, B, H)."""
    if mistake.get("swap"):
        others = np.zeros((x.shape[0], h0.shape[1]), np.float32)
        right = {name: value for name, value in mistake.items() if name != "swap"}
        return layer(kind, p, x.transpose(1, 0, 2), others, others, right).transpose(1, 0, 2)
    names = mistake.get("gates", {}).get(kind) or {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}[kind]
    count = len(names)
    w_ih, w_hh, b_ih, b_hh = (p[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh"))
    b_ih, b_hh = (np.zeros_like(b) if mistake.get(name) == 0 else b for name, b in (("b_ih", b_ih), ("b_hh", b_hh)))
    if mistake.get("b_hh") == "b_ih":
        b_hh = b_ih
    if mistake.get("w_ih") == "T":
        w_ih = np.concatenate([block.T for block in np.split(w_ih, count)])
    if mistake.get("w_hh") == "T":
        w_hh = np.concatenate([block.T for block in np.split(w_hh, count)])
    if mistake.get("w_ih") == "reshape":
        w_ih = np.ascontiguousarray(w_ih).ravel().reshape(w_ih.shape[1], w_ih.shape[0]).T
    h, c = (np.zeros_like(s) if mistake.get("zero") else s for s in (h0, c0))
    if mistake.get("exchange"):
        h, c = c, h
    start, out = (h, c), np.zeros((*x.shape[:2], h.shape[1]), np.float32)
    sigma: Callable[[Array], Array] = mistake.get("sigma", sigmoid)
    tanh: Callable[[Array], Array] = mistake.get("tanh", np.tanh)
    for t in range(len(x))[:: -1 if mistake.get("reverse") else 1]:
        if mistake.get("forgetful"):
            h, c = start
        if mistake.get("late"):
            out[t] = h
        u = dict(zip(names, np.split(x[t] @ w_ih.T + b_ih, count, -1), strict=True))
        v = dict(zip(names, np.split(h @ w_hh.T + b_hh, count, -1), strict=True))
        if kind == "rnn":
            h = tanh(u["h"] + v["h"])
        elif kind == "lstm":
            i, o = sigma(u["i"] + v["i"]), sigma(u["o"] + v["o"])
            f = sigma(u["f"] + v["f"] + np.float32(mistake.get("forget", 0)))
            c = f * c + i * tanh(u["g"] + v["g"])
            h = o * tanh(c)
        else:
            r, z = sigma(u["r"] + v["r"]), sigma(u["z"] + v["z"])
            where = names.index("n")
            w_n, b_n = np.split(w_hh, 3)[where], np.split(b_hh, 3)[where]
            if mistake.get("before"):
                n = tanh(u["n"] + (r * h) @ w_n.T + b_n)
            elif mistake.get("b_hn") == 0:
                n = tanh(u["n"] + r * (h @ w_n.T))
            elif mistake.get("fold"):
                n = tanh(u["n"] + b_n + r * (h @ w_n.T))
            else:
                n = tanh(u["n"] + r * v["n"])
            h = z * n + (ONE - z) * h if mistake.get("flip") else (ONE - z) * n + z * h
        if not mistake.get("late"):
            out[t] = h
    return out
