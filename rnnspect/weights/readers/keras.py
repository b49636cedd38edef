"""Keras models and weights on disk: each recurrent layer as a spec of one layer. Loads neither Keras nor torch.

.keras is a zip of config.json and model.weights.h5. .h5 and .hdf5 are HDF5, with the config as an attribute, or without
one in .weights.h5. What a config names is never imported, so nothing in a file can run.
"""

from __future__ import annotations

import functools
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, WeightsError, listed
from rnnspect.files import hdf5
from rnnspect.files.reading import Part, opened
from rnnspect.files.zip_members import opened_member, opened_zip, read_member
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights import layouts, said
from rnnspect.weights.readers import converted, interface
from rnnspect.weights.readers.interface import Module, Reader, StoredParameters, Told
from rnnspect.weights.readers.keras_config import ConfiguredLayer, configured_layers
from rnnspect.weights.readers.keras_groups import ROOT, Weights, gates_of, of_layer, undescribed, weights_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse

_ATTRIBUTES = ("model_config", "keras_version", "name", said.NAME)
_TAKEN = {"activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": "false", "reset_after": "true"}
"""The values that are assumed for what shapes cannot tell."""


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
    read = configured_layers(_json(config, where), _numbers(version, path), where) if config else []
    found = weights_in(tree)
    layers: dict[str, KerasLayer] = {}

    def add(name: str, configured: ConfiguredLayer | None, own: tuple[Weights, ...]) -> None:
        name = interface.unique(name, layers)
        layers[name] = KerasLayer(f"{where}:{name}", configured, own, tree)

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


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    layers = layers_in(path)
    if not layers:
        raise FileError("it holds no LSTM, GRU or SimpleRNN layer of Keras", where=str(path))
    modules = {
        name: Module(functools.partial(_tell, layer, flags), functools.partial(_read, layer, path))
        for name, layer in layers.items()
    }
    text = next(iter(layers.values())).tree.text(said.NAME, "")
    return converted.network_of(modules, text, str(path))


def _tell(layer: KerasLayer, flags: Mapping[str, Any]) -> Told:
    keys = _described(layer, flags.get("dtype"))
    return Told(keys | {"weights": layer.where, "layout": "keras"}, layer.where, notes=_notes(layer, keys))


def _read(layer: KerasLayer, path: Path, spec: Spec) -> StoredParameters:
    """Also raises `WeightsError` for a GRU whose other form the spec wants: no shape shows the difference."""
    from rnnspect.weights.layouts.packing import unpack

    keys = _described(layer, spec.dtype)
    if keys.get("reset", spec.reset) != spec.reset:
        other = f"a GRU that resets {keys['reset']} the product"
        raise WeightsError(other, allowed=f"reset: {keys['reset']}", where=layer.where)
    own = Spec.from_data({**keys, "input": None}, lambda _keys: layer.where)
    with _opened(path) as (weights, _, _):
        every = [place for arrays in layer.weights for place in arrays.paths.values()]
        stored = hdf5.read_datasets(weights, str(path), every)
    found = StoredParameters({})
    for arrays, direction in zip(layer.weights, own.directions, strict=True):
        tensors = {name: stored[place] for name, place in arrays.paths.items()}
        found.parameters.update(unpack(layouts.find("keras"), form_of(own), tensors).named(0, direction))
    return found


def _described(layer: KerasLayer, dtype: str | None = None) -> dict[str, Any]:
    """The keys of a spec that config and shapes say; `dtype` is what somebody asked for.

    Raises `FileError` for a layer that a spec cannot describe, `WeightsError` for weights that do not fit the config.
    """
    if layer.reason:
        raise FileError(layer.reason, allowed="what a spec can say", where=layer.where)
    directions = [{name: layer.tree.datasets[path] for name, path in arrays.paths.items()} for arrays in layer.weights]
    shapes = [{name: one.shape for name, one in arrays.items()} for arrays in directions]
    first, cell = shapes[0], gates_of(layer.tree, layer.weights[0])
    if cell is None or any(other != first for other in shapes):
        found = listed(f"{name} {shape}" for arrays in shapes for name, shape in arrays.items())
        allowed = "kernel (I, G·H), recurrent_kernel (H, G·H), bias (G·H) or (2, 3·H), the same in both directions"
        raise WeightsError(f"arrays of no cell: {found}", allowed=allowed, where=layer.where)
    bias = first.get("bias")
    keys: dict[str, Any] = {"cell": cell, "input_size": first["kernel"][0], "hidden_size": first["recurrent_kernel"][0]}
    keys |= {"bias": bias is not None, "bidirectional": len(shapes) == 2, "batch_first": True}
    if cell == "gru" and bias is not None:
        keys["reset"] = "after" if len(bias) == 2 else "before"
    dtypes = [one.dtype for arrays in directions for one in arrays.values()]
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
    unsaid = ["activation", *(["recurrent_activation"] if keys["cell"] != "rnn" else [])]
    unsaid += ["go_backwards"] if len(layer.weights) == 1 else []
    unsaid += ["reset_after"] if keys["cell"] == "gru" and "reset" not in keys else []
    return (f"note: {layer.where} does not say {listed(unsaid)}; taken: {listed(_TAKEN[name] for name in unsaid)}",)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Part, str | None, str | None]]:
    """The HDF5 of weights, the config and Keras' version; of a plain HDF5 file these are inside it."""
    with opened(path) as part:
        if part.file.read(2) != b"PK" and path.suffix.lower() != ".keras":
            yield part, None, None
            return
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


def _numbers(version: str | None, path: Path) -> tuple[int, ...]:
    """2.2.4-tf is (2, 2, 4). Where no version is said, the first Keras that wrote such files."""
    numbers = tuple(int(part) for part in re.findall(r"\d{1,6}", version or "")[:3])
    return numbers or ((3,) if path.suffix.lower() == ".keras" else (2,))


def _recognises(seen: Glimpse) -> bool:
    return seen.head.startswith(b"\x89HDF\r\n\x1a\n") or "model.weights.h5" in seen.members


READER = Reader("a Keras file", _recognises, _modules, (".keras", ".h5", ".hdf5"), engine="keras", noun="layer")
