"""Flax, its linen modules: a .msgpack file with the variables of a linen.Sequential of linen.RNN, in
linen.Bidirectional where there are two directions. Its GRUCell has b_hn, which that of nnx lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from torch import Tensor

from rnnspect.network.spec import Spec
from rnnspect.weights.writers.interface import Target
from rnnspect.weights.writers.shared.flax_file import layer_tree, write_tree

_CELLS = {"rnn": "SimpleCell", "lstm": "LSTMCell", "gru": "GRUCell"}


def _write(spec: Spec, parameters: Mapping[str, Tensor], file: IO[bytes]) -> None:
    every = range(spec.num_layers)
    tree = {f"layers_{at}": layer_tree("flax-linen", spec, parameters, at) for at in every}
    write_tree({"params": tree}, file)


def _code(spec: Spec, file: str) -> str:
    said = f"{spec.hidden_size}"
    said += ", activation_fn=linen.relu" if spec.nonlinearity == "relu" else ""
    said += f", dtype=jnp.{spec.dtype}, param_dtype=jnp.{spec.dtype}" if spec.dtype != "float32" else ""
    order = ", reverse=True, keep_order=True" if spec.reverse else ""
    layer = "linen.Bidirectional(rnn(), rnn())" if spec.bidirectional else "rnn()"
    return f"""\
{"import jax.numpy as jnp" + chr(10) if "jnp." in said else ""}from flax import linen, serialization


def rnn():
    return linen.RNN(linen.{_CELLS[spec.cell]}({said}){order})


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
    without={"activations": "a file of parameters does not say them"},
)
