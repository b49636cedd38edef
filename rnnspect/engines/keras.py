"""Keras' own SimpleRNN, LSTM and GRU, a layer for each direction.

Keras runs on the backend that KERAS_BACKEND names; where nothing is said it is torch, which is always there. On torch
Keras hands an LSTM or GRU without lengths to torch's kernel; the others, and those with lengths, are its own loop.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("KERAS_BACKEND", "torch")  # it is read when keras is imported, and never again

import keras
import numpy as np
import torch

from rnnspect.engines.shared.layers import Place, Ran, run_layers
from rnnspect.engines.shared.limits import check_device, check_dtype, check_spec
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.spec import form_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec


_DTYPES = ("float32", "float16", "bfloat16")


class KerasEngine:
    name = "keras"

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        check_spec(self.name, spec, ("reset", "reverse"), projection="keras.layers.LSTM has none")
        backend = keras.backend.backend()
        if backend != "tensorflow":
            check_dtype(self.name, spec, _DTYPES, f"on {backend} its operations turn float64 into float32")
        check_device(self.name, sequence)
        version = f"{keras.__version__} ({backend})"
        info = EngineInfo(self.name, version, "cpu", spec.dtype)
        with keras.device("cpu"):
            return run_layers(spec, parameters, sequence, info, _run_one, "keras")


def _run_one(place: Place, x: Tensor) -> Ran:
    layer = _layer(place)
    batch_major = _given(x.transpose(0, 1))
    layer.build(batch_major.shape)
    for name, array in place.arrays.items():
        getattr(layer.cell, name).assign(_given(array))
    mask = None
    if place.lengths is not None:
        mask = keras.ops.convert_to_tensor(np.arange(x.shape[0]) < np.array(place.lengths)[:, None])
    state = [_given(initial) for initial in place.state]
    output, *final = layer(batch_major, initial_state=state, mask=mask, training=False)
    h = _taken(output, x.dtype).transpose(0, 1)
    # A layer that goes backwards gives its steps in the order in which it made them.
    return h.flip(0) if place.reverse else h, tuple(_taken(one, x.dtype) for one in final)


def _layer(place: Place) -> Any:
    spec = place.spec
    options: dict[str, Any] = {
        "use_bias": spec.bias,
        "return_sequences": True,
        "return_state": True,
        "go_backwards": place.reverse,
        "dtype": spec.dtype,
        "seed": 0,  # else it draws one from the user's generator
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
    }
    if spec.cell == "gru":
        return keras.layers.GRU(spec.hidden_size, reset_after=form_of(spec) == "gru", **options)
    if spec.cell == "lstm":
        return keras.layers.LSTM(spec.hidden_size, **options)
    return keras.layers.SimpleRNN(spec.hidden_size, activation=spec.nonlinearity, **options)


def _given(tensor: Tensor) -> Any:
    """Through float32 for bfloat16, which numpy lacks; exact."""
    name = str(tensor.dtype).removeprefix("torch.")
    plain = tensor.float() if name == "bfloat16" else tensor
    return keras.ops.convert_to_tensor(plain.numpy(), dtype=name)


def _taken(values: Any, dtype: torch.dtype) -> Tensor:
    plain = keras.ops.cast(values, "float32") if dtype == torch.bfloat16 else values
    return torch.from_numpy(np.array(keras.ops.convert_to_numpy(plain))).to(dtype)


ENGINE = KerasEngine
