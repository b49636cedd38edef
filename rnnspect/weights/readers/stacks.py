"""Layers of a file that form one network: what it tells and reads of them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnnspect.errors import InputError
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec
from rnnspect.network.spec_keys import MAX_LAYERS
from rnnspect.weights.readers.interface import Module, StoredParameters, Told, spec_with, unique

NAME = "network"
"""The name of the network that layers form."""
_OF_ONE = ("input_size", "weights")
"""Keys of a spec in which the layers of one network may differ."""


def parameters_of_stack(layers: Sequence[Module], spec: Spec) -> StoredParameters:
    """The parameters of the network of these layers."""
    parameters, names = {}, {}
    for at, layer in enumerate(layers[: spec.num_layers]):
        told = layer.tell()
        held = layer.read(Spec.from_data({**told.keys, "input": None}))
        for name, values in held.parameters.items():
            direction = "reverse" if name.endswith("_reverse") else "forward"  # whatever the spec wants
            known = name.removesuffix(suffix(0, direction)) + suffix(at, direction)
            parameters[known] = values
            names[known] = held.names.get(name, name)
    return StoredParameters(parameters, names)


def with_stacks(layers: Mapping[str, Module], below: Mapping[str, str], path: str) -> dict[str, Module]:
    """The layers of a file with each network that some of them form before its first layer; such a layer is then taken
    only where it is named. `below` says by the name of a layer the one whose output of all steps it takes as it is."""
    told = {name: _told(one) for name, one in layers.items()}
    stacks = [one for one in _stacks(told, below) if len(one) > 1]
    network_at: dict[str, str] = {}
    for stack in stacks:
        name = unique(NAME, {*layers, *network_at.values()})
        network_at |= dict.fromkeys(stack, name)
    found: dict[str, Module] = {}
    by_first = {stack[0]: stack for stack in stacks}
    for name, one in layers.items():
        if name in by_first:
            every = tuple(layers[inner] for inner in by_first[name])
            tell = functools.partial(_tell, every, f"{path}:{network_at[name]}", network_at)
            found[network_at[name]] = Module(tell, functools.partial(parameters_of_stack, every))
        if name in network_at:
            found[name] = replace(one, in_stack=True)
        else:
            found[name] = replace(one, tell=functools.partial(_outside, one, network_at))
    return found


def _told(layer: Module) -> Mapping[str, Any] | None:
    """The keys of a layer; None of one that no spec describes."""
    try:
        told = layer.tell()
        spec_with(told.keys, told.source)
    except InputError:
        return None
    return told.keys


def _stacks(told: Mapping[str, Mapping[str, Any] | None], below: Mapping[str, str]) -> list[list[str]]:
    """The layers from the lowest of each network, with those that stand alone."""
    readers = Counter(below.values())
    by_top: dict[str, list[str]] = {}
    for name, own in told.items():
        lower = below.get(name, "")
        under = told.get(lower)
        fits = readers[lower] == 1 and own is not None and under is not None and _fit(under, own)
        if fits and lower in by_top and len(by_top[lower]) < MAX_LAYERS:
            by_top[name] = [*by_top.pop(lower), name]
        else:
            by_top[name] = [name]
    return list(by_top.values())


def _fit(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> bool:
    width = (lower.get("proj_size") or lower["hidden_size"]) * (2 if lower.get("bidirectional") else 1)
    alike = [{key: value for key, value in one.items() if key not in _OF_ONE} for one in (lower, upper)]
    return bool(upper["input_size"] == width and alike[0] == alike[1])


def _tell(layers: Sequence[Module], where: str, network_at: Mapping[str, str]) -> Told:
    told = [one.tell() for one in layers]
    keys = {**told[0].keys, "num_layers": len(layers), "weights": where}
    reads_from = network_at.get(told[0].reads_from, told[0].reads_from)
    return Told(keys, where, reads_from, tuple(note for one in told for note in one.notes))


def _outside(layer: Module, network_at: Mapping[str, str]) -> Told:
    """What a layer tells that may read from a network."""
    told = layer.tell()
    return replace(told, reads_from=network_at.get(told.reads_from, told.reads_from))
