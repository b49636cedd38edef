"""Flax's nnx: SimpleCell, OptimizedLSTMCell and GRUCell under nnx.RNN, one for each layer and direction.

nnx.GRUCell has no b_hn; where it is not zero, what it gives differs, and the notes say what was lost.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import flax
import jax
import jax.numpy as jnp
from flax import nnx

from rnnspect.engines.shared.jax import given, on_cpu, taken
from rnnspect.engines.shared.layers import Place, Ran, run_layers
from rnnspect.engines.shared.limits import check_device, check_spec
from rnnspect.network.recording import EngineInfo, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec

_CELLS = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}


class FlaxEngine:
    name = "flax"

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        check_spec(self.name, spec, ("reverse",), projection="flax.nnx.OptimizedLSTMCell has none")
        check_device(self.name, sequence)
        version = f"{flax.__version__} (jax {jax.__version__})"
        info = EngineInfo(self.name, version, "cpu", spec.dtype)
        with on_cpu(spec):
            return run_layers(spec, parameters, sequence, info, _run_one, "flax-nnx")


def _run_one(place: Place, x: Tensor) -> Ran:
    cell = _cell(place)
    for name, array in place.arrays.items():
        attrgetter(name)(cell)[...] = given(array)
    network = nnx.RNN(cell, time_major=True, return_carry=True, reverse=place.reverse, keep_order=True)
    state = tuple(given(initial) for initial in place.state)
    lengths = None if place.lengths is None else jnp.array(place.lengths)
    carry, output = network(given(x), initial_carry=state[::-1] if len(state) > 1 else state[0], seq_lengths=lengths)
    final = carry[::-1] if len(state) > 1 else (carry,)  # (c, h)
    return taken(output, x.dtype), tuple(taken(one, x.dtype) for one in final)


def _cell(place: Place) -> Any:
    spec = place.spec
    kind = jnp.dtype(spec.dtype)
    options: dict[str, Any] = {"dtype": kind, "param_dtype": kind, "rngs": nnx.Rngs(0)}
    options |= {"kernel_init": nnx.initializers.zeros, "recurrent_kernel_init": nnx.initializers.zeros}
    if spec.nonlinearity == "relu":
        options["activation_fn"] = nnx.relu
    return _CELLS[spec.cell](spec.layer_input_size(place.layer), spec.hidden_size, **options)


ENGINE = FlaxEngine
