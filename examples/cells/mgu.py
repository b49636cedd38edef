"""The minimal gated unit (Zhou, Wu, Zhang & Zhou 2016, arXiv 1603.09420, equations 3 to 5): a GRU with one gate, f.

f  = σ(W_if x + b_if + W_hf h + b_hf)
n  = tanh(W_in x + b_in + W_hn (f ⊙ h) + b_hn)
h' = (1 − f) ⊙ h + f ⊙ n
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V


def mgu(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    wx_f, wx_n = a.split(wx)
    wh_f, _ = a.split(a.hidden(h))
    f = a.sigmoid(wx_f + wh_f)
    _, wh_n = a.split(a.hidden(f * h))
    n = a.tanh(wx_n + wh_n)
    return {"f": f, "n": n, "h": a.lerp(h, n, f)}


CELL = Cell(
    name="mgu",
    torch_name="",
    gates=("f", "n"),
    states=("h",),
    quantities=("f", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=mgu,
    mixes=True,
)
