"""The linear recurrent unit (Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu & De 2023, arXiv 2303.06349, equation 3
and section 3.4): complex decays of which no state sees another. r is the real part of B x and i the imaginary one; c
has the real parts of the state and then the imaginary ones.

    λ  = exp(−exp(nu_log) + i exp(theta_log))
    c' = λ ⊙ c + exp(gamma_log) ⊙ (W_ir x + b_ir + i (W_ii x + b_ii))
    h' = Re((C_re + i C_im) c') + W_id x + b_id
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V

STATES = 6


def lru(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    r, i, d = a.split(wx)
    size = a.exp(a.constant("minus") * a.exp(a.parameter("nu_log")))
    phase, gamma = a.exp(a.parameter("theta_log")), a.exp(a.parameter("gamma_log"))
    b = a.packed(gamma * r, gamma * i)
    c = a.carry_complex(size * a.cos(phase), size * a.sin(phase), c, b)
    re, im = a.blocks(c)
    h = a.by_value(a.parameter("C_re"), re) - a.by_value(a.parameter("C_im"), im) + d
    return {"r": r, "i": i, "d": d, "c": c, "h": h}


CELL = Cell(
    name="lru",
    torch_name="",
    gates=("r", "i", "d"),
    states=("h", "c"),
    quantities=("r", "i", "d", "c", "h"),
    functions=("exp", "cos", "sin"),
    step=lru,
    constants=(("n", STATES), ("minus", -1.0)),
    parameters=(
        *((name, ("n",)) for name in ("nu_log", "theta_log", "gamma_log")),
        *((name, ("hidden_size", "n")) for name in ("C_re", "C_im")),
    ),
    sizes=(("r", ("n",)), ("i", ("n",))),
    cell_state=(("re", ("n",)), ("im", ("n",))),
    is_recurrent=False,
)
