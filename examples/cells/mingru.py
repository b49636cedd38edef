"""The minimal GRU (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, arXiv 2410.01201, section 3.1): neither the gate
nor the candidate sees h, so that all steps can be computed by a parallel scan. It has no weight_hh.

    z  = σ(W_iz x + b_iz)
    n  = W_in x + b_in
    h' = (1 − z) ⊙ h + z ⊙ n
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V


def mingru(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    s_z, n = a.split(wx)
    z = a.sigmoid(s_z)
    return {"z": z, "n": n, "h": a.lerp(h, n, z)}


CELL = Cell(
    name="mingru",
    torch_name="",
    gates=("z", "n"),
    states=("h",),
    quantities=("z", "n", "h"),
    functions=("sigmoid",),
    step=mingru,
    is_recurrent=False,
)
