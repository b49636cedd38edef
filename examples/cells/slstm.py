"""sLSTM of xLSTM (Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter 2024, arXiv
2405.04517, section 2.2), with one head: an exponential input gate, a normaliser n, and a stabiliser m that keeps the
exponentials in range. h does not depend on m but for rounding.

    z  = tanh(W_iz x + b_iz + W_hz h + b_hz)
    o  = σ(W_io x + b_io + W_ho h + b_ho)
    m' = max(log σ(W_if x + b_if + W_hf h + b_hf) + m, W_ii x + b_ii + W_hi h + b_hi)
    i  = exp(W_ii x + b_ii + W_hi h + b_hi − m')
    f  = exp(log σ(W_if x + b_if + W_hf h + b_hf) + m − m')
    c' = f ⊙ c + i ⊙ z
    n' = f ⊙ n + i
    h' = o ⊙ c' / n'
"""

from __future__ import annotations

from rnnspect.cells import Arithmetic, Cell, V


def slstm(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    s_z, s_i, s_f, s_o = a.gates(wx, h)
    c, n, m = a.blocks(c)
    z, o = a.tanh(s_z), a.sigmoid(s_o)
    kept = m - a.softplus(a.constant("minus") * s_f)
    m = a.maximum(kept, s_i)
    i, f = a.exp(s_i - m), a.exp(kept - m)
    c, n = f * c + i * z, f * n + i
    return {"z": z, "i": i, "f": f, "o": o, "c": a.packed(c, n, m), "h": o * c * a.reciprocal(n)}


CELL = Cell(
    name="slstm",
    torch_name="",
    gates=("z", "i", "f", "o"),
    states=("h", "c"),
    quantities=("z", "i", "f", "o", "c", "h"),
    functions=("sigmoid", "tanh", "softplus", "exp", "reciprocal"),
    step=slstm,
    constants=(("minus", -1.0),),
    cell_state=(("c", ("hidden_size",)), ("n", ("hidden_size",)), ("m", ("hidden_size",))),
)
