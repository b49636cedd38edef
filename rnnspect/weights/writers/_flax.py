"""What both of Flax's forms share: the file, as flax.serialization reads it, and how layers lie in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from rnnspect.weights.writers.interface import needing, packed

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from rnnspect.network.recording import Recording
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec

ARRAY = 1
"""flax.serialization's number for an array among msgpack's extensions."""
MOST = 1 << 30
"""Bytes of an array that it keeps in one piece; a larger one is cut."""


def layer_tree(layout: str, spec: Spec, parameters: Mapping[str, Tensor], layer: int) -> dict[str, Any]:
    """One layer as RNN keeps it, or Bidirectional with one for each direction; arrays are made when they are written.
    dense_i.kernel lies in a dictionary in another."""

    def cell(direction: str) -> dict[str, Any]:
        return {"cell": lambda: _nested(packed(layout, spec, parameters, layer, direction))}

    if not spec.bidirectional:
        return cell(spec.directions[0])
    return {"forward_rnn": cell("forward"), "backward_rnn": cell("reverse")}


def write_tree(tree: Mapping[str, Any], file: IO[bytes]) -> None:
    """Dictionaries in one another, functions that give them, and tensors, as flax.serialization.msgpack_serialize
    writes them; one array at a time is turned into bytes."""
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
            whole = (tuple(value.shape), name, _bytes(value))
            file.write(packer.pack(msgpack.ExtType(ARRAY, msgpack.packb(whole))))

    write(tree)


class LoadedLayers:
    """The layers of a model that Flax loaded, each called with what it starts from."""

    name = "flax"

    def __init__(self, path: Path, spec: Spec, layers_of: Callable[[Spec, Any], Any]) -> None:
        """`layers_of` gives them from the spec and what flax.serialization reads in the file."""
        with needing("flax"):
            from flax import serialization

            from rnnspect.engines.shared.jax import on_cpu
        with on_cpu(spec):
            self._layers = layers_of(spec, serialization.msgpack_restore(path.read_bytes()))

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        import flax
        import jax

        from rnnspect.engines.shared.jax import given, on_cpu, taken
        from rnnspect.engines.shared.loaded_layers import recording_of
        from rnnspect.network.recording import EngineInfo

        del parameters

        def run_layer(layer: int, x: Tensor, states: list[tuple[Tensor, ...]]) -> Any:
            carries = [_carry(tuple(map(given, state))) for state in states]
            carry, output = self._layers[layer](
                given(x), initial_carry=tuple(carries) if spec.bidirectional else carries[0], return_carry=True
            )
            ended = map(_state, carry if spec.bidirectional else [carry])
            return taken(output, x.dtype), [tuple(taken(one, x.dtype) for one in state) for state in ended]

        info = EngineInfo(self.name, f"{flax.__version__} (jax {jax.__version__})", "cpu", spec.dtype)
        with on_cpu(spec):
            return recording_of(spec, sequence, info, run_layer)


def _carry(state: tuple[Any, ...]) -> Any:
    """(c, h), or h."""
    return state[::-1] if len(state) > 1 else state[0]


def _state(carry: Any) -> tuple[Any, ...]:
    return carry[::-1] if isinstance(carry, tuple) else (carry,)


def _cut(array: Tensor) -> dict[str, Any]:
    """As flax.serialization cuts what msgpack cannot hold in one piece."""
    pieces = array.flatten().split(max(1, MOST // array.element_size()))  # type: ignore[no-untyped-call]
    shape = {str(axis): size for axis, size in enumerate(array.shape)}
    chunks = {str(at): piece for at, piece in enumerate(pieces)}
    return {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}


def _bytes(array: Tensor) -> memoryview:
    import torch

    view: memoryview = array.contiguous().view(torch.uint8).numpy().data
    return view


def _nested(arrays: Mapping[str, Tensor]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        outer, _, inner = name.partition(".")
        tree.setdefault(outer, {})[inner] = array
    return tree
