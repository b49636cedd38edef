"""Long short-term memory with coupled input and forget gates, "CIFG" (Greff et al. 2017): f has no parameters.

This is ONNX's LSTM with `input_forget`; torch.nn has none.

    i  = σ(W_ii x + b_ii + W_hi h + b_hi)
    f  = 1 − i
    g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
    o  = σ(W_io x + b_io + W_ho h + b_ho)
    c' = f ⊙ c + i ⊙ g
    h' = o ⊙ tanh(c')
"""

from __future__ import annotations

from dataclasses import replace

from rnnspect.cells.interface import Arithmetic, V
from rnnspect.cells.lstm import CELL as LSTM


def lstm_coupled(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    s_i, s_g, s_o = a.gates(wx, h)
    i = a.sigmoid(s_i)
    f = a.rest(i)
    g = a.tanh(s_g)
    o = a.sigmoid(s_o)
    c = a.carry(f, c, i * g)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": o * a.squash(c)}


CELL = replace(LSTM, variant="coupled", gates=("i", "g", "o"), step=lstm_coupled, has_projection=False)
