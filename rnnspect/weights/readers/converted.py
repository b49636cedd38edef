"""A file that `convert` wrote as layers of another framework, read back as the one network that it was."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rnnspect.errors import FileError
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec
from rnnspect.weights import said
from rnnspect.weights.readers.interface import Module, StoredParameters, Told, spec_with, unique

KEYS = (
    *("cell", "input_size", "hidden_size", "num_layers", "bidirectional"),
    *("nonlinearity", "bias", "batch_first", "dropout", "dtype"),
)
"""The keys of a spec that such a file says of the network."""
_OF_A_LAYER = ("cell", "hidden_size", "bidirectional", "bias", "dtype")
"""Those that its layers must have, too."""


def text_of(spec: Spec) -> str | None:
    """What a file of layers says of the network; None of one that no module of torch.nn computes, whose layers are read
    one by one."""
    return None if spec.beyond_torch else said.written(spec, KEYS)


def network_of(layers: Mapping[str, Module], text: str | None, path: str) -> dict[str, Module]:
    """The network that the layers of a file form, if the file says one, before them; a layer is then taken only where
    it is named. Raises `FileError` where the layers are not those of the network that the file says."""
    keys = said.read(text, KEYS, path)
    if not keys:
        return dict(layers)
    spec = spec_with(keys, path)
    name = unique("network", layers)
    every = tuple(layers.values())
    tell = functools.partial(_tell, every, spec, keys, path, name)
    network = Module(tell, functools.partial(_read, every))
    return {name: network} | {known: replace(one, in_stack=True) for known, one in layers.items()}


def _tell(layers: tuple[Module, ...], spec: Spec, keys: Mapping[str, Any], path: str, name: str) -> Told:
    every = [one.tell().keys for one in layers]
    wanted = [spec.layer_input_size(layer) for layer in range(spec.num_layers)]
    fits = [one.get("input_size") for one in every] == wanted and all(
        own.get(key, keys[key]) == keys[key] for own in every for key in _OF_A_LAYER if key in keys
    )
    if not fits:
        found = f"the layers do not fit the network of {spec.num_layers} layers in the file's metadata {said.NAME!r}"
        raise FileError(found, advice="choose one layer with --module", where=path)
    return Told({**keys, "weights": f"{path}:{name}"}, path)


def _read(layers: tuple[Module, ...], spec: Spec) -> StoredParameters:
    parameters, names = {}, {}
    for at, layer in enumerate(layers[: spec.num_layers]):
        told = layer.tell()
        held = layer.read(Spec.from_data({**told.keys, "input": None}))
        first = {suffix(0, direction): suffix(at, direction) for direction in spec.directions}
        for name, values in held.parameters.items():
            end = "_l0_reverse" if name.endswith("_reverse") else "_l0"
            known = name.removesuffix(end) + first[end]
            parameters[known] = values
            names[known] = held.names.get(name, name)
    return StoredParameters(parameters, names)
