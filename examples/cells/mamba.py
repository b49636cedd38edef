"""A block of Mamba (Gu & Dao 2023, arXiv 2312.00752, figure 3, and algorithm 2 as in s6.py): a causal convolution of
each unit over four steps, the selective scan, and a gate. v1, v2 and v3 keep the convolution's inputs of the last three
steps; w0 is for the step itself. The norm and the residual around the block are left out.

    v  = W_iv x + b_iv
    z  = W_iz x + b_iz
    u  = silu(w0 ⊙ v + w1 ⊙ v1 + w2 ⊙ v2 + w3 ⊙ v3 + conv_bias)
    d  = softplus(dt_up dt_down u + dt_bias)
    S' = exp(−d exp(A_log)) ⊙ S + (d ⊙ u) (B u)ᵀ
    h' = out ((S' C u + D ⊙ u) ⊙ silu(z))
    v1', v2', v3' = v, v1, v2
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V

INNER, STATES, RANK = 8, 4, 2


def mamba(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    v, z = a.split(wx)
    v1, v2, v3, s = a.blocks(c)
    w0, w1, w2, w3 = (a.parameter(f"w{back}") for back in range(4))
    u = a.silu(w0 * v + w1 * v1 + w2 * v2 + w3 * v3 + a.parameter("conv_bias"))
    low, b, r = (a.by_value(a.parameter(name), u) for name in ("dt_down", "B", "C"))
    d, rate = a.softplus(a.by_value(a.parameter("dt_up"), low) + a.parameter("dt_bias")), a.exp(a.parameter("A_log"))
    s = a.carry(a.exp(a.constant("minus") * (a.spread(d, rate) * rate)), s, a.outer(d * u, b))
    y = (a.by_value(s, r) + a.parameter("D") * u) * a.silu(z)
    return {"v": v, "z": z, "u": u, "d": d, "c": a.packed(v, v1, v2, s), "h": a.by_value(a.parameter("out"), y)}


CELL = Cell(
    name="mamba",
    torch_name="",
    gates=("v", "z"),
    states=("h", "c"),
    quantities=("v", "z", "u", "d", "c", "h"),
    functions=("silu", "softplus", "exp"),
    step=mamba,
    constants=(("inner", INNER), ("n", STATES), ("rank", RANK), ("minus", -1.0)),
    parameters=(
        *((name, ("inner",)) for name in ("w0", "w1", "w2", "w3", "conv_bias", "dt_bias", "D")),
        *(("dt_up", ("inner", "rank")), ("dt_down", ("rank", "inner")), ("out", ("hidden_size", "inner"))),
        *(("B", ("n", "inner")), ("C", ("n", "inner")), ("A_log", ("inner", "n"))),
    ),
    sizes=(("v", ("inner",)), ("z", ("inner",))),
    cell_state=(*((name, ("inner",)) for name in ("v1", "v2", "v3")), ("S", ("inner", "n"))),
    is_recurrent=False,
)
