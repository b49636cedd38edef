"""Keras models and weights on disk: each recurrent layer as a spec of one layer. Loads neither Keras nor torch.

.keras is a zip of config.json and model.weights.h5. .h5 and .hdf5 are HDF5, with the config as an attribute, or without
one in .weights.h5. What a config names is never imported, so nothing in a file can run.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, WeightsError, listed
from rnnspect.files import hdf5
from rnnspect.files.reading import Part, opened, size_of
from rnnspect.files.zip_members import opened_member, opened_zip, read_member
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights.readers import interface
from rnnspect.weights.readers.interface import Reader, StoredParameters, Told
from rnnspect.weights.readers.keras_config import ConfiguredLayer, configured_layers, usual_gates
from rnnspect.weights.readers.keras_groups import ROOT, Weights, of_layer, undescribed, weights_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_ATTRIBUTES = ("model_config", "keras_version", "name")


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
        return None if self.weights else "its weights are not where its config wants them"


def layers_in(path: Path) -> dict[str, KerasLayer]:
    """Every recurrent layer by name; one in a nested model after that model's name, as encoder/lstm.

    Raises `FileError` for a file that is broken, unsafe, or no Keras file, `ResourceError` for one too large.
    """
    where = str(path)
    with _opened(path) as (weights, config, version):
        tree = hdf5.read_tree(weights, where, _ATTRIBUTES, "optimizer")
    config = config or tree.text("model_config", "")
    version = version or tree.text("keras_version", "", ROOT)
    numbers = _numbers(version) or ((3,) if path.suffix.lower() == ".keras" else (1,) if config else ())
    read = configured_layers(_json(config, where), numbers, where) if config else []
    found = weights_in(tree, numbers)
    layers: dict[str, KerasLayer] = {}

    def add(name: str, configured: ConfiguredLayer | None, own: tuple[Weights, ...]) -> None:
        name = interface.unique(name, layers)
        layers[name] = KerasLayer(f"{where}:{name}", configured, own, tree, numbers)

    described: set[str] = set()
    refused: list[str] = []
    for configured in read:
        own = of_layer(configured, found) or ()
        described |= {weights.group for weights in own}
        refused += [] if own else [configured.group]
        add("/".join(configured.names), configured, own)
    left = {
        group: weights
        for group, weights in found.items()
        if group not in described and not any(group == known or group.startswith(f"{known}/") for known in refused)
    }
    for name, own in undescribed(tree, left):
        add(name, None, own)
    return layers


def _tell(path: Path, module: str | None, flags: Mapping[str, Any]) -> Told:
    layer = _choose(path, module)
    keys = _described(layer, flags.get("dtype"))
    notes = _notes(layer, keys)
    if not layer.configured and "activations" not in flags:
        keys |= _taken_functions(layer, keys["cell"])
    return Told(keys | {"weights": layer.where}, layer.where, notes)


def _read(path: Path, module: str | None, spec: Spec) -> StoredParameters:
    """Also raises `WeightsError` for a GRU whose other form the spec wants: no shape shows the difference."""
    from rnnspect.weights.layouts.packing import unpack

    layer = _choose(path, module, "after a colon")
    keys = _described(layer, spec.dtype)
    if keys.get("reset", spec.reset) != spec.reset:
        other = f"a GRU that resets {keys['reset']} the product"
        raise WeightsError(other, allowed=f"reset: {keys['reset']}", where=layer.where)
    own = Spec.from_data({**keys, "weights": layer.where, "input": None}, lambda _keys: layer.where)
    with _opened(path) as (weights, _, _):
        every = [place for arrays in layer.weights for place in arrays.paths.values()]
        stored = hdf5.read_datasets(weights, str(path), every)
    found = StoredParameters({})
    for arrays, direction in zip(layer.weights, own.directions, strict=True):
        tensors = {name: stored[place] for name, place in arrays.paths.items()}
        layout = arrays.readings[0].layout
        found.parameters.update(unpack(layout, form_of(own), tensors).named(0, direction))
    return found


def _choose(path: Path, name: str | None, how: str = "--module with") -> KerasLayer:
    layers = layers_in(path)
    if not layers:
        raise FileError("it holds no LSTM, GRU or SimpleRNN layer of Keras", where=str(path))
    return interface.choose(layers, name, str(path), "layer", _described, how)


def _described(layer: KerasLayer, dtype: str | None = None) -> dict[str, Any]:
    """The keys of a spec that config and shapes say; `dtype` is what somebody asked for.

    Raises `FileError` for a layer that a spec cannot describe, `WeightsError` for weights that do not fit the config.
    """
    if layer.reason:
        raise FileError(layer.reason, allowed="what a spec can say", where=layer.where)
    stored = [{name: layer.tree.datasets[path] for name, path in arrays.paths.items()} for arrays in layer.weights]
    first, *others = layer.weights
    if not first.readings or any(other.readings[:1] != first.readings[:1] for other in others):
        found = listed(f"{name} {one.shape}" for arrays in stored for name, one in arrays.items())
        allowed = "kernel (I, G·H), recurrent_kernel (H, G·H), bias (G·H) or (2, 3·H), the same in both directions"
        raise WeightsError(f"arrays of no cell: {found}", allowed=allowed, where=layer.where)
    reading = first.readings[0]
    keys: dict[str, Any] = {"cell": reading.cell, **vars(reading.sizes), "layout": reading.layout.name}
    keys |= {"bidirectional": bool(others), "batch_first": True}
    if reading.cell == "gru" and len(first.readings) == 1:
        keys["reset"] = "before" if reading.packing.form == "gru-before" else "after"
    dtypes = [one.dtype for arrays in stored for one in arrays.values()]
    keys |= interface.dtype_of(dtypes, dtype, layer.where, "weights")
    configured = layer.configured.keys if layer.configured else {}
    for key in ("cell", "hidden_size", "bias", "reset"):
        if key in configured and key in keys and configured[key] != keys[key]:
            found = f"a config of {key} {configured[key]} beside weights of {keys[key]}"
            raise WeightsError(found, allowed="both the same", where=layer.where)
    return keys | configured


def _notes(layer: KerasLayer, keys: Mapping[str, Any]) -> tuple[str, ...]:
    """What Keras does beside the equations; without a config what is taken for what it would say."""
    if layer.configured:
        return tuple(f"note: {layer.where} {note}" for note in layer.configured.notes)
    gates = _usual_gates(layer)
    taken = {"activation": "tanh", "recurrent_activation": gates if keys["cell"] != "rnn" else None}
    taken |= {"go_backwards": "false" if len(layer.weights) == 1 else None}
    taken |= {"reset_after": "true" if keys["cell"] == "gru" and "reset" not in keys else None}
    taken = {name: value for name, value in taken.items() if value}
    note = f"note: {layer.where} does not say {listed(taken)}; taken: {listed(map(str, taken.values()))}"
    if gates == "hard_sigmoid" and "recurrent_activation" in taken:
        note += ", as Keras had it before 2.3; --activations says another"
    return (note,)


def _usual_gates(layer: KerasLayer) -> str:
    """cuDNN has no other gates than sigmoid."""
    return "sigmoid" if layer.weights[0].readings[0].layout.name == "keras-cudnn" else usual_gates(layer.version)


def _taken_functions(layer: KerasLayer, cell: str) -> dict[str, Any]:
    """The key `activations` of a layer without a config; none where they are the usual ones."""
    if cell == "rnn" or _usual_gates(layer) == "sigmoid":
        return {}
    return {"activations": ["hard_sigmoid(0.2, 0.5)", "tanh", *(["tanh"] if cell == "lstm" else [])]}


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Part, str | None, str | None]]:
    """The HDF5 of weights, the config and Keras' version; of a plain HDF5 file these are inside it."""
    if path.suffix.lower() != ".keras":
        with opened(path) as part:
            yield part, None, None
        return
    size_of(path)
    where = str(path)
    with opened_zip(path, ".keras", where) as archive:
        if missing := {"config.json", "model.weights.h5"} - set(archive.namelist()):
            raise FileError(f"no {sorted(missing)[0]} is in it", allowed="a .keras file of Keras 3", where=where)
        config = read_member(archive, "config.json", where)
        about = read_member(archive, "metadata.json", where) if "metadata.json" in archive.namelist() else "{}"
        metadata = _json(about, where)
        version = metadata.get("keras_version") if isinstance(metadata, dict) else None
        with opened_member(archive, "model.weights.h5", path) as weights:
            yield weights, config, str(version) if version else None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise FileError("a config that is no JSON", where=where) from None


def _numbers(version: str | None) -> tuple[int, ...]:
    """2.2.4-tf is (2, 2, 4)."""
    return tuple(int(part) for part in re.findall(r"\d{1,6}", version or "")[:3])


READER = Reader(_tell, _read, engine="keras")
