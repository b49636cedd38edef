"""Files of TensorFlow.

A frozen graph (GraphDef, .pb): the parameters are constants among the operations that use them. A checkpoint:
NAME.index and NAME.data-00000-of-00001; version 1 has its graph beside them, NAME.meta. One of them is given, or the
folder, in which the file `checkpoint` says which one is the latest. A SavedModel: a folder with saved_model.pb, the
variables as a checkpoint, and what Keras says of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError, listed
from rnnspect.files.first_bytes import Glimpse
from rnnspect.files.reading import Tensors, decoded, read_bytes
from rnnspect.files.tensorflow.checkpoint import Object, Objects, is_index, read_checkpoint
from rnnspect.files.tensorflow.graph import (
    is_graph,
    is_saved_model,
    read_graph,
    read_keras_metadata,
    read_meta_graph,
    read_saved_model,
)
from rnnspect.weights.readers.interface import Module, Reader
from rnnspect.weights.readers.keras_config import configured_layers
from rnnspect.weights.readers.keras_layer import ConfiguredLayer
from rnnspect.weights.readers.tensorflow.modules import modules_of

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


_DATA = re.compile(r"(?P<stem>[^/\\]+)\.data-\d{5}-of-\d{5}")
_LATEST = re.compile(r'^model_checkpoint_path: "([^"]*)"', re.MULTILINE)
MAX_STATE = 2**24
"""Bytes of the file `checkpoint`."""


def _is_checkpoint(seen: Glimpse) -> bool:
    return bool(_stems(seen.members)) if seen.is_folder else is_index(seen.head) or _index_beside(seen.path) is not None


def _index_beside(path: Path) -> Path | None:
    """The index that a file of numbers or a graph belongs to."""
    stem = match["stem"] if (match := _DATA.fullmatch(path.name)) else path.name.removesuffix(".meta")
    index = path.with_name(f"{stem}.index")
    return index if stem != path.name and index.is_file() else None


def _stems(names: tuple[str, ...]) -> list[str]:
    """The checkpoints in a folder, without the ends of their names."""
    stems = dict.fromkeys(match["stem"] for name in names if (match := _DATA.fullmatch(name)))
    return [stem for stem in stems if f"{stem}.index" in names]


def _of_checkpoint(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    index = _latest(path) if path.is_dir() else _index_beside(path) or path
    checkpoint = read_checkpoint(index)
    meta = index.with_name(f"{index.name.removesuffix('.index')}.meta")
    graph = read_meta_graph(meta) if meta.is_file() else None
    return modules_of(Tensors(checkpoint.stored, checkpoint.read), graph, str(path), flags)


def _latest(folder: Path) -> Path:
    """The index of the only checkpoint in a folder, or of the one that its file `checkpoint` calls the latest."""
    stems = _stems(tuple(sorted(one.name for one in folder.iterdir())))
    if len(stems) > 1:
        state = folder / "checkpoint"
        said = _LATEST.search(decoded(read_bytes(state, MAX_STATE), str(state), "a text")) if state.is_file() else None
        name = re.split(r"[/\\]", said[1])[-1] if said else None
        if name not in stems:
            found = f"the folder has {len(stems)} checkpoints, and no file that says which one is the latest"
            advice = f"name one of {listed((f'{stem}.index' for stem in stems), 12)}"
            raise FileError(found, advice=advice, where=str(folder))
        stems = [name]
    return folder / f"{stems[0]}.index"


def _of_graph(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    graph = read_graph(path)
    return modules_of(Tensors(graph.stored, graph.read), graph, str(path), flags)


def _is_saved_model(seen: Glimpse) -> bool:
    return "saved_model.pb" in seen.members if seen.is_folder else is_saved_model(seen.head)


def _of_saved_model(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    folder = path if path.is_dir() else path.parent
    graph, said = read_saved_model(folder / "saved_model.pb" if path.is_dir() else path)
    checkpoint = read_checkpoint(folder / "variables" / "variables.index")
    metadata = folder / "keras_metadata.pb"
    said |= read_keras_metadata(metadata) if metadata.is_file() else {}
    layers = layers_of(said, checkpoint.objects, str(path))
    return modules_of(Tensors(checkpoint.stored, checkpoint.read), graph, str(path), flags, layers)


READERS = {
    "tensorflow_graph": Reader(
        "a frozen graph of TensorFlow", lambda seen: is_graph(seen.head), _of_graph, (".pb",), engine="onnxruntime"
    ),
    "tensorflow_checkpoint": Reader(
        "a checkpoint of TensorFlow", _is_checkpoint, _of_checkpoint, (".index",), engine="onnxruntime"
    ),
    "tensorflow_saved_model": Reader(
        "a SavedModel of TensorFlow", _is_saved_model, _of_saved_model, engine="onnxruntime"
    ),
}
