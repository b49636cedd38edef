"""The LSTM with layer normalisation (Ba, Kiros & Hinton 2016, arXiv 1607.06450, equations 20 to 22). The products of
all four gates are normalised together, so that the gains and the shift have a row for each gate.

    s  = gain_x ⊙ norm(W_ih x + b_ih) + gain_h ⊙ norm(W_hh h + b_hh) + shift
    i, f, g, o = σ(s_i), σ(s_f), tanh(s_g), σ(s_o)
    c' = f ⊙ c + i ⊙ g
    h' = o ⊙ tanh(gain_c ⊙ norm(c') + shift_c)
    norm(v) = (v − mean v) / √(mean (v − mean v)² + ε)
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V


def layer_norm_lstm(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    x, y = a.norm(a.split(wx), "eps"), a.norm(a.split(a.hidden(h)), "eps")
    gain_x, gain_h, shift = (a.split(a.parameter(name)) for name in ("gain_x", "gain_h", "shift"))
    s_i, s_f, s_g, s_o = (gain_x[k] * x[k] + gain_h[k] * y[k] + shift[k] for k in range(4))
    i, f, g, o = a.sigmoid(s_i), a.sigmoid(s_f), a.tanh(s_g), a.sigmoid(s_o)
    c = a.carry(f, c, i * g)
    m = a.tanh(a.parameter("gain_c") * a.norm(c, "eps") + a.parameter("shift_c"))
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": o * m}


CELL = Cell(
    name="layer_norm_lstm",
    torch_name="",
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    quantities=("i", "f", "g", "o", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=layer_norm_lstm,
    parameters=(
        *((name, (4, "hidden_size")) for name in ("gain_x", "gain_h", "shift")),
        *((name, ("hidden_size",)) for name in ("gain_c", "shift_c")),
    ),
    constants=(("eps", 1e-5),),
    mixes=True,
)
