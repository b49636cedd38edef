"""The gated recurrent unit (Cho et al. 2014) in the form that torch.nn.GRU states: r acts after the product.

    r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    n  = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))
    h' = (1 − z) ⊙ n + z ⊙ h

The last line is written n + z ⊙ (h − n): the same number, with one product less.
"""

from __future__ import annotations

from rnnspect.cells.interface import Arithmetic, Cell, V


def gru(a: Arithmetic[V], u: V, h: V) -> dict[str, V]:
    u_r, u_z, u_n = a.split(u)
    v_r, v_z, v_n = a.split(a.hidden(h))
    r = a.sigmoid(u_r + v_r)
    z = a.sigmoid(u_z + v_z)
    n = a.tanh(u_n + r * v_n)
    return {"r": r, "z": z, "n": n, "h": n + z * (h - n)}


CELL = Cell(
    name="gru",
    torch_name="GRU",
    gates=("r", "z", "n"),
    states=("h",),
    quantities=("r", "z", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=gru,
)
