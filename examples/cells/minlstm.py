"""The minimal LSTM (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, arXiv 2410.01201, section 3.2): no gate sees h,
and the forget and input gates are scaled so that they add up to 1. It has no weight_hh and no cell state of its own.

    f  = σ(W_if x + b_if)
    i  = σ(W_ii x + b_ii)
    n  = W_in x + b_in
    d  = f / (f + i)
    h' = d ⊙ h + (1 − d) ⊙ n                         1 − d is i / (f + i)
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V


def minlstm(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    s_f, s_i, n = a.split(wx)
    f = a.sigmoid(s_f)
    i = a.sigmoid(s_i)
    d = f * a.reciprocal(f + i)
    return {"f": f, "i": i, "n": n, "d": d, "h": a.lerp(n, h, d)}


CELL = Cell(
    name="minlstm",
    torch_name="",
    gates=("f", "i", "n"),
    states=("h",),
    quantities=("f", "i", "n", "d", "h"),
    functions=("sigmoid", "reciprocal"),
    step=minlstm,
    is_recurrent=False,
)
