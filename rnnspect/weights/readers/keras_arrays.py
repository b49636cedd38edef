"""Finds the arrays of a Keras file that are the weights of one recurrent layer, by their paths and shapes.

A .keras or .weights.h5 of Keras 3 has vars/0, vars/1 and vars/2 of each cell, under the attributes that lead to it:
layers/lstm/cell/vars/0. Keras 2, and Keras 3 in .h5, have kernel, recurrent_kernel and bias under the layers' names:
lstm/lstm/kernel:0. Keras 1 has an array for each gate: lstm_1/lstm_1_W_i.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rnnspect.files.hdf5 import Tree
from rnnspect.weights import layouts
from rnnspect.weights.layouts.interface import Layout, Packing, Sizes, fitting
from rnnspect.weights.readers.keras_layer import ConfiguredLayer

LAYOUTS = ("keras", "keras-cudnn", "keras-1")
ARRAYS = ("kernel", "recurrent_kernel", "bias")
_KERAS_1 = re.compile(r"(?P<layer>.+)_(?P<array>[WUb](?:_[a-z])?)", re.DOTALL)
_FUSED = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}
_KERNELS = [{"kernel", "recurrent_kernel"}, {"W_i", "U_i"}, {"W_z", "U_z"}]
_NAMES = [*ARRAYS, *(f"{kind}_{gate}" for kind in "WUb" for gate in "icfozrh")]
ROOT = "model_weights"
_VARS = re.compile(r"(.*)/cell/vars|(.*/cell/cells/[^/]+)/vars", re.DOTALL)
"""Where the arrays of a layer's cell are, and of one of the cells of StackedRNNCells, which counts as a layer."""
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_BY_NAME = re.compile(r"(?P<before>(?:.*/)?)(?P<direction>forward|backward)_(?P<after>[^/]*)(?:/[^/]*)?", re.DOTALL)
_BY_ATTRIBUTE = re.compile(r"(?P<before>.*/)(?P<direction>forward|backward)_(?P<after>layer)", re.DOTALL)
_CELL = re.compile(r"cell(_\d+)?\Z")


@dataclass(frozen=True)
class Weights:
    """The arrays of one direction of a layer."""

    group: str
    """The path of the layer in the file."""
    paths: Mapping[str, str]
    """By the array's name in the layout the path of the dataset."""
    by_name: bool
    """Whether the file has them under those names, not as vars/0, vars/1, …"""
    fits: tuple[FittingCell, ...]
    """What their shapes allow, the likeliest first; none where they are those of no cell."""


_Placed = tuple[tuple[str, ...], Weights]
"""The arrays of one direction, and the names that lead to them."""


@dataclass(frozen=True)
class FittingCell:
    """A cell that has arrays of these shapes, in one of Keras' layouts."""

    layout: Layout
    packing: Packing
    sizes: Sizes

    @property
    def cell(self) -> str:
        return self.packing.form.partition("-")[0]


def weights_in(tree: Tree, version: tuple[int, ...]) -> dict[str, Weights]:
    """The arrays that look like those of a recurrent layer and lie side by side, by the path of the layer, in the
    file's order. `version` is that of the Keras that wrote the file; empty where it is not known."""
    groups: dict[str, dict[str, str]] = {}
    for path in tree.datasets:
        group, _, name = path.rpartition("/")
        name = name.removesuffix(":0")
        if version < (2,) and (match := _KERAS_1.fullmatch(name)):
            group, name = f"{group}/{match['layer']}", _FUSED.get(match["array"], match["array"])
        groups.setdefault(group, {})[name] = path
    found: dict[str, Weights] = {}
    for group, arrays in groups.items():
        match = _VARS.fullmatch(group)
        by_name = match is None
        names = {name: name for name in _NAMES} if by_name else dict(zip("012", ARRAYS, strict=True))
        paths = {names[name]: path for name, path in arrays.items() if name in names}
        if any(kernels <= set(paths) for kernels in _KERNELS):
            fits = _fits(tuple((name, tree.datasets[path].shape) for name, path in paths.items()))
            weights = Weights((match[1] or match[2]) if match else group, paths, by_name, fits)
            found[weights.group] = weights
    return found


@functools.lru_cache(maxsize=64)
def _fits(arrays: tuple[tuple[str, tuple[int, ...]], ...]) -> tuple[FittingCell, ...]:
    every = ((layout, packing) for layout in map(layouts.find, LAYOUTS) for packing in layout.packings)
    return tuple(FittingCell(*one, sizes) for one in every if (sizes := fitting(one[1], dict(arrays))))


def of_layer(layer: ConfiguredLayer, found: Mapping[str, Weights]) -> tuple[Weights, ...] | None:
    """The arrays of each direction of a layer; None where they are missing, or where several sets could be its own."""
    for group in (layer.group, layer.group.replace(*_CONTAINERS)):
        places = [f"{group}/forward_layer", f"{group}/backward_layer"] if layer.bidirectional else [group]
        if all(place in found and not found[place].by_name for place in places):
            return tuple(found[place] for place in places)
    below = [
        (tuple(weights.group.removeprefix(start).split("/")), weights)
        for weights in found.values()
        for start in (f"{ROOT}/{layer.names[0]}/", f"{layer.names[0]}/")
        if weights.by_name and weights.group.startswith(start)
    ]
    own = _named(layer, below)
    if not layer.bidirectional:
        return (own[0][1],) if len(own) == 1 else None
    forward, others = (
        [weights for parts, weights in own if _direction(parts, layer).startswith("forward_") is first]
        for first in (True, False)
    )
    return (forward[0], others[0]) if len(forward) == len(others) == 1 else None


def _named(layer: ConfiguredLayer, below: list[_Placed]) -> list[_Placed]:
    """Of the arrays below the outermost name those of this layer: its own name stands last, or before the names of its
    direction and cell; then that of the model around it stands before it."""
    most_after = 2 if layer.bidirectional else 1
    for names in (layer.names[-1:], layer.names[-2:]):
        below = [one for one in below if _leads(one[0], names, most_after)] or below
    return below


def _leads(parts: tuple[str, ...], names: tuple[str, ...], most_after: int) -> bool:
    """Whether these names stand together in a path, with at most so many after them."""
    starts = range(len(parts) - len(names) - most_after, len(parts) - len(names) + 1)
    return any(parts[start : start + len(names)] == names for start in starts if start >= 0)


def _direction(parts: tuple[str, ...], layer: ConfiguredLayer) -> str:
    """The name of one direction of a Bidirectional: it follows its own name, or is the last that is no cell's."""
    if layer.names[-1] in parts[:-1]:
        return parts[len(parts) - 1 - parts[-2::-1].index(layer.names[-1])]
    return parts[-2] if len(parts) > 1 and _CELL.search(parts[-1]) else parts[-1]


def may_be_of(layer: ConfiguredLayer, weights: Weights) -> bool:
    """Whether arrays lie where those of a layer do whose own were not found."""
    top, own = layer.names[0], layer.names[-1]
    if not weights.by_name:
        return f"{weights.group}/".startswith(f"{layer.group}/")
    _, found, rest = f"/{weights.group}/".partition(f"/{top}/")
    return bool(found) and (len(layer.names) == 1 or f"/{own}/" in f"/{rest}")


def undescribed(tree: Tree, found: Mapping[str, Weights]) -> list[tuple[str, tuple[Weights, ...]]]:
    """The layers that no config mentions, but whose arrays have the shapes of a recurrent layer: for each its name, and
    the arrays of each direction."""
    directions: dict[tuple[str, ...], dict[str, Weights]] = {}
    for weights in found.values():
        if weights.fits:
            match = (_BY_NAME if weights.by_name else _BY_ATTRIBUTE).fullmatch(weights.group)
            key = match.group("before", "after") if match else (weights.group,)
            directions.setdefault(key, {})[match["direction"] if match else ""] = weights
    layers: list[tuple[str, tuple[Weights, ...]]] = []
    for (before, *_), pair in directions.items():
        if set(pair) == {"forward", "backward"}:
            both = pair["forward"], pair["backward"]
            layers.append((_name(tree, before.rstrip("/"), both[0].by_name), both))
        else:
            layers += [(_name(tree, one.group, one.by_name), (one,)) for one in pair.values()]
    return sorted(layers, key=lambda layer: _in_order(layer[1][0].group))


def _in_order(group: str) -> list[tuple[str, int]]:
    """lstm_2 comes before lstm_10; HDF5 has them as texts."""
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d{0,9})", group)]


def kinds_of(tree: Tree) -> list[str]:
    """What kinds of layers the groups at the top are called after, each once: conv1d of conv1d_2."""
    inner = (path.removeprefix(f"{ROOT}/").removeprefix("layers/") for path in tree.datasets)
    return list(dict.fromkeys(re.sub(r"_\d+\Z", "", path.partition("/")[0]) for path in inner))


def _name(tree: Tree, group: str, by_name: bool) -> str:
    """A layer's name: lstm for lstm/lstm/lstm_cell, enc/one for enc/enc/one/lstm_cell. Under paths of attributes newer
    files keep the layers' own names as texts beside vars."""
    if by_name:
        parts = group.removeprefix(f"{ROOT}/").split("/")
        parts = parts[1:] if parts[:1] == parts[1:2] else parts
        return "/".join(parts[:-1] if len(parts) > 1 and _CELL.search(parts[-1]) else parts)
    parts, names = group.split("/"), []
    for at, part in enumerate(parts):
        if part not in _CONTAINERS:
            names.append(tree.text("name", "/".join([*parts[: at + 1], "vars"])) or part)
    return "/".join(names)
