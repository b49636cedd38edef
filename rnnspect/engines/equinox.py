"""Equinox's LSTMCell and GRUCell, under jax.vmap over the batch and jax.lax.scan over the steps, as in its examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox
import jax
import jax.numpy as jnp
from torch import Tensor

from rnnspect.engines.interface import cannot, check_device, check_spec
from rnnspect.engines.shared.jax import info, on_cpu, to_jax, to_torch
from rnnspect.engines.shared.layers import Place, Ran, run_layers
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec


class EquinoxEngine:
    name = "equinox"

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        check_spec(self.name, spec, ("reverse",), projection="equinox.nn.LSTMCell has none")
        if spec.cell == "rnn":
            raise cannot(self.name, "cell: rnn", "equinox.nn has only LSTMCell and GRUCell")
        check_device(self.name, sequence)
        said = info(self.name, equinox.__version__, spec)
        with on_cpu(spec):
            return run_layers(spec, parameters, sequence, said, _run_one, "equinox")


def _run_one(place: Place, x: Tensor) -> Ran:
    spec = place.spec
    kind = equinox.nn.LSTMCell if spec.cell == "lstm" else equinox.nn.GRUCell
    width = spec.layer_input_size(place.layer)
    drawn = kind(width, spec.hidden_size, spec.bias, dtype=jnp.dtype(spec.dtype), key=jax.random.key(0))
    names = tuple(place.arrays)
    cell = equinox.tree_at(
        lambda it: [getattr(it, name) for name in names], drawn, [to_jax(array) for array in place.arrays.values()]
    )
    steps, batch = x.shape[:2]
    counts = jnp.array(place.lengths or [steps] * batch)

    def step(state: Any, now: Any) -> Any:
        x_t, t = now
        made = jax.vmap(cell)(x_t, state if spec.cell == "lstm" else state[0])
        new = made if spec.cell == "lstm" else (made,)
        inside = (t < counts)[:, None]
        kept = tuple(jnp.where(inside, one, other) for one, other in zip(new, state, strict=True))
        return kept, new[0]

    start = tuple(to_jax(initial) for initial in place.state)
    final, h = jax.lax.scan(step, start, (to_jax(x), jnp.arange(steps)), reverse=place.reverse)
    return to_torch(h, x.dtype), tuple(to_torch(one, x.dtype) for one in final)


ENGINE = EquinoxEngine
