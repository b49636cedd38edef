"""Elman's recurrent network (Elman, Finding Structure in Time, 1990), as in torch.nn.RNN, Keras' SimpleRNN and ONNX's
RNN. It is sometimes confused with Jordan's network, which feeds back the output instead of h.

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
