"""Keras: a .weights.h5 file, in the form of Keras 3, for a keras.Sequential of SimpleRNN, LSTM or GRU layers that
return sequences, in Bidirectional where there are two directions."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any

from rnnspect.errors import EngineError
from rnnspect.weights.writers.interface import Target, needing, packed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from rnnspect.network.recording import Recording
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec

_LAYERS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
_FOLDERS = {"rnn": "simple_rnn", "lstm": "lstm", "gru": "gru"}
_BOTH = {"forward": "/forward_layer", "reverse": "/backward_layer"}


def _write(spec: Spec, parameters: Mapping[str, Tensor], file: IO[bytes]) -> None:
    """A layer is found by its class and its number among those of the class; its arrays by theirs."""
    with needing("keras-files"):
        import h5py
    folder = "bidirectional" if spec.bidirectional else _FOLDERS[spec.cell]
    with h5py.File(file.name, "w") as h5:
        for layer in range(spec.num_layers):
            for direction in spec.directions:
                place = f"layers/{folder}{f'_{layer}' if layer else ''}{_BOTH[direction] if spec.bidirectional else ''}"
                arrays = packed("keras", spec, parameters, layer, direction)
                for at, array in enumerate(arrays.values()):
                    h5[f"{place}/cell/vars/{at}"] = array.numpy()


class _Loaded:
    name = "keras"

    def __init__(self, path: Path, spec: Spec) -> None:
        os.environ.setdefault("KERAS_BACKEND", "torch")  # it is read when keras is imported, and never again
        with needing("keras"):
            import keras
        backend = keras.backend.backend()
        if spec.dtype == "float64" and backend != "tensorflow":
            raise EngineError(f"Keras turns float64 into float32 on {backend}")
        with keras.device("cpu"):
            self._model = _model(spec)
            self._model.load_weights(path)

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        import keras
        import numpy as np
        import torch

        from rnnspect.engines.shared.loaded_layers import recording_of
        from rnnspect.network.recording import EngineInfo

        del parameters

        def run_layer(layer: int, x: Tensor, states: list[tuple[Tensor, ...]]) -> Any:
            given = x.flip(1) if spec.reverse and layer else x
            flat = [keras.ops.convert_to_tensor(one.numpy()) for state in states for one in state]
            output, *ended = self._model.layers[layer](
                keras.ops.convert_to_tensor(given.numpy()), initial_state=flat, training=False
            )
            taken = [torch.from_numpy(np.array(keras.ops.convert_to_numpy(one))) for one in (output, *ended)]
            each = len(ended) // len(states)
            finals = [tuple(taken[1 + at * each : 1 + (at + 1) * each]) for at in range(len(states))]
            return taken[0].flip(1) if spec.reverse else taken[0], finals

        info = EngineInfo(self.name, f"{keras.__version__} ({keras.backend.backend()})", "cpu", spec.dtype)
        with keras.device("cpu"):
            return recording_of(spec, sequence, info, run_layer)


def _model(spec: Spec) -> Any:
    """The Sequential; its layers can be asked for their states besides."""
    import keras

    options: dict[str, Any] = {"use_bias": spec.bias, "return_sequences": True, "dtype": spec.dtype, "seed": 0}
    options |= {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    options |= {"reset_after": spec.reset == "after"} if spec.cell == "gru" else {}
    options |= {"activation": spec.nonlinearity} if spec.cell == "rnn" else {}
    model = keras.Sequential([keras.Input((None, spec.input_size), dtype=spec.dtype)])
    for layer in range(spec.num_layers):
        one = getattr(keras.layers, _LAYERS[spec.cell])(
            spec.hidden_size, go_backwards=spec.reverse and layer == 0, **options
        )
        model.add(keras.layers.Bidirectional(one, dtype=spec.dtype) if spec.bidirectional else one)
    for made in model.layers:
        for inner in (made, *((made.forward_layer, made.backward_layer) if spec.bidirectional else ())):
            inner.return_state = True
    return model


def _code(spec: Spec, file: str) -> str:
    said = f"{spec.hidden_size}, return_sequences=True"
    said += f", reset_after={spec.reset == 'after'}" if spec.cell == "gru" else ""
    said += ', activation="relu"' if spec.nonlinearity == "relu" else ""
    said += "" if spec.bias else ", use_bias=False"
    kind = f', dtype="{spec.dtype}"' if spec.dtype != "float32" else ""
    said += ", go_backwards=layer == 0" if spec.reverse else ""
    layer = f"keras.layers.{_LAYERS[spec.cell]}({said}{kind})"
    layer = f"keras.layers.Bidirectional({layer}{kind})" if spec.bidirectional else layer
    last_first = "# It gives its last step first, as Keras does where a layer goes backwards.\n" if spec.reverse else ""
    return f"""\
import keras

{last_first}model = keras.Sequential([keras.Input((None, {spec.input_size}){kind})])
for {"layer" if spec.reverse else "_"} in range({spec.num_layers}):
    model.add({layer})
model.load_weights({file!r})
"""


TARGET = Target(
    name="keras",
    title="Keras' layers",
    suffix=".weights.h5",
    layout="keras",
    write=_write,
    load=_Loaded,
    code=_code,
    dtypes=("float16", "float32", "float64"),
    holds=("reset", "reverse"),
    without={
        "proj_size": "keras.layers.LSTM has no projection",
        "input_forget": "keras.layers.LSTM has a forget gate of its own",
        "activations": "a file of weights does not say them",
        "clip": "Keras' layers do not clip",
    },
)
