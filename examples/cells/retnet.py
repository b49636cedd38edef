"""Retention of RetNet (Sun, Dong, Huang, Ma, Xia, Xue, Wang & Wei 2023, arXiv 2307.08621, equations 5 and 6), without
the rotation of queries and keys and without the normalisation of what is read. Each head has a matrix S, a row for
each key and a column for each value, and a decay of its own that does not depend on the input.

    γ  = σ(theta)                                    the paper's: 1 − 2^(−5 − head)
    q  = W_iq x + b_iq
    k  = W_ik x + b_ik
    v  = W_iv x + b_iv
    S' = γ S + k vᵀ
    h' = S'ᵀ q
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V

HEADS, KEYS = 2, 3


def retnet(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    q, k, v = a.split(wx)
    kv = a.outer(k, v, HEADS)
    s = a.carry(a.spread(a.sigmoid(a.parameter("theta")), kv), c, kv)
    return {"q": q, "k": k, "v": v, "c": s, "h": a.by_key(s, q, HEADS)}


CELL = Cell(
    name="retnet",
    torch_name="",
    gates=("q", "k", "v"),
    states=("h", "c"),
    quantities=("q", "k", "v", "c", "h"),
    functions=("sigmoid",),
    step=retnet,
    constants=(("heads", HEADS), ("d_k", KEYS)),
    parameters=(("theta", ("heads",)),),
    sizes=(("q", ("heads", "d_k")), ("k", ("heads", "d_k"))),
    cell_state=(("S", ("heads", "d_k", "hidden_size/heads")),),
    is_recurrent=False,
)
