"""SavedModels of TensorFlow: a folder with saved_model.pb, the variables as a checkpoint, what Keras says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.files.reading import Tensors
from rnnspect.files.tensorflow.checkpoint import read_checkpoint
from rnnspect.files.tensorflow.saved_model import is_saved_model, read_keras_metadata, read_saved_model
from rnnspect.weights.readers.interface import Module, Reader
from rnnspect.weights.readers.tensorflow.configured import layers_of
from rnnspect.weights.readers.tensorflow.modules import modules_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return "saved_model.pb" in seen.members if seen.is_folder else is_saved_model(seen.head)


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    folder = path if path.is_dir() else path.parent
    graph, said = read_saved_model(folder / "saved_model.pb" if path.is_dir() else path)
    checkpoint = read_checkpoint(folder / "variables" / "variables.index")
    metadata = folder / "keras_metadata.pb"
    said |= read_keras_metadata(metadata) if metadata.is_file() else {}
    layers = layers_of(said, checkpoint.objects, str(path))
    return modules_of(Tensors(checkpoint.stored, checkpoint.read), graph, str(path), flags, layers)


READER = Reader("a SavedModel of TensorFlow", _recognises, _modules, engine="onnxruntime")
