"""The minimal gated unit (Zhou et al. 2016, arXiv 1603.09420), a GRU with one gate: put your equations in its place.

`rnnspect trace` shows the equations of this text; what is computed is the function `mgu` below.

    f  = σ(W_if x + b_if + W_hf h + b_hf)
    n  = tanh(W_in x + b_in + W_hn (f ⊙ h) + b_hn)
    h' = (1 − f) ⊙ h + f ⊙ n
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnspect.cells import Arithmetic, Cell, V


def mgu(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """One step. wx is W_ih x + b_ih of all gates, h the state of the step before; with states=("h", "c") also c.

    Values know + and *, and `a` has the other operations: a.hidden(h) is W_hh h + b_hh, a.split(…) one block for each
    gate, a.gates(wx, h) both in one; a.sigmoid, a.tanh, a.relu, a.softplus, a.exp, a.log, a.silu, a.reciprocal;
    a.rest(v) is 1 − v, a.lerp(n, h, z) is (1 − z) ⊙ n + z ⊙ h, a.carry(f, c, v) is f ⊙ c + v, a.maximum(v, w) the
    larger one, a.norm(v, "eps") a layer norm and a.rms_norm(v, "eps") an RMS norm. A parameter of its own is
    a.parameter("u"), with parameters=(("u", ("hidden_size",)),) in the Cell; a number a.constant("dt"), with
    constants=(("dt", 0.1),), and so is ε of a norm.
    """
    wx_f, wx_n = a.split(wx)
    wh_f, _ = a.split(a.hidden(h))
    f = a.sigmoid(wx_f + wh_f)
    _, wh_n = a.split(a.hidden(f * h))
    n = a.tanh(wx_n + wh_n)
    return {"f": f, "n": n, "h": a.lerp(h, n, f)}


CELL = Cell(
    name="mgu",  # --cell FILE:mgu
    torch_name="",
    gates=("f", "n"),  # the blocks of rows in weight_ih, weight_hh, bias_ih and bias_hh
    states=("h",),  # what goes from step to step: h, or h and c
    quantities=("f", "n", "h"),  # what the step returns, in the order of computation
    functions=("sigmoid", "tanh"),  # those of a.sigmoid, a.tanh, … that it uses
    step=mgu,
    mixes=True,  # a.hidden is of f ⊙ h, and not of h itself: no unit can be computed alone
)


def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
    """The implementation that is checked: put yours in its place. It gets (batch, units) and returns the new h; a file
    that imports torch gets tensors, any other numpy arrays."""
    x_f, x_n = np.split(x_t @ weight_ih.T + bias_ih, 2, -1)
    (w_f, w_n), (b_f, b_n) = np.split(weight_hh, 2), np.split(bias_hh, 2)
    f = 1 / (1 + np.exp(-(x_f + h @ w_f.T + b_f)))
    n = np.tanh(x_n + (f * h) @ w_n.T + b_n)
    return (1 - f) * h + f * n
