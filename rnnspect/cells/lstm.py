"""Long short-term memory as in torch.nn.LSTM (Hochreiter & Schmidhuber 1997; with the forget gate of Gers,
Schmidhuber & Cummins 2000; with the projection of Sak, Senior & Beaufays 2014).

This is the LSTM of PyTorch, cuDNN and Keras, and ONNX's without P and `input_forget`. Frameworks order the gates
differently (here i f g o), and TensorFlow 1 adds 1 to the input of f. For gates that see c, see `lstm_peephole.py`.

    i  = σ(W_ii x + b_ii + W_hi h + b_hi)
    f  = σ(W_if x + b_if + W_hf h + b_hf)
    g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
    o  = σ(W_io x + b_io + W_ho h + b_ho)
    c' = f ⊙ c + i ⊙ g
    h' = W_hr (o ⊙ tanh(c'))                         W_hr only with proj_size
"""

from __future__ import annotations

from rnnspect.cells.interface import Arithmetic, Cell, V


def lstm(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    s_i, s_f, s_g, s_o = a.gates(wx, h)
    i = a.sigmoid(s_i)
    f = a.sigmoid(s_f)
    g = a.tanh(s_g)
    o = a.sigmoid(s_o)
    c = a.carry(f, c, i * g)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": a.project(o * a.squash(c))}


CELL = Cell(
    name="lstm",
    torch_name="LSTM",
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    quantities=("i", "f", "g", "o", "c", "h"),
    functions=("sigmoid", "tanh", "squash"),
    step=lstm,
    has_projection=True,
)
