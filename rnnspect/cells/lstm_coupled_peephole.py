"""Long short-term memory with peepholes and with coupled input and forget gates: f has no parameters.

This is ONNX's LSTM with both P and `input_forget`; torch.nn has none. p is a vector for each gate.

    i  = σ(W_ii x + b_ii + W_hi h + b_hi + p_i ⊙ c)
    f  = 1 − i
    g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
    c' = f ⊙ c + i ⊙ g
    o  = σ(W_io x + b_io + W_ho h + b_ho + p_o ⊙ c')
    h' = o ⊙ tanh(c')
"""

from __future__ import annotations

from dataclasses import replace

from rnnspect.cells.interface import Arithmetic, V
from rnnspect.cells.lstm_coupled import CELL as COUPLED


def lstm_coupled_peephole(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    s_i, s_g, s_o = a.gates(wx, h)
    p_i, p_o = a.peepholes()
    i = a.sigmoid(s_i + p_i * c)
    f = a.rest(i)
    g = a.tanh(s_g)
    c = a.carry(f, c, i * g)
    o = a.sigmoid(s_o + p_o * c)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": o * a.squash(c)}


CELL = replace(COUPLED, variant="coupled, peepholes", peepholes=("i", "o"), step=lstm_coupled_peephole)
