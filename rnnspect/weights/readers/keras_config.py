"""Reads the recurrent layers from the config of a Keras model, which is JSON. Nothing that it names is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from rnnspect.errors import FileError
from rnnspect.weights.readers.keras_layer import KERAS_CELLS, ConfiguredLayer, read_layer

MAX_LAYERS = 256
"""Recurrent layers of one file."""
MAX_DEPTH = 64
"""How many models and wrappers may lie inside one another."""
_REFUSED = {f"ConvLSTM{n}D": f"ConvLSTM{n}D computes convolutions" for n in (1, 2, 3)}
_DROPS = ("Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout")
"""Layers that give what they are given, but for training."""
_MASKED = "gets a mask in this model: give --lengths, and leave out what it masks before a sequence begins"


def configured_layers(config: Any, version: tuple[int, ...], where: str) -> list[ConfiguredLayer]:
    """The recurrent layers of a model and of the models and wrappers in it, in the order of the config, and one more
    than `MAX_LAYERS` at most.

    `version` is that of the Keras that wrote the file. Raises `FileError` for a config that describes no model.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise FileError("the config describes no model", where=where)
    return list(islice(_model(config.get("config"), "", (), version, where), MAX_LAYERS + 1))


def kinds_in(config: Any) -> list[str]:
    """The classes of the layers in a model and in the models in it, each once, in the order of the config."""
    found: dict[str, None] = {}
    left = [config]
    while left:
        one = left.pop()
        inner = one.get("config") if isinstance(one, dict) else None
        layers = inner.get("layers") if isinstance(inner, dict) else inner
        if isinstance(layers, list):
            left += reversed(layers)
        elif isinstance(one, dict) and "class_name" in one:
            found |= {str(one["class_name"])[:40]: None}
    return [kind for kind in found if kind != "InputLayer"]


def _model(
    config: Any, group: str, names: tuple[str, ...], version: tuple[int, ...], where: str
) -> Iterator[ConfiguredLayer]:
    """The layers of a model. Keras 3 names a layer's group after its class and numbers them from the second one on
    (saving_lib.py, _save_container_state)."""
    if len(names) > MAX_DEPTH:
        raise FileError("models are nested too deeply", allowed=f"at most {MAX_DEPTH} levels", where=where)
    layers = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    used: dict[str, int] = {}
    stepwise: dict[str, str] = {}  # by the name of a layer the recurrent layer whose h of every step it gives
    last, masked = "", tuple[str, ...]()
    for entry in layers if isinstance(layers, list) else []:
        if not isinstance(entry, dict) or not entry:
            continue
        kind = str(entry.get("class_name"))
        known = _snake(kind)
        used[known] = used.get(known, -1) + 1
        place = f"{group}/layers/{known}{f'_{used[known]}' if used[known] else ''}".lstrip("/")
        name, given = _own_name(entry, place), _inputs(entry.get("inbound_nodes"), last)
        below = stepwise.get(given.pop(), "") if len(given) == 1 else ""
        if kind in _DROPS and below:
            stepwise[name] = below
        for layer in _layer(entry, place, names, version, where):
            own = layer.names == (*names, name)
            if own and layer.gives_steps:
                stepwise[name] = "/".join(layer.names)
            yield replace(layer, below=below if own else layer.below, notes=(*layer.notes, *masked))
        last, masked = name, (_MASKED,) if kind == "Masking" or _config(entry).get("mask_zero") else masked


def _inputs(nodes: Any, before: str) -> set[str]:
    """The names of the layers that one reads, from its "inbound_nodes": in Keras 2 ["lstm", 0, 0, {}] within lists, in
    Keras 3 "keras_history": ["lstm", 0, 0]. A Sequential has none of them: there it is the layer before."""
    if nodes is None:
        return {before}
    found, left = set(), [nodes]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list) and len(one) in (3, 4) and isinstance(one[0], str) and isinstance(one[1], int):
            found.add(one[0])
        elif isinstance(one, list):
            left += one
    return found


def _config(entry: dict[str, Any]) -> dict[str, Any]:
    config = entry.get("config")
    return config if isinstance(config, dict) else {}


def _own_name(entry: dict[str, Any], group: str) -> str:
    return str(_config(entry).get("name") or entry.get("name") or group.rpartition("/")[2])


def _layer(
    entry: dict[str, Any], group: str, names: tuple[str, ...], version: tuple[int, ...], where: str
) -> Iterator[ConfiguredLayer]:
    kind, inner = str(entry.get("class_name")), _config(entry)
    names = (*names, _own_name(entry, group))
    wrapped = inner.get("layer")
    package, registered, own = kind.partition(">")
    if registered and own in KERAS_CELLS:
        yield ConfiguredLayer(names, group, reason=f"{own} is a class that was registered by {package}, not of Keras")
    elif kind in _REFUSED:
        yield ConfiguredLayer(names, group, reason=_REFUSED[kind])
    elif kind == "RNN" and (cells := _stacked_cells(inner)):
        yield from _one_by_one(cells, names, f"{group}/cell/cells", entry, version)
    elif kind in (*KERAS_CELLS, "RNN"):
        yield read_layer(names, group, entry, None, version)
    elif kind == "Bidirectional" and isinstance(wrapped, dict):
        yield read_layer(names, group, wrapped, inner, version)
    elif isinstance(wrapped, dict):
        if len(names) > MAX_DEPTH:
            raise FileError("layers are nested too deeply", allowed=f"at most {MAX_DEPTH} levels", where=where)
        yield from _layer(wrapped, f"{group}/layer", names, version, where)
    else:
        yield from _model(entry.get("config"), group, names, version, where)


def _stacked_cells(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of an RNN that has several, each of which reads h of the one before: they are layers."""
    cell = config.get("cell")
    stacked = isinstance(cell, dict) and cell.get("class_name") == "StackedRNNCells"
    cells = _config(cell).get("cells") if isinstance(cell, dict) and stacked else None
    return [one for one in cells if isinstance(one, dict)][: MAX_LAYERS + 1] if isinstance(cells, list) else []


def _one_by_one(
    cells: list[dict[str, Any]], names: tuple[str, ...], group: str, entry: dict[str, Any], version: tuple[int, ...]
) -> Iterator[ConfiguredLayer]:
    """Each cell as an RNN of it alone."""
    used: dict[str, int] = {}
    below = ""
    for cell in cells:
        known = _snake(str(cell.get("class_name")))
        used[known] = used.get(known, -1) + 1
        own = f"{known}_{used[known]}" if used[known] else known
        alone = {**entry, "config": {**_config(entry), "cell": cell}}
        layer = read_layer((*names, _own_name(cell, own)), f"{group}/{own}", alone, None, version)
        yield replace(layer, below=below)
        below = "/".join(layer.names)


def _snake(name: str) -> str:
    """As to_snake_case in keras/src/utils/naming.py."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
