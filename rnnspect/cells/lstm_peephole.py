"""Long short-term memory with peepholes: gates see the cell state (Gers & Schmidhuber 2000), the output gate the new
one.

This is ONNX's LSTM with P, and TensorFlow 1's with `use_peepholes`; torch.nn has none. p is a vector for each gate.

    i  = σ(W_ii x + b_ii + W_hi h + b_hi + p_i ⊙ c)
    f  = σ(W_if x + b_if + W_hf h + b_hf + p_f ⊙ c)
    g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
    c' = f ⊙ c + i ⊙ g
    o  = σ(W_io x + b_io + W_ho h + b_ho + p_o ⊙ c')
    h' = o ⊙ tanh(c')
"""

from __future__ import annotations

from dataclasses import replace

from rnnspect.cells.interface import Arithmetic, V
from rnnspect.cells.lstm import CELL as LSTM


def lstm_peephole(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    s_i, s_f, s_g, s_o = a.gates(wx, h)
    p_i, p_f, p_o = a.peepholes()
    i = a.sigmoid(s_i + p_i * c)
    f = a.sigmoid(s_f + p_f * c)
    g = a.tanh(s_g)
    c = a.carry(f, c, i * g)
    o = a.sigmoid(s_o + p_o * c)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": o * a.squash(c)}


CELL = replace(LSTM, variant="peepholes", peepholes=("i", "f", "o"), step=lstm_peephole, has_projection=False)
