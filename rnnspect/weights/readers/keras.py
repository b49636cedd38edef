"""Keras models and weights on disk: each recurrent layer as a spec of one layer. Loads neither Keras nor torch.

.keras is a zip of config.json and model.weights.h5; .h5 and .hdf5 are HDF5 with the config as an attribute, or, as
.weights.h5, without. What a config names is never imported, so nothing in a file can run.
"""

from __future__ import annotations

import json
import re
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, RnnspectError, WeightsError, listed
from rnnspect.files import hdf5
from rnnspect.files.reading import Part, opened, size_of, why
from rnnspect.files.zip_members import BROKEN, opened_member, read_member
from rnnspect.network.dtypes import DTYPES
from rnnspect.network.parameters import module_repr, suffix
from rnnspect.network.spec import Spec
from rnnspect.weights.readers import choosing
from rnnspect.weights.readers.keras_config import ConfiguredLayer, configured_layers
from rnnspect.weights.readers.keras_groups import ROOT, Weights, gates_of, of_layer, undescribed, weights_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

_ATTRIBUTES = ("model_config", "keras_version", "name")
_UNSAID = {
    "rnn": ("activation", "go_backwards"),
    "gru": ("activation", "recurrent_activation", "go_backwards"),
    "lstm": ("activation", "recurrent_activation", "go_backwards"),
}
"""What shapes cannot tell."""


@dataclass(frozen=True)
class KerasLayer:
    """One recurrent layer, Bidirectional counted as one."""

    name: str
    file: str
    configured: ConfiguredLayer | None
    """None where the file has no config, or one that does not speak of it."""
    weights: tuple[Weights, ...]
    """Of each direction; empty where they were not found."""
    tree: hdf5.Tree

    @property
    def where(self) -> str:
        return f"{self.file}:{self.name}"

    @property
    def reason(self) -> str | None:
        """Why it is no spec; None where it is one."""
        if self.configured and self.configured.reason:
            return self.configured.reason
        return None if self.weights else "its weights are not where its config wants them"


def layers_in(path: Path) -> dict[str, KerasLayer]:
    """Every recurrent layer by name, nested ones after the names of the models that hold them: encoder/lstm.

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
        unique, count = name, 1
        while unique in layers:
            count += 1
            unique = f"{name}#{count}"
        layers[unique] = KerasLayer(unique, where, configured, own, tree)

    spoken: set[str] = set()
    for configured in read:
        own = of_layer(configured, found) or ()
        spoken |= {weights.group for weights in own}
        add("/".join(configured.names), configured, own)
    refused = tuple(one.configured.group for one in layers.values() if one.configured and not one.weights)
    left = {
        group: weights
        for group, weights in found.items()
        if group not in spoken and not any(group == known or group.startswith(f"{known}/") for known in refused)
    }
    for name, own in undescribed(tree, left):
        add(name, None, own)
    return layers


def choose(layers: Mapping[str, KerasLayer], name: str | None, where: str, how: str = "--module with") -> KerasLayer:
    """The layer of that name, or the only one that a spec can say. Raises `FileError` that lists every layer."""
    if not layers:
        raise FileError("it holds no LSTM, GRU or SimpleRNN layer of Keras", where=where)
    return choosing.choose(layers, name, where, "layer", _in_words, how)


def described(layer: KerasLayer, dtype: str | None = None) -> dict[str, Any]:
    """The keys of a spec that config and shapes say; `dtype` is what somebody asked for.

    Raises `FileError` for a layer that a spec cannot say, with the reason, `WeightsError` for weights that do not fit
    the config.
    """
    if layer.reason:
        raise FileError(layer.reason, allowed="what a spec can say", where=layer.where)
    shapes = [{name: layer.tree.datasets[path] for name, path in way.paths.items()} for way in layer.weights]
    cells = {gates_of(layer.tree, way) for way in layer.weights}
    kernel, recurrent = shapes[0]["kernel"].shape, shapes[0]["recurrent_kernel"].shape
    same = all({name: one.shape for name, one in way.items()} == _shapes(shapes[0]) for way in shapes)
    cell = cells.pop()
    if cell is None or cells or not same:
        said = listed(f"{name} {one.shape}" for way in shapes for name, one in way.items())
        allowed = "kernel (I, G·H), recurrent_kernel (H, G·H), bias (G·H) or (2, 3·H), the same in both directions"
        raise WeightsError(f"arrays of no cell: {said}", allowed=allowed, where=layer.where)
    bias = shapes[0].get("bias")
    keys: dict[str, Any] = {"cell": cell, "input_size": kernel[0], "hidden_size": recurrent[0]}
    keys |= {"bias": bias is not None, "bidirectional": len(shapes) == 2, "batch_first": True}
    if cell == "gru" and bias is not None:
        keys["reset"] = "after" if len(bias.shape) == 2 else "before"
    dtypes = list(dict.fromkeys(one.dtype for way in shapes for one in way.values()))
    if unknown := [name for name in dtypes if name not in DTYPES]:
        raise WeightsError(f"weights stored as {listed(unknown)}", allowed=listed(DTYPES), where=layer.where)
    if dtype is None and len(dtypes) > 1:
        raise WeightsError(f"weights in {listed(dtypes)}", allowed="one dtype, or --dtype", where=layer.where)
    keys |= {} if dtype else {"dtype": dtypes[0]}
    told = layer.configured.keys if layer.configured else {}
    for key in ("cell", "hidden_size", "bias", "reset"):
        if key in told and key in keys and told[key] != keys[key]:
            found = f"a config of {key} {told[key]} beside weights of {keys[key]}"
            raise WeightsError(found, allowed="both the same", where=layer.where)
    return keys | told


def notes(layer: KerasLayer) -> tuple[str, ...]:
    """What is worth knowing of how it was read: what is not said, and what Keras does beside the equations."""
    if layer.configured:
        return tuple(f"note: {layer.where} {note}" for note in layer.configured.notes)
    keys = described(layer)
    unsaid = [name for name in _UNSAID[keys["cell"]] if name != "go_backwards" or len(layer.weights) == 1]
    taken = {"activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": "false", "reset_after": "true"}
    unsaid += ["reset_after"] if keys["cell"] == "gru" and "reset" not in keys else []
    return (f"note: {layer.where} does not say {listed(unsaid)}; taken: {listed(taken[name] for name in unsaid)}",)


def stored_parameters(path: Path, layer: KerasLayer, wanted: Spec) -> dict[str, Tensor]:
    """Every parameter of the layer's spec by PyTorch's name.

    Raises as `described`, `WeightsError` for a GRU that is `wanted` in the other form, which no shape shows, and
    `FileError` or `ResourceError` where the numbers cannot be read.
    """
    import torch  # shapes reads a layer without it

    from rnnspect.weights import layouts
    from rnnspect.weights.layouts.packing import unpack

    told = described(layer, wanted.dtype)
    if told.get("reset", wanted.reset) != wanted.reset:
        other = f"a GRU that resets {told['reset']} the product"
        raise WeightsError(other, allowed=f"reset: {told['reset']}", where=layer.where)
    spec = Spec.from_data({**told, "input": None}, lambda _keys: layer.where)
    form = "gru-before" if spec.reset == "before" else spec.cell
    with _opened(path) as (weights, _, _):
        every = [place for way in layer.weights for place in way.paths.values()]
        arrays = hdf5.read_datasets(weights, str(path), every)
    found: dict[str, Tensor] = {}
    for way, direction in zip(layer.weights, spec.directions, strict=True):
        tensors = {}
        for name, place in way.paths.items():
            values = arrays[place]
            halves = layer.tree.datasets[place].dtype == "bfloat16"
            tensors[name] = torch.from_numpy(values.view("int16") if halves else values)
            tensors[name] = tensors[name].view(torch.bfloat16) if halves else tensors[name]
        p = unpack(layouts.find("keras"), form, tensors)
        end = suffix(0, direction)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            if (value := getattr(p, name)) is not None:
                found[name + end] = value
    return found


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Part, str | None, str | None]]:
    """The HDF5 of weights, the config and Keras' version; of a plain HDF5 file these are inside it."""
    if path.suffix.lower() != ".keras":
        with opened(path) as part:
            yield part, None, None
        return
    size_of(path)
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if missing := {"config.json", "model.weights.h5"} - set(archive.namelist()):
                raise FileError(f"no {sorted(missing)[0]} is in it", allowed="a .keras file of Keras 3", where=where)
            config = read_member(archive, "config.json", where)
            about = read_member(archive, "metadata.json", where) if "metadata.json" in archive.namelist() else "{}"
            said = _json(about, where)
            version = said.get("keras_version") if isinstance(said, dict) else None
            with opened_member(archive, "model.weights.h5", path) as weights:
                yield weights, config, str(version) if version else None
    except BROKEN as error:
        raise FileError(f"not a .keras file: {why(error)}", where=where) from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise FileError("a config that is no JSON", where=where) from None


def _numbers(version: str | None, path: Path) -> tuple[int, ...]:
    """2.2.4-tf is (2, 2, 4). Where no version is said, the first Keras that wrote such files."""
    numbers = tuple(int(part) for part in re.findall(r"\d{1,6}", version or "")[:3])
    return numbers or ((3,) if path.suffix.lower() == ".keras" else (2,))


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: one.shape for name, one in arrays.items()}


def _in_words(layer: KerasLayer) -> str:
    try:
        return f"({module_repr(Spec(**{**described(layer), 'input': None}))})"
    except RnnspectError as error:
        return f"(unusable: {error.problems[0].found})"
