"""mLSTM of xLSTM (Beck et al. 2024, arXiv 2405.04517, section 2.3), stabilised: each head has a matrix S, a row for
each key, with an exponential input gate, a normaliser n and a stabiliser m. No gate sees h.

    q  = W_iq x + b_iq
    k  = (W_ik x + b_ik) / √d_k
    v  = W_iv x + b_iv
    o  = σ(W_io x + b_io)
    m' = max(log σ(W_if x + b_if) + m, W_ii x + b_ii)
    i  = exp(W_ii x + b_ii − m')
    f  = exp(log σ(W_if x + b_if) + m − m')
    S' = f S + i k vᵀ
    n' = f n + i k
    h' = o ⊙ (S'ᵀ q) / max(|n'·q|, exp(−m'))
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V

HEADS, KEYS = 2, 4


def mlstm(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    q, s_k, v, s_i, s_f, s_o = a.split(wx)
    s, n, m = a.blocks(c)
    k, o = a.constant("scale") * s_k, a.sigmoid(s_o)
    kept = m - a.softplus(a.constant("minus") * s_f)
    m = a.maximum(kept, s_i)
    i, f = a.exp(s_i - m), a.exp(kept - m)
    s = a.carry(a.spread(f, s), s, a.outer(a.spread(i, k) * k, v, HEADS))
    n = a.carry(a.spread(f, n), n, a.spread(i, k) * k)
    read, size = a.by_key(s, q, HEADS), a.by_key(n, q, HEADS)
    size = a.maximum(a.maximum(size, a.constant("minus") * size), a.exp(a.constant("minus") * m))
    h = o * (read * a.spread(a.reciprocal(size), read))
    return {"q": q, "k": k, "v": v, "i": i, "f": f, "o": o, "c": a.packed(s, n, m), "h": h}


CELL = Cell(
    name="mlstm",
    torch_name="",
    gates=("q", "k", "v", "i", "f", "o"),
    states=("h", "c"),
    quantities=("q", "k", "v", "i", "f", "o", "c", "h"),
    functions=("sigmoid", "softplus", "exp", "reciprocal"),
    step=mlstm,
    constants=(("heads", HEADS), ("d_k", KEYS), ("minus", -1.0), ("scale", KEYS**-0.5)),
    sizes=(("q", ("heads", "d_k")), ("k", ("heads", "d_k")), ("i", ("heads",)), ("f", ("heads",))),
    cell_state=(("S", ("heads", "d_k", "hidden_size/heads")), ("n", ("heads", "d_k")), ("m", ("heads",))),
    is_recurrent=False,
)
