"""The gated delta rule (Yang, Kautz & Hatamizadeh 2024, arXiv 2412.06464, equation 10), with the decay of Mamba 2 as in
fla's naive_recurrent_gated_delta_rule, whose queries and keys are normalised before. Each head has a matrix S, a row
for each key and a column for each value; of what it holds for a key a part β is replaced.

    q  = W_iq x + b_iq
    k  = W_ik x + b_ik
    v  = W_iv x + b_iv
    b  = σ(W_ib x + b_ib)                            β of the paper, of each head
    g  = exp(−exp(A_log) softplus(W_ig x + b_ig + dt_bias))    α of the paper, of each head
    S' = g S + b k (v − (g S)ᵀ k)ᵀ
    h' = S'ᵀ q / √d_k
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V

HEADS, KEYS = 2, 4


def gated_delta(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    q, k, v, s_b, s_g = a.split(wx)
    b = a.sigmoid(s_b)
    rate = a.exp(a.parameter("A_log")) * a.softplus(s_g + a.parameter("dt_bias"))
    g = a.exp(a.constant("minus") * rate)
    s = a.delta(c, g, b, k, v, HEADS)
    return {"q": q, "k": k, "v": v, "b": b, "g": g, "c": s, "h": a.constant("scale") * a.by_key(s, q, HEADS)}


CELL = Cell(
    name="gated_delta",
    torch_name="",
    gates=("q", "k", "v", "b", "g"),
    states=("h", "c"),
    quantities=("q", "k", "v", "b", "g", "c", "h"),
    functions=("sigmoid", "exp", "softplus"),
    step=gated_delta,
    constants=(("heads", HEADS), ("d_k", KEYS), ("minus", -1.0), ("scale", KEYS**-0.5)),
    parameters=(("A_log", ("heads",)), ("dt_bias", ("heads",))),
    sizes=(("q", ("heads", "d_k")), ("k", ("heads", "d_k")), ("b", ("heads",)), ("g", ("heads",))),
    cell_state=(("S", ("heads", "d_k", "hidden_size/heads")),),
    is_recurrent=False,
)
