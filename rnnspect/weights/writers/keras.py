"""Keras: a .weights.h5 file, in the form of Keras 3, for a keras.Sequential of SimpleRNN, LSTM or GRU layers that
return sequences, in Bidirectional where there are two directions."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import IO

from torch import Tensor

from rnnspect.network.spec import Spec
from rnnspect.weights.readers import converted
from rnnspect.weights.writers.interface import Target, needing, packed

_LAYERS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
_BOTH = {"forward": "/forward_layer", "reverse": "/backward_layer"}


def _write(spec: Spec, parameters: Mapping[str, Tensor], file: IO[bytes]) -> None:
    """A layer is found by its class and its number among those of the class; its arrays by theirs. HDF5 writes into
    memory: on a disk that is full it would crash."""
    with needing("keras-files"):
        import h5py
    folder = "bidirectional" if spec.bidirectional else "simple_rnn" if spec.cell == "rnn" else spec.cell
    written = io.BytesIO()
    with h5py.File(written, "w") as h5:
        if text := converted.text_of(spec):
            h5.attrs[converted.NAME] = text
        for layer, direction in spec.places:
            group = f"layers/{folder}{f'_{layer}' if layer else ''}{_BOTH[direction] if spec.bidirectional else ''}"
            for at, array in enumerate(packed("keras", spec, parameters, layer, direction).values()):
                h5[f"{group}/cell/vars/{at}"] = array.numpy()
    file.write(written.getbuffer())


def _code(spec: Spec, file: str) -> str:
    arguments = f"{spec.hidden_size}, return_sequences=True"
    arguments += f", reset_after={spec.reset == 'after'}" if spec.cell == "gru" else ""
    arguments += ', activation="relu"' if spec.nonlinearity == "relu" else ""
    arguments += "" if spec.bias else ", use_bias=False"
    kind = f', dtype="{spec.dtype}"' if spec.dtype != "float32" else ""
    # Keras' own initializer takes a QR decomposition, which half types do not have.
    arguments += ', recurrent_initializer="zeros"' if spec.dtype == "float16" else ""
    arguments += ", go_backwards=layer == 0" if spec.reverse else ""
    layer = f"keras.layers.{_LAYERS[spec.cell]}({arguments}{kind})"
    layer = f"keras.layers.Bidirectional({layer}{kind})" if spec.bidirectional else layer
    last_first = "# With go_backwards=True, Keras returns the last step first.\n" if spec.reverse else ""
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
    engine="keras",
    write=_write,
    code=_code,
    dtypes=("float16", "float32", "float64"),
    holds=("reset", "reverse"),
    without={"activations": "a weights file does not store them"},
)
