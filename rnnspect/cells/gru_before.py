"""The gated recurrent unit as published (Cho et al. 2014; version 3 of arXiv 1406.1078): reset gate applied before the
matrix product.

This is ONNX's GRU unless `linear_before_reset` is set, and Keras' with `reset_after=False`. It is not torch.nn.GRU,
which is `gru.py`; no choice of weights turns one into the other.

    r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    n  = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)
    h' = (1 − z) ⊙ n + z ⊙ h

The last line is computed as n + z ⊙ (h − n): the same number, with one product less.
"""

from __future__ import annotations

from dataclasses import replace

from rnnspect.cells.gru import CELL as GRU
from rnnspect.cells.interface import Arithmetic, V


def gru_before(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    wx_r, wx_z, wx_n = a.split(wx)
    wh_r, wh_z, _ = a.split(a.hidden(h))
    r = a.sigmoid(wx_r + wh_r)
    z = a.sigmoid(wx_z + wh_z)
    _, _, wh_n = a.split(a.hidden(r * h))
    n = a.tanh(wx_n + wh_n)
    return {"r": r, "z": z, "n": n, "h": a.lerp(n, h, z)}


CELL = replace(GRU, variant="reset before", step=gru_before, mixes=True)
