"""Flax, its nnx modules: a .msgpack file with the parameters of an nnx.Sequential of nnx.RNN, in nnx.Bidirectional
where there are two directions. nnx.GRUCell has no b_hn; flax-linen does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from torch import Tensor

from rnnspect.network.spec import Spec
from rnnspect.weights.writers.interface import Target
from rnnspect.weights.writers.shared.flax_file import layer_tree, rnn_code, write_tree

_CELLS = {"rnn": "SimpleCell", "lstm": "OptimizedLSTMCell", "gru": "GRUCell"}


def _write(spec: Spec, parameters: Mapping[str, Tensor], file: IO[bytes]) -> None:
    every = range(spec.num_layers)
    write_tree({"layers": {str(at): layer_tree("flax-nnx", spec, parameters, at) for at in every}}, file)


def _code(spec: Spec, file: str) -> str:
    layer = "nnx.Bidirectional(rnn(n), rnn(n))" if spec.bidirectional else "rnn(n)"
    sizes = f"[{spec.input_size}]"
    sizes += f" + {spec.num_layers - 1} * [{spec.layer_input_size(1)}]" if spec.num_layers > 1 else ""
    return f"""\
{rnn_code(spec, "nnx", "n", f"{_CELLS[spec.cell]}(n, {spec.hidden_size}, rngs=nnx.Rngs(0)")}

model = nnx.Sequential(*({layer} for n in {sizes}))
state = nnx.state(model, nnx.Param)
with open({file!r}, "rb") as file:
    nnx.replace_by_pure_dict(state, serialization.msgpack_restore(file.read()))
nnx.update(model, state)
"""


TARGET = Target(
    name="flax",
    title="Flax's nnx modules",
    suffix=".msgpack",
    layout="flax-nnx",
    engine="flax",
    write=_write,
    code=_code,
    holds=("reverse",),
    without={"activations": "a file of parameters does not store them"},
)
