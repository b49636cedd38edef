"""Reads what Keras says about the recurrent layers of a SavedModel: a JSON config for each layer object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rnnspect.weights.readers.keras_config import ConfiguredLayer, configured_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnspect.files.tensorflow.checkpoint import Object, Objects

_LAYERS = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional")
_VERSION = (2, 3)
"""Of the first Keras that wrote SavedModels; what such files say did not change until Keras 3, which writes none."""


def layers_of(said: Mapping[int, str], objects: Objects | None, where: str) -> dict[str, ConfiguredLayer]:
    """By the name of the variable that is its kernel, of a Bidirectional the forward one, what is said of a layer.

    `said` has the JSON of each by the number of its object. What is no JSON of a layer is passed over.
    """
    found: dict[str, ConfiguredLayer] = {}
    for at, text in said.items():
        if objects is None or not 0 <= at < len(objects.every):
            continue
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict) or entry.get("class_name") not in _LAYERS:
            continue
        kernel = _kernel(objects, objects.every[at])
        model = {"class_name": "Sequential", "config": {"layers": [entry]}}
        layers = configured_layers(model, _VERSION, where)
        if kernel and len(layers) == 1 and (kernel not in found or entry["class_name"] == "Bidirectional"):
            found[kernel] = layers[0]
    return found


def _kernel(objects: Objects, layer: Object) -> str | None:
    """The name of the variable to which forward_layer, cell and kernel lead."""
    for name in ("forward_layer", "cell", "kernel"):
        layer = objects.child(layer, name) or layer
    return objects.names.get(layer.key)
