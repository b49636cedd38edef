"""Equinox's LSTMCell and GRUCell, under jax.vmap over the batch and jax.lax.scan over the steps, as in its examples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import equinox
import jax
import jax.numpy as jnp

from rnnspect.engines.interface import cannot, check_device, check_spec
from rnnspect.engines.shared.jax import JaxEngine, JaxScan, info
from rnnspect.engines.shared.layers import Place
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec


class EquinoxEngine(JaxEngine):
    name = layout = "equinox"

    def info(self, spec: Spec, sequence: Sequence) -> EngineInfo:
        check_spec("equinox", spec, ("reverse",), projection="equinox.nn.LSTMCell has none")
        if spec.cell == "rnn":
            raise cannot("equinox", "cell: rnn", "equinox.nn has only LSTMCell and GRUCell")
        check_device("equinox", sequence)
        return info("equinox", equinox.__version__, spec)

    def scan(self, place: Place) -> JaxScan:
        return partial(_scan, place)


def _scan(place: Place, arrays: Mapping[str, Any], x: Any, start: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    spec = place.spec
    kind = equinox.nn.LSTMCell if spec.cell == "lstm" else equinox.nn.GRUCell
    width = spec.layer_input_size(place.layer)
    drawn = kind(width, spec.hidden_size, spec.bias, dtype=jnp.dtype(spec.dtype), key=jax.random.key(0))
    cell = equinox.tree_at(lambda it: [getattr(it, name) for name in arrays], drawn, list(arrays.values()))
    steps, batch = x.shape[:2]
    counts = jnp.array(place.lengths or [steps] * batch)

    def step(state: Any, now: Any) -> Any:
        x_t, t = now
        made = jax.vmap(cell)(x_t, state if spec.cell == "lstm" else state[0])
        new = made if spec.cell == "lstm" else (made,)
        inside = (t < counts)[:, None]
        kept = tuple(jnp.where(inside, one, other) for one, other in zip(new, state, strict=True))
        return kept, new[0]

    final, h = jax.lax.scan(step, start, (x, jnp.arange(steps)), reverse=place.reverse)
    return h, final


ENGINE = EquinoxEngine
