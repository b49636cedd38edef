"""What `convert` writes of a network beside its arrays, where a format has room for it: keys of a spec as JSON, under
one name. With it a file of layers of another framework is read back as the one network that it was."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from rnnspect.errors import FileError, written
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.interface import Module, Told, spec_with, unique
from rnnspect.weights.readers.stacks import NAME as NETWORK
from rnnspect.weights.readers.stacks import parameters_of_stack

NAME = "rnnspect"
"""What files call that text among their metadata."""
MOST = 10_000
"""Characters of such a text; more is not read."""
KEYS = (
    *("cell", "input_size", "hidden_size", "num_layers", "bidirectional"),
    *("nonlinearity", "bias", "batch_first", "dropout", "dtype"),
)
"""The keys of a spec that a file of layers says of the network."""
_OF_THE_NETWORK = ("weights", "layout", "input_size", "num_layers", "batch_first", "dropout")
"""Those in which the network may differ from a layer: all others must be the same."""


def keys_as_text(spec: Spec, keys: Collection[str]) -> str:
    """These keys of a spec, those that have a value."""
    return json.dumps({key: value for key in keys if (value := getattr(spec, key)) is not None})


def keys_in(text: str | None, keys: Collection[str], where: str) -> dict[str, Any]:
    """The keys that a file says of these, not validated yet; none where it says nothing.

    Raises `FileError` for a text that `keys_as_text` does not give.
    """
    if text is None:
        return {}
    try:
        said = json.loads(text) if len(text) <= MOST else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise FileError(f"the file's metadata {NAME!r} is damaged", allowed="a JSON object", where=where)
    return {key: value for key, value in said.items() if key in keys}


def text_of(spec: Spec) -> str | None:
    """What a file of layers says of the network; None of one that no module of torch.nn computes, whose layers are read
    one by one."""
    return None if spec.beyond_torch else keys_as_text(spec, KEYS)


def network_of(
    layers: Mapping[str, Module], text: str | None, path: str, with_notes: bool = False
) -> dict[str, Module]:
    """The network that the layers of a file form, if the file says one, before them; a layer is then taken only where
    it is named. `with_notes` says whether what the layers note holds of the network, too: not what was assumed of them.

    Raises `FileError` where the layers are not those of the network that the file says.
    """
    keys = keys_in(text, KEYS, path)
    if not keys:
        return dict(layers)
    spec = spec_with(keys, path)
    name = unique(NETWORK, layers)
    every = tuple(layers.values())
    tell = functools.partial(_tell, every, spec, {**keys, "weights": f"{path}:{name}"}, path, with_notes)
    network = Module(tell, functools.partial(parameters_of_stack, every))
    return {name: network} | {known: replace(one, in_stack=True) for known, one in layers.items()}


def _tell(layers: tuple[Module, ...], spec: Spec, keys: dict[str, Any], path: str, with_notes: bool) -> Told:
    every = [one.tell() for one in layers]
    wanted = [spec.layer_input_size(layer) for layer in range(spec.num_layers)]
    differ = [
        f"{own.source} has {key} {written(value)}, not {written(getattr(spec, key))}"
        for own in every
        for key, value in own.keys.items()
        if key not in _OF_THE_NETWORK and value != getattr(spec, key)
    ]
    if differ or [own.keys.get("input_size") for own in every] != wanted:
        count = f"{spec.num_layers} layer{'s' if spec.num_layers > 1 else ''}"
        found = f"the layers do not fit the network of {count} in the file's metadata {NAME!r}"
        found = ": ".join((found, *differ[:1]))
        raise FileError(found, advice="choose one layer with --module", where=path)
    notes = tuple(note for own in every for note in own.notes) if with_notes else ()
    return Told(keys, path, notes=notes)
