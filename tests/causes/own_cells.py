"""Cells of one's own that mistakes are planted in."""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.engines.own.loading import load_cell

OWN = ("hidden_size",)
MINGRU = load_cell("examples/cells/mingru.py:mingru")
MAMBA = load_cell("examples/cells/mamba.py:mamba")
NORMED = load_cell("examples/cells/layer_norm_lstm.py:layer_norm_lstm")


def decaying(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    s_d, n, s_o = a.split(wx)
    d = a.softplus(s_d + a.parameter("dt_bias"))
    k = a.exp(a.constant("minus") * (a.exp(a.parameter("A_log")) * d))
    o = a.sigmoid(s_o)
    return {"d": d, "n": n, "o": o, "h": k * h + a.constant("scale") * (d * (a.rest(o) * a.tanh(n)))}


DECAYING = Cell(
    name="decaying",
    torch_name="",
    gates=("d", "n", "o"),
    states=("h",),
    quantities=("d", "n", "o", "h"),
    functions=("softplus", "exp", "sigmoid", "tanh"),
    step=decaying,
    parameters=(("A_log", OWN), ("dt_bias", OWN)),
    constants=(("minus", -1.0), ("scale", 0.25)),
    is_recurrent=False,
)


def carrying(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    s_f, s_n, s_o = a.split(wx)
    f, n, o = a.sigmoid(s_f), a.tanh(s_n), a.sigmoid(s_o)
    c = a.carry(f, c, a.rest(f) * n)
    return {"f": f, "n": n, "o": o, "c": c, "h": o * c}


CARRYING = Cell(
    name="carrying",
    torch_name="",
    gates=("f", "n", "o"),
    states=("h", "c"),
    quantities=("f", "n", "o", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=carrying,
    is_recurrent=False,
)


def softmax(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    """The mean of n over all steps, weighted with exp(s) and decayed: sums w and v relative to the largest weight."""
    s, s_f, n = a.split(wx)
    w, v, m = a.blocks(c)
    kept = m - a.softplus(s_f)
    top = a.maximum(kept, s)
    f, i = a.exp(kept - top), a.exp(s - top)
    w, v = a.carry(f, w, i), a.carry(f, v, i * n)
    return {"s": s, "f": f, "n": n, "c": a.packed(w, v, top), "h": v * a.reciprocal(w)}


SOFTMAX = Cell(
    name="softmax",
    torch_name="",
    gates=("s", "f", "n"),
    states=("h", "c"),
    quantities=("s", "f", "n", "c", "h"),
    functions=("softplus", "exp", "reciprocal"),
    step=softmax,
    cell_state=(("w", OWN), ("v", OWN), ("m", OWN)),
    is_recurrent=False,
)


def reading(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    s_f, v, q = a.split(wx)
    f = a.sigmoid(s_f)
    c = a.carry(f, c, v)
    return {"f": f, "v": v, "q": q, "c": c, "h": q * c}


READING = Cell(
    name="reading",
    torch_name="",
    gates=("f", "v", "q"),
    states=("h", "c"),
    quantities=("f", "v", "q", "c", "h"),
    functions=("sigmoid",),
    step=reading,
    is_recurrent=False,
    has_projection_of_x=False,
)
"""A linear attention of one number a head: of zeros for x its h is exactly 0, whatever c is."""
