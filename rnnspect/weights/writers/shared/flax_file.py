"""The file that both of Flax's forms are written to, as flax.serialization reads it, and how layers lie in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, Any

import torch
from torch import Tensor

from rnnspect.network.spec import Spec
from rnnspect.weights.writers.interface import needing, packed

ARRAY = 1
"""flax.serialization's number for an array among msgpack's extensions."""
MOST = 1 << 30
"""Bytes of an array that flax.serialization keeps in one piece; a larger one is cut."""


def layer_tree(layout: str, spec: Spec, parameters: Mapping[str, Tensor], layer: int) -> dict[str, Any]:
    """One layer as Flax's RNN keeps it, or its Bidirectional with an RNN for each direction: nested dictionaries, in
    which dense_i.kernel is {"dense_i": {"kernel": …}}. Arrays are made as they are written."""

    def cell(direction: str) -> dict[str, Any]:
        return {"cell": lambda: _nested(packed(layout, spec, parameters, layer, direction))}

    if not spec.bidirectional:
        return cell(spec.directions[0])
    return {"forward_rnn": cell("forward"), "backward_rnn": cell("reverse")}


def rnn_code(spec: Spec, module: str, parameter: str, cell: str) -> str:
    """The Python lines that import Flax and define rnn(parameter), one direction of a layer; `module` is nnx or linen.
    `cell` is the call of the cell, up to the last argument that the two modules have not in common: GRUCell(3."""
    cell += f", activation_fn={module}.relu" if spec.nonlinearity == "relu" else ""
    typed = spec.dtype != "float32"
    cell += f", dtype=jnp.{spec.dtype}, param_dtype=jnp.{spec.dtype}" if typed else ""
    # nnx initialises at once, by a QR decomposition, which half types do not have.
    halved = module == "nnx" and spec.dtype in ("float16", "bfloat16")
    cell += ", recurrent_kernel_init=nnx.initializers.zeros" if halved else ""
    order = ", reverse=True, keep_order=True" if spec.reverse else ""
    return f"""\
{"import jax.numpy as jnp" + chr(10) if typed else ""}from flax import {module}, serialization


def rnn({parameter}):
    return {module}.RNN({module}.{cell}){order})
"""


def write_tree(tree: Mapping[str, Any], file: IO[bytes]) -> None:
    """Writes nested dictionaries of tensors, and of functions that give such, as flax.serialization.msgpack_serialize
    does, but with the bytes of one array at a time in memory."""
    with needing("flax-files"):
        import msgpack
    packer = msgpack.Packer()

    def write(value: Any) -> None:
        if isinstance(value, Callable):  # type: ignore[arg-type]
            write(value())
        elif isinstance(value, Mapping):
            file.write(packer.pack_map_header(len(value)))
            for key, inner in value.items():
                file.write(packer.pack(key))
                write(inner)
        elif not hasattr(value, "numel"):
            file.write(packer.pack(value))
        elif value.nbytes > MOST:
            write(_cut(value))
        else:
            name = str(value.dtype).removeprefix("torch.")
            content = value.contiguous().view(torch.uint8).numpy().data
            whole = (tuple(value.shape), name, content)
            file.write(packer.pack(msgpack.ExtType(ARRAY, msgpack.packb(whole))))

    write(tree)


def _cut(array: Tensor) -> dict[str, Any]:
    """As flax.serialization cuts what msgpack cannot hold in one piece."""
    pieces = array.flatten().split(max(1, MOST // array.element_size()))  # type: ignore[no-untyped-call]
    shape = {str(axis): size for axis, size in enumerate(array.shape)}
    chunks = {str(at): piece for at, piece in enumerate(pieces)}
    return {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}


def _nested(arrays: Mapping[str, Tensor]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        outer, _, inner = name.partition(".")
        tree.setdefault(outer, {})[inner] = array
    return tree
