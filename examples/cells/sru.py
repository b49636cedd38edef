"""The simple recurrent unit (Lei, Zhang, Wang, Dai & Artzi 2018, arXiv 1709.02755, section 2): gates see no more of the
state than their own unit's, so that v_f and v_r are vectors. It has no weight_hh. W_ik x stands for x where the sizes
differ, as in the authors' code.

    n  = W_in x + b_in
    f  = σ(W_if x + b_if + v_f ⊙ c)
    r  = σ(W_ir x + b_ir + v_r ⊙ c)
    k  = W_ik x + b_ik
    c' = f ⊙ c + (1 − f) ⊙ n
    h' = r ⊙ c' + (1 − r) ⊙ k
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V


def sru(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    n, s_f, s_r, k = a.split(wx)
    f = a.sigmoid(s_f + a.parameter("v_f") * c)
    r = a.sigmoid(s_r + a.parameter("v_r") * c)
    c = a.lerp(n, c, f)
    return {"n": n, "f": f, "r": r, "k": k, "c": c, "h": a.lerp(k, c, r)}


CELL = Cell(
    name="sru",
    torch_name="",
    gates=("n", "f", "r", "k"),
    states=("h", "c"),
    quantities=("n", "f", "r", "k", "c", "h"),
    functions=("sigmoid",),
    step=sru,
    parameters=(("v_f", ("hidden_size",)), ("v_r", ("hidden_size",))),
    is_recurrent=False,
)
