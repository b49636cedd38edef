"""The selective scan of Mamba (Gu & Dao 2023, arXiv 2312.00752, algorithm 2, with the zero-order hold of A and Euler's
rule for B that the code has), after the convolution. Each unit has d_state numbers; Δ, B and C depend on the input.

    u  = W_iu x + b_iu
    d  = softplus(W_id x + b_id + dt_bias)           Δ of the paper
    b  = W_ib x + b_ib
    r  = W_ir x + b_ir                               C of the paper
    S' = exp(−d exp(A_log)) ⊙ S + (d ⊙ u) bᵀ
    h' = S' r + D ⊙ u
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V

STATES = 4


def s6(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    u, s_d, b, r = a.split(wx)
    d = a.softplus(s_d + a.parameter("dt_bias"))
    rate = a.exp(a.parameter("A_log"))
    s = a.carry(a.exp(a.constant("minus") * (a.spread(d, rate) * rate)), c, a.outer(d * u, b))
    return {"u": u, "d": d, "b": b, "r": r, "c": s, "h": a.by_value(s, r) + a.parameter("D") * u}


CELL = Cell(
    name="s6",
    torch_name="",
    gates=("u", "d", "b", "r"),
    states=("h", "c"),
    quantities=("u", "d", "b", "r", "c", "h"),
    functions=("softplus", "exp"),
    step=s6,
    constants=(("d_state", STATES), ("minus", -1.0)),
    parameters=(("A_log", ("hidden_size", "d_state")), ("D", ("hidden_size",)), ("dt_bias", ("hidden_size",))),
    sizes=(("b", ("d_state",)), ("r", ("d_state",))),
    cell_state=(("S", ("hidden_size", "d_state")),),
    is_recurrent=False,
)
