"""Recurrent layers in a checkpoint that is packed as another framework packs it: which arrays make a layer, in which
layout, and their numbers as PyTorch's parameters. To find them no framework is loaded.

The framework's names may stand under any prefix, with . or / between their parts. Prefixes that say forward and
backward are two directions of one layer. Prefixes that differ in their numbers alone (lstm, lstm_1) are layers of one
stack, where the upper one's input is as wide as the lower one's output.
"""

from __future__ import annotations

import functools
import keyword
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rnnspect.errors import FileError, InputError, WeightsError, listed
from rnnspect.files.reading import Stored, Tensors
from rnnspect.network.spec import Spec
from rnnspect.weights import layouts
from rnnspect.weights.layouts.interface import Layout, Packing, Sizes, fitting
from rnnspect.weights.readers.counted_names import is_between, is_counted, numbered
from rnnspect.weights.readers.interface import Module, StoredParameters, Told, dtype_of, whole
from rnnspect.weights.readers.pytorch import UNTOLD

_FORWARD = (("backward", "forward"), ("bwd", "fwd"), ("bw", "fw"), ("_reverse", ""))
"""What marks the prefix of a second direction, and what the first direction's prefix has in its place."""
_RECURRENT = re.compile(r"(rnn|lstm|gru|cell|recurrent)[^./]*\Z", re.IGNORECASE)
"""The end of a prefix that says what it is."""


@dataclass(frozen=True)
class FoundLayer:
    """Arrays of a file read as one layer in one layout."""

    layout: Layout
    packing: Packing
    prefix: str
    directions: tuple[Mapping[str, str], ...]
    """For each direction by the framework's name of an array its name in the file."""
    leading: bool
    """Whether the arrays have the directions as their first axis; then both directions have the same names."""
    sizes: Sizes

    @property
    def takes(self) -> frozenset[str]:
        """The names in the file of the first direction's arrays."""
        return frozenset(self.directions[0].values())

    @property
    def explains(self) -> int:
        """How many characters of those names are the framework's, not the prefix's."""
        return sum(map(len, self.directions[0]))


@dataclass(frozen=True)
class FoundStack:
    """Layers one above the other; the first one's prefix is the module's name."""

    layers: tuple[FoundLayer, ...]
    both_resets: bool
    """Whether the arrays fit both forms of the GRU."""

    @property
    def names(self) -> list[str]:
        """Every array of the file that belongs to it."""
        every = (name for layer in self.layers for names in layer.directions for name in names.values())
        return list(dict.fromkeys(every))


def modules_of(tensors: Tensors, path: str, flags: Mapping[str, Any]) -> dict[str, Module]:
    """Every module in the layout that `flags` say, or in any that fits. A layer that a stack has above its first one is
    a module, too, which is taken only where it is named.

    Raises `FileError` where there is none in the layout that flags say. Of a module `tell` raises `InputError` where
    several layouts or cells fit, and `WeightsError` for arrays of a dtype that no spec has, or of several dtypes where
    `flags` say none.
    """
    layout = flags.get("layout")
    known = [layouts.find(layout, "--layout")] if layout else list(layouts.every())
    layers = _layers(tensors.stored, known, said=bool(layout or flags.get("cell")))
    if layout and not layers:
        raise _nothing(tensors.stored, known[0], path)
    above = {
        upper.prefix
        for found in layers.values()
        for one in found
        if not is_counted(one.prefix) and (upper := _above(one, layers, tensors.stored))
    }
    return {
        prefix: Module(
            functools.partial(_tell, tensors.stored, path, prefix, layers, flags),
            functools.partial(_read, tensors, path, prefix, layers),
            in_stack=prefix in above,
            takes=max(len(layer.takes) * len(layer.directions) for layer in layers[prefix]),
        )
        for prefix in layers
    }


def _tell(
    stored: Mapping[str, Stored],
    path: str,
    module: str,
    layers: Mapping[str, list[FoundLayer]],
    flags: Mapping[str, Any],
) -> Told:
    stack = _stack_of(layers, stored, path, module, flags)
    first, names = stack.layers[0], stack.names
    source = f"{path}:{first.prefix}" if first.prefix else path
    keys = _keys(stack) | dtype_of((stored[name].dtype for name in names), flags.get("dtype"), source)
    keys["weights"] = path if len(names) == len(stored) else f"{path}:{first.prefix}"
    notes = [] if "layout" in flags else [f"note: {source} {_how_read(stack)}"]
    if stack.both_resets and "reset" not in flags:
        assumed = "where the GRU applies its reset gate; assuming after the matrix product (--reset after)"
        notes.append(f"note: {source} does not store {assumed}")
    return Told(keys, source, "", tuple(notes), UNTOLD, len(stored) - len(names))


def _read(
    tensors: Tensors, path: str, module: str, layers: Mapping[str, list[FoundLayer]], spec: Spec
) -> StoredParameters:
    """The parameters of the module in the spec's layout."""
    from rnnspect.weights.layouts.packing import unpack  # with torch, which shapes does without

    wanted = {key: getattr(spec, key) for key in ("cell", "num_layers", "reset", "layout")}
    stack = _stack_of(layers, tensors.stored, path, module, wanted)
    stored = tensors.read(stack.names)
    found = StoredParameters({})
    for at, layer in enumerate(stack.layers):
        for index, (names, direction) in enumerate(zip(layer.directions, ("forward", "reverse"), strict=False)):
            given = {name: stored[there][index] if layer.leading else stored[there] for name, there in names.items()}
            p = unpack(layer.layout, layer.packing.form, given).named(at, direction)
            found.parameters.update(p)
            found.names.update(dict.fromkeys(p, names[layer.packing.weights[0]]))
    return found


def _keys(stack: FoundStack) -> dict[str, Any]:
    layer, form = stack.layers[0], stack.layers[0].packing.form
    return {
        "cell": "gru" if form.startswith("gru") else form,
        **vars(layer.sizes),
        "num_layers": len(stack.layers),
        "bidirectional": len(layer.directions) == 2,
        "layout": layer.layout.name,
        **({"reset": "before"} if form == "gru-before" else {}),
    }


def _how_read(stack: FoundStack) -> str:
    """For a note: read as keras (keras.layers.LSTM): kernel = W_ii W_if …"""
    layer, last = stack.layers[0], stack.layers[-1]
    arrays = listed((f"{name} = {layer.packing.arrays[name]}" for name in layer.directions[0]), 3)
    several = f", {len(stack.layers)} layers from {last.prefix!r}" if last is not layer else ""
    return f"read as {layer.layout.name} ({layer.packing.where}): {arrays}{several}"


def _stack_of(
    layers: Mapping[str, list[FoundLayer]],
    stored: Collection[str],
    path: str,
    module: str,
    flags: Mapping[str, Any],
) -> FoundStack:
    fitting = _fitting(layers[module], flags)
    if len({_meaning(layer) for layer in fitting}) > 1:
        names = list(dict.fromkeys(layer.layout.name for layer in fitting))
        forms = listed(layer.packing.form for layer in fitting)
        what, flag = (forms, "--cell") if len(names) == 1 else (listed(names), "--layout")
        place = f"{path}:{module}" if module else path
        raise InputError(f"the arrays fit several {flag[2:]}s: {what}", advice=f"choose one with {flag}", where=place)
    chain = [fitting[0]]
    most = flags.get("num_layers") or (1 if is_counted(module) else len(layers))
    while len(chain) < most and (upper := _above(chain[-1], layers, stored)):
        chain.append(upper)
    forms_there = {other.packing.form for other in layers[module] if other.layout is chain[0].layout}
    return FoundStack(tuple(chain), {"gru", "gru-before"} <= forms_there)


def _layers(stored: Mapping[str, Stored], known: Iterable[Layout], said: bool) -> dict[str, list[FoundLayer]]:
    """By prefix every layer that names and shapes allow; a second direction is under the prefix of the first. Dense
    layers have one kernel and one bias as well: such arrays are a recurrent layer where their prefix or a user says so.
    """
    every = [
        layer
        for layout in known
        for packing in layout.packings
        for prefix, names in _groups(packing, stored).items()
        if said or len(packing.weights) > 1 or _RECURRENT.search(prefix)
        if (layer := _layer(layout, packing, prefix, names, stored))
    ]
    largest = whole(layer.takes for layer in every)
    most: dict[frozenset[str], int] = {}
    for layer in every:
        most[layer.takes] = max(most.get(layer.takes, 0), layer.explains)
    found: dict[str, list[FoundLayer]] = {}
    for layer in every:
        # Of linear.w and w under linear the longer name; of a GRU and its candidate alone the GRU.
        if layer.explains == most[layer.takes] and layer.takes in largest:
            found.setdefault(layer.prefix, []).append(layer)
    for prefix in list(found):
        others = (prefix.replace(second, first) for second, first in _FORWARD)
        if first := next((other for other in others if other != prefix and other in found), None):
            found[first] = [_both(layer, found[prefix]) for layer in found[first]]
            del found[prefix]
    return found


def _groups(packing: Packing, stored: Mapping[str, Stored]) -> dict[str, dict[str, str]]:
    """By prefix the names in the file by the framework's names."""
    pattern, by_dots = _pattern(packing), {name.replace("/", "."): name for name in packing.arrays}
    groups: dict[str, dict[str, str]] = {}
    for there in stored:
        if match := pattern.fullmatch(there):
            name = by_dots[match["name"].replace("/", ".").replace("_.", ".")]
            groups.setdefault(match["prefix"].rstrip("./"), {}).setdefault(name, there)
    return groups


@functools.cache
def _pattern(packing: Packing) -> re.Pattern[str]:
    """Longer names come first, as kernel ends recurrent_kernel. TensorFlow ends names with :0, Flax with /value; Flax's
    nnx, whose names are attributes in Python, calls if.kernel if_.kernel."""
    names = sorted(packing.arrays, key=len, reverse=True)
    every = "|".join("[./]".join(map(_part, re.split("[./]", name))) for name in names)
    return re.compile(rf"(?P<prefix>(?:.*?[^0-9A-Za-z])??)(?P<name>{every})(?::0|[./](?:raw_)?value)?", re.DOTALL)


def _part(name: str) -> str:
    return re.escape(name) + "_?" * keyword.iskeyword(name)


def _layer(
    layout: Layout, packing: Packing, prefix: str, names: dict[str, str], stored: Mapping[str, Stored]
) -> FoundLayer | None:
    shapes = {name: stored[there].shape for name, there in names.items()}
    first = next(iter(shapes.values()))
    leading = layout.leading_direction and all(len(shape) > 1 and shape[0] == first[0] for shape in shapes.values())
    for strip in (True, False) if leading and first[0] in {1, 2} else (False,):
        if sizes := fitting(packing, {name: shape[1:] if strip else shape for name, shape in shapes.items()}):
            return FoundLayer(layout, packing, prefix, (names,) * (first[0] if strip else 1), strip, sizes)
    return None


def _both(first: FoundLayer, others: list[FoundLayer]) -> FoundLayer:
    second = next((other for other in others if other.packing is first.packing and other.sizes == first.sizes), None)
    if second is None or len(first.directions) == 2:
        return first
    return replace(first, directions=(*first.directions, *second.directions), leading=False)


def _fitting(layers: list[FoundLayer], flags: Mapping[str, Any]) -> list[FoundLayer]:
    """Those that take the most arrays and are of the cell that `flags` say; of both forms of a GRU the one that
    resets after the product, if they say nothing."""
    most = max(len(layer.takes) for layer in layers)
    layers = [layer for layer in layers if len(layer.takes) == most]
    if cell := flags.get("cell"):
        layers = [layer for layer in layers if layer.packing.form.startswith(cell)] or layers
    if {"gru", "gru-before"} <= {layer.packing.form for layer in layers}:
        other = "gru" if flags.get("reset") == "before" else "gru-before"
        layers = [layer for layer in layers if layer.packing.form != other]
    return layers


def _meaning(layer: FoundLayer) -> tuple[Any, ...]:
    """Equal for layers that give the same parameters."""
    packing, names = layer.packing, layer.directions[0]
    blocks = tuple((there, packing.arrays[name]) for name, there in sorted(names.items(), key=lambda item: item[1]))
    return packing.form, packing.orientation, packing.forget_bias, blocks


def _above(layer: FoundLayer, layers: Mapping[str, list[FoundLayer]], stored: Collection[str]) -> FoundLayer | None:
    """The layer whose prefix has the next higher numbers, if its input is as wide as this one's output, and if no other
    array stands between the two: one of layers_1, between layers_0 and layers_2."""
    text, numbers = numbered(layer.prefix)
    higher = [(at, other) for other in layers for words, at in [numbered(other)] if words == text and at > numbers]
    width = (layer.sizes.proj_size or layer.sizes.hidden_size) * len(layer.directions)
    wanted = layer.packing, replace(layer.sizes, input_size=width), len(layer.directions)
    found = layers[min(higher)[1]] if higher else []
    if found and is_between(layer.prefix, min(higher)[1], stored):
        return None
    return next((other for other in found if (other.packing, other.sizes, len(other.directions)) == wanted), None)


def _nothing(stored: Mapping[str, Stored], layout: Layout, path: str) -> InputError:
    """Why there is no layer in that layout: what is wrong with the arrays that have its names."""
    packings = layout.packings
    for packing in packings:
        for prefix, names in _groups(packing, stored).items():
            if set(packing.weights) <= set(names):
                arrays = listed(f"{there} {stored[there].shape}" for there in names.values())
                place = f"{path}:{prefix}" if prefix else path
                cells = listed(packing.form for packing in packings)
                return WeightsError(
                    f"the shapes fit no cell in the layout {layout.name}: {arrays}", allowed=cells, where=place
                )
    every = dict.fromkeys(name for packing in packings for name in packing.arrays)
    return FileError(f"no parameters with the names of the layout {layout.name}", allowed=listed(every), where=path)
