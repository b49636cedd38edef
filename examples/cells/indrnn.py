"""The independently recurrent network (Li, Li, Cook, Zhu & Gao 2018, arXiv 1803.04831, equation 3): no unit sees
another one's state, so that u is a vector, in files u_l0. It has no weight_hh.

    h' = φ(W_ih x + b_ih + u ⊙ h)                    φ is tanh or relu; the paper's is relu
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V


def indrnn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    (s,) = a.split(wx)
    return {"h": a.phi(s + a.parameter("u") * h)}


CELL = Cell(
    name="indrnn",
    torch_name="",
    gates=("h",),
    states=("h",),
    quantities=("h",),
    functions=("phi",),
    step=indrnn,
    has_nonlinearity=True,
    parameters=(("u", ("hidden_size",)),),
    is_recurrent=False,
)
