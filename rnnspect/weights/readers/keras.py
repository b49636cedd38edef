"""Keras models and weights on disk: each recurrent layer as a spec of one layer. Loads neither Keras nor torch.

.keras is a zip of config.json and model.weights.h5. .h5 and .hdf5 are HDF5, with the config as an attribute, or without
one in .weights.h5. What a config names is never imported, so nothing in a file can run.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, WeightsError, listed
from rnnspect.files import hdf5
from rnnspect.files.first_bytes import Glimpse
from rnnspect.files.free_memory import in_words
from rnnspect.files.reading import FilePart, Tensors, opened
from rnnspect.files.zip_members import opened_member, opened_zip, read_member
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights.readers import converted, interface, named_tensors
from rnnspect.weights.readers.interface import MOST_LISTED, Module, Reader, StoredParameters, Told
from rnnspect.weights.readers.keras_arrays import ROOT, Weights, kinds_of, may_be_of, of_layer, undescribed, weights_in
from rnnspect.weights.readers.keras_config import MAX_LAYERS, configured_layers, kinds_in
from rnnspect.weights.readers.keras_layer import ConfiguredLayer, dtype_of_run, usual_gates

if TYPE_CHECKING:
    from torch import Tensor


MAX_CONFIG = 2**23
"""Characters of a config; what is in them takes up to 30 times as many bytes in memory."""
_ATTRIBUTES = ("model_config", "keras_version", "name", converted.NAME)


@dataclass(frozen=True)
class KerasLayer:
    """One recurrent layer; a Bidirectional is one, too."""

    where: str
    """FILE:LAYER."""
    configured: ConfiguredLayer | None
    """None where the file has no config, or one that does not mention the layer."""
    weights: tuple[Weights, ...]
    """Of each direction; empty where they were not found."""
    tree: hdf5.Tree
    version: tuple[int, ...]
    """That of the Keras that wrote the file; empty where the file does not say it."""

    @property
    def reason(self) -> str | None:
        """Why a spec cannot describe it; None where it can."""
        if self.configured and self.configured.reason:
            return self.configured.reason
        return None if self.weights else "its weights are not where its config says"

    @property
    def layout(self) -> str:
        """How its arrays are packed; only of one that a spec can describe."""
        return self.weights[0].fits[0].layout.name


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    layers = layers_in(path)
    if not layers:
        return named_tensors.modules_of(_tensors(path), path, flags)
    modules = {
        name: Module(functools.partial(_tell, layer, flags), functools.partial(_read, layer, path))
        for name, layer in layers.items()
    }
    text = next((layer.tree.text(converted.NAME, "") for layer in layers.values()), None)
    return converted.network_of(modules, text, str(path))


def layers_in(path: Path) -> dict[str, KerasLayer]:
    """Every recurrent layer by name; one in a nested model after that model's name, as encoder/lstm. None of an HDF5
    file that nothing shows to be Keras'.

    Raises `FileError` for a file that is broken, unsafe, no HDF5 file, or one of Keras without a recurrent layer,
    `ResourceError` for one too large.
    """
    where = str(path)
    with _opened(path) as (weights, said, version):
        tree = hdf5.read_tree(weights, where, _ATTRIBUTES)
    text = said or tree.text("model_config", "")
    config = _json(text, where) if text else None
    # Where no version is said, the Keras that wrote such files: .keras is of Keras 3, only Keras 1 left it out of .h5.
    numbers = _numbers(version or tree.text("keras_version", "", ROOT)) or ((3,) if said else (1,) if text else ())
    read = configured_layers(config, numbers, where) if text else []
    found = weights_in(tree, numbers)
    if max(len(read), len(found)) > MAX_LAYERS:
        raise FileError(f"the file has more than {MAX_LAYERS} recurrent layers", where=where)
    layers: dict[str, KerasLayer] = {}

    def add(name: str, configured: ConfiguredLayer | None, own: tuple[Weights, ...]) -> None:
        name = interface.unique(name, layers)
        layers[name] = KerasLayer(f"{where}:{name}", configured, own, tree, numbers)

    described: set[str] = set()
    refused: list[ConfiguredLayer] = []
    for configured in read:
        own = of_layer(configured, found) or ()
        described |= {weights.group for weights in own}
        refused += [] if own else [configured]
        add("/".join(configured.names), configured, own)
    left = {
        group: weights
        for group, weights in found.items()
        if group not in described and not any(may_be_of(layer, weights) for layer in refused)
    }
    for name, own in undescribed(tree, left):
        add(name, None, own)
    is_keras = text or numbers or any("/vars/" in place or place.startswith(ROOT) for place in tree.datasets)
    if not layers and is_keras:
        others = listed(kinds_in(config) if text else kinds_of(tree), MOST_LISTED)
        what = "this Keras file has no LSTM, GRU or SimpleRNN layer" + (f"; its layers: {others}" if others else "")
        raise FileError(what, where=where)
    return layers


def _tensors(path: Path) -> Tensors:
    """The datasets of an HDF5 file as tensors under their paths."""

    def read(names: Collection[str]) -> dict[str, Tensor]:
        with _opened(path) as (weights, _, _):
            return hdf5.read_datasets(weights, str(path), names)

    with _opened(path) as (weights, _, _):
        return Tensors(hdf5.read_tree(weights, str(path), ()).datasets, read)


def _tell(layer: KerasLayer, flags: Mapping[str, Any]) -> Told:
    keys = _described(layer, flags.get("dtype"))
    notes = _notes(layer, keys, flags)
    if layer.configured:
        changed, said = dtype_of_run(layer.configured, keys.get("dtype"), flags)
        keys |= changed
        notes += tuple(f"note: {layer.where} {note}" for note in said)
    if not layer.configured and "activations" not in flags:
        keys |= _taken_functions(layer, keys["cell"])
    keys |= {"weights": layer.where, "layout": layer.layout}
    return Told(keys, layer.where, layer.configured.below if layer.configured else "", notes)


def _read(layer: KerasLayer, path: Path, spec: Spec) -> StoredParameters:
    from rnnspect.weights.layouts.packing import unpack

    keys = _described(layer, spec.dtype)
    interface.refuse_other_reset(keys.get("reset", spec.reset), spec.reset, layer.where)
    own = interface.spec_with(keys, layer.where)
    with _opened(path) as (weights, _, _):
        every = [place for arrays in layer.weights for place in arrays.paths.values()]
        stored = hdf5.read_datasets(weights, str(path), every)
    found = StoredParameters({})
    for arrays, direction in zip(layer.weights, own.directions, strict=True):
        tensors = {name: stored[place] for name, place in arrays.paths.items()}
        layout = arrays.fits[0].layout
        found.parameters.update(unpack(layout, form_of(own), tensors).named(0, direction))
    return found


def _described(layer: KerasLayer, dtype: str | None) -> dict[str, Any]:
    """The keys of a spec that config and shapes say; `dtype` is what somebody asked for.

    Raises `FileError` for a layer that a spec cannot describe, `WeightsError` for weights that do not fit the config.
    """
    if layer.reason:
        raise FileError(f"a spec cannot describe this layer: {layer.reason}", where=layer.where)
    stored = [{name: layer.tree.datasets[path] for name, path in arrays.paths.items()} for arrays in layer.weights]
    first, *others = layer.weights
    if not first.fits or any(other.fits[:1] != first.fits[:1] for other in others):
        found = listed(f"{name} {one.shape}" for arrays in stored for name, one in arrays.items())
        allowed = "kernel (I, G·H), recurrent_kernel (H, G·H), bias (G·H) or (2, 3·H), the same in both directions"
        raise WeightsError(f"the shapes fit no cell: {found}", allowed=allowed, where=layer.where)
    fit = first.fits[0]
    keys: dict[str, Any] = {"cell": fit.cell, **vars(fit.sizes)}
    keys |= {"bidirectional": bool(others), "batch_first": True}
    if fit.cell == "gru" and len(first.fits) == 1:
        keys["reset"] = "before" if fit.packing.form == "gru-before" else "after"
    dtypes = [one.dtype for arrays in stored for one in arrays.values()]
    keys |= interface.dtype_of(dtypes, dtype, layer.where, "weights")
    configured = layer.configured.keys if layer.configured else {}
    interface.refuse_contradiction(keys, configured, ("cell", "hidden_size", "bias", "reset"), layer.where)
    return keys | configured


def _notes(layer: KerasLayer, keys: Mapping[str, Any], flags: Mapping[str, Any]) -> tuple[str, ...]:
    """What Keras does beside the equations; without a config what is taken for what it would say."""
    if layer.configured:
        return tuple(f"note: {layer.where} {note}" for note in layer.configured.notes)
    gates, said = _usual_gates(layer), []
    taken = {"activation": "tanh"} | ({"recurrent_activation": gates} if keys["cell"] != "rnn" else {})
    if layer.layout == "keras-cudnn":
        taken, said = {}, [f"is read as a CuDNN{keys['cell'].upper()}, because it has two biases in one array"]
    taken = {} if flags.keys() & {"activations", "nonlinearity"} else taken
    taken |= {"go_backwards": "false"} if len(layer.weights) == 1 else {}
    taken |= {"reset_after": "true"} if keys["cell"] == "gru" and "reset" not in keys else {}
    if taken:
        said.append(f"does not store {listed(taken)}; assuming {listed(taken.values())}")
    tf_2 = " (but sigmoid in TensorFlow 2.0 and 2.1, which also report 2.2.4)" if layer.version == (2, 2, 4) else ""
    before = f", the default before Keras 2.3{tf_2}; change it with --activations"
    since = before if "hard_sigmoid" in taken.values() else ""
    return (f"note: {layer.where} {'; it '.join(said)}{since}",) if said else ()


def _usual_gates(layer: KerasLayer) -> str:
    """cuDNN has no other gates than sigmoid."""
    return "sigmoid" if layer.layout == "keras-cudnn" else usual_gates(layer.version)


def _taken_functions(layer: KerasLayer, cell: str) -> dict[str, Any]:
    """The key `activations` of a layer without a config; none where they are the usual ones."""
    if cell == "rnn" or _usual_gates(layer) == "sigmoid":
        return {}
    return {"activations": ["hard_sigmoid(0.2, 0.5)", "tanh", *(["tanh"] if cell == "lstm" else [])]}


@contextmanager
def _opened(path: Path) -> Iterator[tuple[FilePart, str | None, str | None]]:
    """The HDF5 of weights, the config and Keras' version; of a plain HDF5 file these are inside it."""
    with opened(path) as part:
        if part.file.read(2) != b"PK" and path.suffix.lower() != ".keras":
            yield part, None, None
            return
    where = str(path)
    with opened_zip(path, ".keras", where) as archive:
        if missing := {"config.json", "model.weights.h5"} - set(archive.namelist()):
            found = f"the file has no {sorted(missing)[0]}"
            raise FileError(found, allowed="a .keras file of Keras 3", where=where)
        config = read_member(archive, "config.json", where)
        about = read_member(archive, "metadata.json", where) if "metadata.json" in archive.namelist() else "{}"
        metadata = _json(about, where)
        version = metadata.get("keras_version") if isinstance(metadata, dict) else None
        with opened_member(archive, "model.weights.h5", path) as weights:
            yield weights, config, str(version) if version else None


def _json(text: str, where: str) -> Any:
    if len(text) > MAX_CONFIG:
        found = f"the config is {in_words(len(text))} long"
        raise FileError(found, allowed=f"at most {in_words(MAX_CONFIG)}", where=where)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise FileError("the config is not valid JSON", where=where) from None


def _numbers(version: str | None) -> tuple[int, ...]:
    """2.2.4-tf is (2, 2, 4)."""
    return tuple(int(part) for part in re.findall(r"\d{1,6}", version or "")[:3])


def _recognises(seen: Glimpse) -> bool:
    return seen.head.startswith(b"\x89HDF\r\n\x1a\n") or "model.weights.h5" in seen.members


READERS = {
    "keras": Reader(
        "a Keras file",
        _recognises,
        _modules,
        (".keras", ".h5", ".hdf5"),
        engine="keras",
        noun="layer",
        tensors=_tensors,
    )
}
