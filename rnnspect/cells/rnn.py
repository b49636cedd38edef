"""Elman's recurrent network (Elman, Finding Structure in Time, 1990), as torch.nn.RNN states it: Keras' SimpleRNN, and
ONNX's RNN. In Jordan's network, with which it is confused, the output is fed back and not h.

h' = φ(W_ih x + b_ih + W_hh h + b_hh)            φ is tanh or relu
"""

from __future__ import annotations

from rnnspect.cells.interface import Arithmetic, Cell, V


def rnn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    (s,) = a.gates(wx, h)
    return {"h": a.phi(s)}


CELL = Cell(
    name="rnn",
    torch_name="RNN",
    gates=("h",),
    states=("h",),
    quantities=("h",),
    functions=("phi",),
    step=rnn,
    has_nonlinearity=True,
)
