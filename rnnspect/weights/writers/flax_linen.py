"""Flax, its linen modules: a .msgpack file with the variables of a linen.Sequential of linen.RNN, in
linen.Bidirectional where there are two directions. Its GRUCell has b_hn, which that of nnx lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from torch import Tensor

from rnnspect.network.spec import Spec
from rnnspect.weights.writers.interface import Target
from rnnspect.weights.writers.shared.flax_file import layer_tree, rnn_code, write_tree

_CELLS = {"rnn": "SimpleCell", "lstm": "LSTMCell", "gru": "GRUCell"}


def _write(spec: Spec, parameters: Mapping[str, Tensor], file: IO[bytes]) -> None:
    every = range(spec.num_layers)
    tree = {f"layers_{at}": layer_tree("flax-linen", spec, parameters, at) for at in every}
    write_tree({"params": tree}, file)


def _code(spec: Spec, file: str) -> str:
    layer = "linen.Bidirectional(rnn(), rnn())" if spec.bidirectional else "rnn()"
    return f"""\
{rnn_code(spec, "linen", "", f"{_CELLS[spec.cell]}({spec.hidden_size}")}

model = linen.Sequential([{layer} for _ in range({spec.num_layers})])
with open({file!r}, "rb") as file:
    model = model.bind(serialization.msgpack_restore(file.read()))
"""


TARGET = Target(
    name="flax-linen",
    title="Flax's linen modules",
    suffix=".msgpack",
    layout="flax-linen",
    engine="flax",
    write=_write,
    code=_code,
    holds=("reverse",),
    without={"activations": "a file of parameters does not store them"},
)
