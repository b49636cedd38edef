"""Recurrent layers among the tensors of a file that are packed as another framework packs them. Loads no framework.

The framework's names stand under any prefix, with . or / between their parts. Layers whose prefixes differ in their
numbers alone (lstm, lstm_1) and that fit on each other are a stack; forward and backward are two directions.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, InputError, WeightsError, listed, nearest
from rnnspect.network.dtypes import DTYPES
from rnnspect.weights import layouts
from rnnspect.weights.layouts.interface import Sizes, sizes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rnnspect.files.stored import Stored
    from rnnspect.weights.layouts import Layout, Packing

_FORWARD = (("backward", "forward"), ("bwd", "fwd"), ("bw", "fw"), ("_reverse", ""))
"""What a prefix of the second direction says, and what the first says in its place."""


@dataclass(frozen=True)
class Layer:
    """One layer as a file has it."""

    layout: Layout
    packing: Packing
    prefix: str
    directions: tuple[Mapping[str, str], ...]
    """For each direction by the framework's name of an array the name in the file."""
    leading: bool
    """Whether the arrays begin with an axis of directions; both directions then have the same names."""
    sizes: Sizes
    dtypes: tuple[str, ...]

    @property
    def takes(self) -> frozenset[str]:
        """The names in the file of one direction's arrays."""
        return frozenset(self.directions[0].values())

    @property
    def explains(self) -> int:
        """How many characters of those names are the framework's own."""
        return sum(map(len, self.directions[0]))

    @property
    def num_directions(self) -> int:
        return len(self.directions)


@dataclass(frozen=True)
class Stack:
    """Layers one above the other, named as the first is."""

    layers: tuple[Layer, ...]

    @property
    def first(self) -> Layer:
        return self.layers[0]

    @property
    def names(self) -> list[str]:
        """Every array of the file that it takes."""
        every = (name for layer in self.layers for names in layer.directions for name in names.values())
        return list(dict.fromkeys(every))

    def described(self, dtype: str | None, where: str) -> dict[str, Any]:
        """The keys of a spec that shapes and names tell; `dtype` is what somebody asked for.

        Raises `WeightsError` for arrays of a dtype that no spec has, or of several where none is asked for.
        """
        layer = self.first
        form = layer.packing.form
        dtypes = list(dict.fromkeys(dtype for layer in self.layers for dtype in layer.dtypes))
        if unknown := [name for name in dtypes if name not in DTYPES]:
            raise WeightsError(f"parameters stored as {listed(unknown)}", allowed=listed(DTYPES), where=where)
        if dtype is None and len(dtypes) > 1:
            raise WeightsError(f"parameters in {' and '.join(dtypes)}", allowed="one dtype, or --dtype", where=where)
        return {
            "cell": "gru" if form.startswith("gru") else form,
            "input_size": layer.sizes.input_size,
            "hidden_size": layer.sizes.hidden_size,
            "proj_size": layer.sizes.proj_size,
            "num_layers": len(self.layers),
            "bidirectional": layer.num_directions == 2,
            "bias": layer.sizes.bias,
            "layout": layer.layout.name,
            **({} if dtype else {"dtype": dtypes[0]}),
            **_reset(form),
        }

    def note(self) -> str:
        """How it was read."""
        layer = self.first
        shapes = [f"{name} = {layer.packing.arrays[name]}" for name in layer.directions[0]]
        several = f", {len(self.layers)} layers from {self.layers[-1].prefix!r}" if len(self.layers) > 1 else ""
        more = f" and {len(shapes) - 3} more" if len(shapes) > 3 else ""
        return f"read as {layer.layout.name} ({layer.packing.where}): {', '.join(shapes[:3])}{more}{several}"


def stack_of(
    stored: Mapping[str, Stored], layout: str | None, module: str | None, path: str, flags: Mapping[str, Any]
) -> Stack:
    """The recurrent layers in a file, packed as `layout`, or as the only layout that names and shapes allow.

    Raises `FileError` for a file with none, or with several, `InputError` for a layout that there is not or where
    several fit.
    """
    known = [layouts.find(layout, "--layout")] if layout else list(layouts.every())
    layers = _layers(stored, known)
    if not layers:
        raise _none(stored, known, layout, path)
    heads = _heads(layers)
    if module is not None and module not in layers:
        found = f"no module {module!r} is in it"
        raise FileError(found, allowed=listed(map(repr, layers)), nearest=nearest(module, layers), where=path)
    if module is None and len(heads) > 1:
        found = f"it holds {len(heads)} recurrent modules"
        raise FileError(found, allowed=f"--module with one of {listed(map(repr, heads))}", where=path)
    start = module if module is not None else heads[0]
    fitting = _wanted(_best(layers[start]), flags)
    if len({_meaning(layer) for layer in fitting}) > 1:
        names = list(dict.fromkeys(layer.layout.name for layer in fitting))
        place = f"{path}:{start}" if start else path
        if len(names) == 1:
            forms = listed(layer.packing.form for layer in fitting)
            raise InputError(f"it could be any of {forms}", allowed="--cell with one of them", where=place)
        raise InputError(f"it could be laid out as {listed(names)}", allowed="--layout with one of them", where=place)
    chain = [fitting[0]]
    most = flags.get("num_layers") or len(layers)
    while len(chain) < most and (above := _above(chain[-1], layers)):
        chain.append(above)
    return Stack(tuple(chain))


def untold(stack: Stack, stored: Mapping[str, Stored], flags: Mapping[str, Any]) -> str | None:
    """Where the arrays fit both forms of the GRU, what was taken."""
    layer = stack.first
    both = {"gru", "gru-before"} <= {other.packing.form for other in _layers(stored, [layer.layout])[layer.prefix]}
    if not both or "reset" in flags:
        return None
    return "whether the GRU resets after the product or before it; taken: --reset after"


def _layers(stored: Mapping[str, Stored], known: Iterable[Layout]) -> dict[str, list[Layer]]:
    """By prefix every reading that names and shapes allow, the second direction beside the first."""
    found: dict[str, list[Layer]] = {}
    for layout in known:
        for packing in layout.packings:
            for prefix, names in _groups(packing, stored).items():
                if layer := _layer(layout, packing, prefix, names, stored):
                    found.setdefault(prefix, []).append(layer)
    found = _most_explained(found)
    for prefix in list(found):
        for second, first in _FORWARD:
            other = prefix.replace(second, first)
            if other != prefix and other in found:
                found[other] = [_both(layer, found[prefix]) for layer in found[other]]
                del found[prefix]
                break
    return found


def _most_explained(found: Mapping[str, list[Layer]]) -> dict[str, list[Layer]]:
    """Where several readings take the same arrays, those whose own names say most of them: linear/w, not w."""
    most: dict[frozenset[str], int] = {}
    for layer in (layer for readings in found.values() for layer in readings):
        most[layer.takes] = max(most.get(layer.takes, 0), layer.explains)
    kept = {
        prefix: [layer for layer in readings if layer.explains == most[layer.takes]]
        for prefix, readings in found.items()
    }
    return {prefix: readings for prefix, readings in kept.items() if readings}


def _groups(packing: Packing, stored: Mapping[str, Stored]) -> dict[str, dict[str, str]]:
    """By prefix the arrays of a packing by its own names."""
    pattern, by_group = _pattern(packing)
    groups: dict[str, dict[str, str]] = {}
    for name in stored:
        if match := pattern.fullmatch(name):
            assert match.lastgroup is not None
            groups.setdefault(match["prefix"].rstrip("./"), {}).setdefault(by_group[match.lastgroup], name)
    return groups


@functools.cache
def _pattern(packing: Packing) -> tuple[re.Pattern[str], dict[str, str]]:
    """The longest name comes first: recurrent_kernel is no kernel. What frameworks hang behind a name is let be."""
    by_group = {f"n{at}": name for at, name in enumerate(sorted(packing.arrays, key=len, reverse=True))}
    every = "|".join(
        f"(?P<{group}>{re.escape(name).replace('/', '[./]').replace(chr(92) + '.', '[./]')})"
        for group, name in by_group.items()
    )
    return re.compile(rf"(?P<prefix>(?:.*?[^0-9A-Za-z])??)(?:{every})(?::0|[./](?:raw_)?value)?", re.DOTALL), by_group


def _layer(
    layout: Layout, packing: Packing, prefix: str, names: dict[str, str], stored: Mapping[str, Stored]
) -> Layer | None:
    shapes = {name: stored[there].shape for name, there in names.items()}
    if packing.bias_always and not any(packing.is_bias(name) for name in names):
        return None  # what always has biases is something else without
    first = next(iter(shapes.values()))
    leading = layout.leading_direction and all(len(shape) > 1 and shape[0] == first[0] for shape in shapes.values())
    for strip in (True, False) if leading and first[0] in {1, 2} else (False,):
        try:
            sizes = sizes_of(packing, {name: shape[1:] if strip else shape for name, shape in shapes.items()})
        except WeightsError:
            continue
        dtypes = tuple(dict.fromkeys(stored[there].dtype for there in names.values()))
        return Layer(layout, packing, prefix, (names,) * (first[0] if strip else 1), strip, sizes, dtypes)
    return None


def _both(first: Layer, others: list[Layer]) -> Layer:
    second = next((o for o in others if o.packing is first.packing and o.sizes == first.sizes), None)
    if second is None or first.num_directions == 2:
        return first
    directions = (*first.directions, *second.directions)
    return Layer(first.layout, first.packing, first.prefix, directions, False, first.sizes, first.dtypes)


def _best(layers: list[Layer]) -> list[Layer]:
    """Those that take most of the arrays under the prefix."""
    most = max(len(layer.takes) for layer in layers)
    return [layer for layer in layers if len(layer.takes) == most]


def _wanted(layers: list[Layer], flags: Mapping[str, Any]) -> list[Layer]:
    """Those of the cell that somebody asked for; of both forms of a GRU the one after the product, if none is."""
    cell = flags.get("cell")
    layers = [layer for layer in layers if cell is None or layer.packing.form.startswith(cell)] or layers
    forms = {layer.packing.form for layer in layers}
    if {"gru", "gru-before"} <= forms:
        other = "gru" if flags.get("reset") == "before" else "gru-before"
        layers = [layer for layer in layers if layer.packing.form != other]
    return layers


def _meaning(layer: Layer) -> tuple[Any, ...]:
    """Readings that give the same parameters have the same."""
    packing, names = layer.packing, layer.directions[0]
    blocks = tuple((there, packing.arrays[name]) for name, there in sorted(names.items(), key=lambda item: item[1]))
    return packing.form, packing.orientation, packing.forget_bias, blocks


def _heads(layers: Mapping[str, list[Layer]]) -> list[str]:
    """The prefixes that are not a layer above another one."""
    above = {layer.prefix for readings in layers.values() for one in readings for layer in _all_above(one, layers)}
    return [prefix for prefix in layers if prefix not in above]


def _all_above(layer: Layer, layers: Mapping[str, list[Layer]]) -> Iterator[Layer]:
    if above := _above(layer, layers):
        yield above


def _above(layer: Layer, layers: Mapping[str, list[Layer]]) -> Layer | None:
    """The layer whose prefix has the next numbers, if it reads what this one gives."""
    width = (layer.sizes.proj_size or layer.sizes.hidden_size) * layer.num_directions
    wanted = Sizes(width, layer.sizes.hidden_size, layer.sizes.proj_size, layer.sizes.bias)
    for prefix in _next_prefixes(layer.prefix, layers):
        for other in layers[prefix]:
            if (
                other.packing is layer.packing
                and other.sizes == wanted
                and other.num_directions == layer.num_directions
            ):
                return other
    return None


def _next_prefixes(prefix: str, layers: Iterable[str]) -> list[str]:
    text, numbers = _numbered(prefix)
    later = [(_numbered(other)[1], other) for other in layers if _numbered(other)[0] == text]
    return [other for at, other in sorted(later) if at > numbers][:1]


@functools.cache
def _numbered(prefix: str) -> tuple[str, tuple[int, ...]]:
    """A prefix without its numbers, and the numbers: of lstm none, of lstm_1 one."""
    return re.sub(r"_?\d+", "", prefix), tuple(int(number) for number in re.findall(r"\d{1,9}", prefix))


def _reset(form: str) -> dict[str, str]:
    return {"reset": "before"} if form == "gru-before" else {}


def _none(stored: Mapping[str, Stored], known: list[Layout], layout: str | None, path: str) -> InputError:
    """Why nothing was found: with a layout said, what is wrong with the arrays of its names."""
    if layout is None:
        allowed = "names such as weight_ih_l0, kernel and recurrent_kernel, or W and R, under any prefix; --layout"
        return FileError("it holds no recurrent parameters", allowed=allowed, where=path)
    for packing in known[0].packings:
        for prefix, names in _groups(packing, stored).items():
            shapes = {name: stored[there].shape for name, there in names.items()}
            if set(packing.weights) <= set(shapes):
                said = listed(f"{names[name]} {shape}" for name, shape in shapes.items())
                place = f"{path}:{prefix}" if prefix else path
                cells = listed(packing.form for packing in known[0].packings)
                return WeightsError(f"{said} fit no cell of {layout}", allowed=cells, where=place)
    every = dict.fromkeys(name for packing in known[0].packings for name in packing.arrays)
    return FileError(f"it holds no parameters as {layout} names them", allowed=listed(every), where=path)
