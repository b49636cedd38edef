"""The gated recurrent unit (Cho et al. 2014) as in torch.nn.GRU: reset gate applied after the matrix product.

This is the GRU of PyTorch, cuDNN and Keras' default (`reset_after=True`), ONNX's with `linear_before_reset`, and that
of version 1 of the paper (arXiv 1406.1078). In version 3 r is applied before the product: see `gru_before.py`.
Chung et al. 2014 swap z and 1 − z.

    r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    n  = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))
    h' = (1 − z) ⊙ n + z ⊙ h

The last line is computed as n + z ⊙ (h − n), which is the same with one product less.
"""

from __future__ import annotations

from rnnspect.cells.interface import Arithmetic, Cell, V


def gru(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    wx_r, wx_z, wx_n = a.split(wx)
    wh_r, wh_z, wh_n = a.split(a.hidden(h))
    r = a.sigmoid(wx_r + wh_r)
    z = a.sigmoid(wx_z + wh_z)
    n = a.tanh(wx_n + r * wh_n)
    return {"r": r, "z": z, "n": n, "h": a.lerp(n, h, z)}


CELL = Cell(
    name="gru",
    torch_name="GRU",
    gates=("r", "z", "n"),
    states=("h",),
    quantities=("r", "z", "n", "h"),
    functions=("sigmoid", "tanh"),
    step=gru,
)
