"""Flax's nnx: SimpleCell, OptimizedLSTMCell and GRUCell under nnx.RNN, one for each layer and direction.

nnx.GRUCell has no b_hn; where it is not zero, the run differs, and the notes say what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import flax
import jax.numpy as jnp
from flax import nnx, serialization
from torch import Tensor

from rnnspect.engines.interface import check_device, check_spec
from rnnspect.engines.shared.jax import JaxEngine, JaxScan, info, on_cpu, to_jax, to_torch
from rnnspect.engines.shared.layers import Place, run_loaded
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

_CELLS = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}


class FlaxEngine(JaxEngine):
    name = "flax"
    layout = "flax-nnx"

    def info(self, spec: Spec, sequence: Sequence) -> EngineInfo:
        check_spec("flax", spec, ("reverse",), projection="flax.nnx.OptimizedLSTMCell has none")
        check_device("flax", sequence)
        return info("flax", flax.__version__, spec)

    def scan(self, place: Place) -> JaxScan:
        return partial(_scan, place)


class ConvertedFlax:
    """A converted .msgpack file, in which a dictionary "params" means linen's modules, and none those of nnx."""

    name = "flax"

    def __init__(self, path: Path, spec: Spec) -> None:
        with on_cpu(spec):
            held = serialization.msgpack_restore(path.read_bytes())
            self._layers = _linen_layers(spec, held) if "params" in held else _nnx_layers(spec, held)

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        del parameters

        def run_layer(layer: int, x: Tensor, states: list[tuple[Tensor, ...]]) -> Any:
            carries = [_carry(tuple(map(to_jax, state))) for state in states]
            carry, output = self._layers[layer](
                to_jax(x), initial_carry=tuple(carries) if spec.bidirectional else carries[0], return_carry=True
            )
            ended = map(_state, carry if spec.bidirectional else [carry])
            return to_torch(output, x.dtype), [tuple(to_torch(one, x.dtype) for one in state) for state in ended]

        with on_cpu(spec):
            return run_loaded(spec, sequence, info("flax", flax.__version__, spec), run_layer)


def _scan(place: Place, arrays: Mapping[str, Any], x: Any, start: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    cell = _cell(place.spec, place.layer)
    for name, array in arrays.items():
        attrgetter(name)(cell)[...] = array
    network = nnx.RNN(cell, time_major=True, return_carry=True, reverse=place.reverse, keep_order=True)
    lengths = None if place.lengths is None else jnp.array(place.lengths)
    carry, output = network(x, initial_carry=_carry(start), seq_lengths=lengths)
    return output, _state(carry)


def _carry(state: tuple[Any, ...]) -> Any:
    """(c, h), or h."""
    return state[::-1] if len(state) > 1 else state[0]


def _state(carry: Any) -> tuple[Any, ...]:
    return carry[::-1] if isinstance(carry, tuple) else (carry,)


def _cell(spec: Spec, layer: int) -> Any:
    kind = jnp.dtype(spec.dtype)
    options: dict[str, Any] = {"dtype": kind, "param_dtype": kind, "rngs": nnx.Rngs(0)}
    options |= {"kernel_init": nnx.initializers.zeros, "recurrent_kernel_init": nnx.initializers.zeros}
    options |= {"activation_fn": nnx.relu} if spec.nonlinearity == "relu" else {}
    return _CELLS[spec.cell](spec.layer_input_size(layer), spec.hidden_size, **options)


def _nnx_layers(spec: Spec, held: Any) -> Any:
    """The layers of an nnx.Sequential, built as `convert` says."""

    def rnn(layer: int) -> Any:
        return nnx.RNN(_cell(spec, layer), reverse=spec.reverse, keep_order=spec.reverse)

    every = range(spec.num_layers)
    model = nnx.Sequential(*(nnx.Bidirectional(rnn(at), rnn(at)) if spec.bidirectional else rnn(at) for at in every))
    state = nnx.state(model, nnx.Param)
    nnx.replace_by_pure_dict(state, held)
    nnx.update(model, state)
    return model.layers


def _linen_layers(spec: Spec, held: Any) -> Any:
    """The layers of a linen.Sequential, built as `convert` says."""
    from flax import linen

    cells = {"rnn": linen.SimpleCell, "lstm": linen.LSTMCell, "gru": linen.GRUCell}
    kind = jnp.dtype(spec.dtype)
    options: dict[str, Any] = {"dtype": kind, "param_dtype": kind}
    options |= {"activation_fn": linen.relu} if spec.nonlinearity == "relu" else {}

    def rnn() -> Any:
        cell = cells[spec.cell](spec.hidden_size, **options)
        return linen.RNN(cell, reverse=spec.reverse, keep_order=spec.reverse)

    every = range(spec.num_layers)
    model = linen.Sequential([linen.Bidirectional(rnn(), rnn()) if spec.bidirectional else rnn() for _ in every])
    return model.bind(held).layers


ENGINE, CONVERTED = FlaxEngine, ConvertedFlax
