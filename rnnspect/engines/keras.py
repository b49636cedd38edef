"""Keras' own SimpleRNN, LSTM and GRU, a layer for each direction.

Keras runs on the backend that KERAS_BACKEND names, or on torch, which is always installed. On torch Keras hands an LSTM
or GRU without lengths to torch's kernel; the others, and those with lengths, are a loop of its own.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")  # it is read when keras is imported, and never again

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import torch
from torch import Tensor

from rnnspect.cells.functions import Activation, functions_of
from rnnspect.engines.interface import BEYOND_TORCH, cannot, check_device, check_dtype, check_spec
from rnnspect.engines.shared.autograd import Leaves, gradients_by, run_elsewhere
from rnnspect.engines.shared.layers import Place, Returned, layers_backward, run_layers, run_loaded
from rnnspect.errors import EngineError
from rnnspect.network.arrays import array
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec, form_of

_DTYPES = ("float32", "float16", "bfloat16")
_ITS_OWN = {
    **{Activation(name): name for name in ("tanh", "sigmoid", "relu", "softplus", "softsign")},
    Activation("elu", 1.0): "elu",
    Activation("leaky_relu", 0.2): "leaky_relu",
    Activation("affine", 1.0, 0.0): "linear",
    Activation("hard_sigmoid", 1 / 6, 0.5): "hard_sigmoid",
}
"""The functions that Keras has, with its names for them."""


class KerasEngine:
    name = "keras"
    piece: int | None = 1 << 14

    def check(self, spec: Spec) -> None:
        check_spec(self.name, spec, BEYOND_TORCH[self.name], projection="keras.layers.LSTM has none")
        for direction in spec.directions:
            _functions(spec, direction)
        backend = keras.backend.backend()
        if backend != "tensorflow":
            check_dtype(self.name, spec, _DTYPES, f"it converts float64 to float32 on {backend}")

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        self.check(spec)
        check_device(self.name, sequence)
        with keras.device("cpu"):
            return run_layers(spec, parameters, sequence, _info(spec), _run_one, "keras")

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        """On torch by its autograd, on jax by jax.vjp, a layer and direction at a time."""
        self.check(spec)
        check_device(self.name, sequence)
        backend = keras.backend.backend()
        if backend not in ("torch", "jax"):
            what, why = f"the backward pass on {backend}", "here only torch and jax have gradients"
            raise cannot(self.name, what, why, "set KERAS_BACKEND")
        with keras.device("cpu"):
            return layers_backward(spec, Leaves.of(sequence, parameters), _info(spec), _run_one, upstream, "keras")


class ConvertedKeras:
    """A converted .weights.h5 file, in the model that it was written for."""

    name = "keras"

    def __init__(self, path: Path, spec: Spec) -> None:
        backend = keras.backend.backend()
        if spec.dtype == "float64" and backend != "tensorflow":
            raise EngineError(f"Keras converts float64 to float32 on {backend}")
        with keras.device("cpu"):
            self._model = _model(spec)
            self._model.load_weights(path)

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        del parameters

        def run_layer(layer: int, x: Tensor, states: list[tuple[Tensor, ...]]) -> Any:
            begun = [_to_keras(one) for state in states for one in state]
            # A layer that goes backwards gives its last step first, and the next one runs on that.
            steps = _to_keras(x.flip(1) if spec.reverse and layer else x)
            output, *ended = self._model.layers[layer](steps, initial_state=begun, training=False)
            h, *final = (_to_torch(one, x.dtype) for one in (output, *ended))
            each = len(final) // len(states)
            finals = [tuple(final[at : at + each]) for at in range(0, len(final), each)]
            return h.flip(1) if spec.reverse else h, finals

        with keras.device("cpu"):
            return run_loaded(spec, sequence, _info(spec), run_layer)


def _info(spec: Spec) -> EngineInfo:
    return EngineInfo("keras", f"{keras.__version__} ({keras.backend.backend()})", "cpu", spec.dtype)


def _run_one(place: Place, x: Tensor) -> Returned:
    layer, mask = _built(place, x), None
    if place.lengths is not None:
        mask = keras.ops.convert_to_tensor(np.arange(x.shape[0]) < np.array(place.lengths)[:, None])
    variables = [getattr(layer.cell, name) for name in place.arrays]

    def run(x: Any, *more: Any) -> tuple[Any, ...]:
        """h by step of the input, and the final state, from tensors of Keras."""
        state, arrays = list(more[: len(place.state)]), more[len(place.state) :]
        x = keras.ops.swapaxes(x, 0, 1)
        with keras.StatelessScope(list(zip(variables, arrays, strict=True))):
            output, *final = layer(x, initial_state=state, mask=mask, training=False)
        h = keras.ops.swapaxes(output, 0, 1)
        # A layer that goes backwards gives its steps in the order in which it made them.
        return keras.ops.flip(h, 0) if place.reverse else h, *final

    given = (x, *place.state, *place.arrays.values())
    h, *final = run_elsewhere(run, _vjp, _to_keras, _to_torch, given)
    return h, tuple(final)


def _vjp(run: Callable[..., tuple[Any, ...]], *given: Any) -> Any:
    """The result of `run`, and a function from gradients by the result to gradients by the arguments, by the backend's
    own differentiation."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.vjp(run, *given)
    with torch.enable_grad():
        leaves = tuple(one.detach().requires_grad_() for one in given)
        ran = run(*leaves)

    def back(gradients: tuple[Tensor, ...]) -> list[Tensor]:
        found = gradients_by(leaves, ran, gradients)
        return [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, found, strict=True)]

    return ran, back


def _built(place: Place, x: Tensor) -> Any:
    layer = _layer(place.spec, place.reverse)
    layer.return_state = True
    layer.build((x.shape[1], x.shape[0], x.shape[2]))
    return layer


def _model(spec: Spec) -> Any:
    """A keras.Sequential, built as `convert` says; its layers also return their states."""
    model = keras.Sequential([keras.Input((None, spec.input_size), dtype=spec.dtype)])
    for layer in range(spec.num_layers):
        one = _layer(spec, spec.reverse and layer == 0)
        model.add(keras.layers.Bidirectional(one, dtype=spec.dtype) if spec.bidirectional else one)
    for made in model.layers:
        for inner in (made, *((made.forward_layer, made.backward_layer) if spec.bidirectional else ())):
            inner.return_state = True
    return model


def _layer(spec: Spec, backwards: bool) -> Any:
    options: dict[str, Any] = {
        "use_bias": spec.bias,
        "return_sequences": True,
        "go_backwards": backwards,
        "dtype": spec.dtype,
        "seed": 0,  # else it draws one from the user's generator
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
    }
    options |= _functions(spec, "reverse" if backwards else "forward")
    if spec.cell == "gru":
        return keras.layers.GRU(spec.hidden_size, reset_after=form_of(spec) == "gru", **options)
    if spec.cell == "lstm":
        return keras.layers.LSTM(spec.hidden_size, **options)
    return keras.layers.SimpleRNN(spec.hidden_size, **options)


def _functions(spec: Spec, direction: str) -> dict[str, str]:
    """The arguments of a layer of Keras that name its functions. Raises `EngineError` for those that it has not."""
    of = functions_of(spec.nonlinearity_of(direction))
    wanted = (
        {"activation": of.phi} if spec.cell == "rnn" else {"recurrent_activation": of.sigmoid, "activation": of.tanh}
    )
    for one in wanted.values():
        if one not in _ITS_OWN:
            advice = "use one of " + ", ".join(map(str, _ITS_OWN)) + ", or another engine"
            raise cannot("keras", f"activations: {one}", "keras.activations has none with these numbers", advice)
    if spec.cell == "lstm" and of.squash != of.tanh:
        why = "its LSTM has one function for g and for c"
        raise cannot("keras", f"activations: {of.tanh} of g and {of.squash} of c", why, "choose another engine")
    return {name: _ITS_OWN[one] for name, one in wanted.items()}


def _to_keras(tensor: Tensor) -> Any:
    """A tensor as one of Keras."""
    return keras.ops.convert_to_tensor(array(tensor), dtype=str(tensor.dtype).removeprefix("torch."))


def _to_torch(values: Any, dtype: torch.dtype) -> Tensor:
    """A tensor of Keras as one of torch, in that dtype."""
    plain = keras.ops.cast(values, "float32") if dtype == torch.bfloat16 else values
    return torch.from_numpy(np.array(keras.ops.convert_to_numpy(plain))).to(dtype)


ENGINE, CONVERTED = KerasEngine, ConvertedKeras
