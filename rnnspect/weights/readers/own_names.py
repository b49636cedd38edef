"""The parameters of a cell of one's own among tensors that have nothing but names: as the cell calls them, under any
prefix, decay_l0 of a stack or decay of a single cell. Loads no framework."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnnspect.cells import Cell
from rnnspect.cells.sizes import Size
from rnnspect.errors import FileError, listed
from rnnspect.files.reading import Tensors
from rnnspect.files.sources import parse_file
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec
from rnnspect.weights.readers import interface
from rnnspect.weights.readers.interface import Module, StoredParameters, Told


def modules_of(tensors: Tensors, path: str, cell: Cell, flags: Mapping[str, Any]) -> dict[str, Module]:
    """Every module of the cell by the prefix of its names. Raises `FileError` where there is none."""
    shapes = _shapes(cell)
    among = "|".join(sorted(map(re.escape, shapes), key=len, reverse=True))
    form = re.compile(rf"((?:.*[^0-9A-Za-z])?)({among})(?:_l(0|[1-9]\d{{0,8}})(_reverse)?)?", re.DOTALL)
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in tensors.stored if shapes else ():
        if match := form.fullmatch(name):
            end = suffix(int(match[3] or 0), "reverse" if match[4] else "forward")
            found[match[1].removesuffix(".")][match[2] + end] = name
    if not found:
        names = listed(f"{name}_l0" for name in shapes) or "a cell that has parameters"
        raise FileError(f"no parameters of cell {cell.name} found", allowed=f"{names}, with any prefix", where=path)
    most = max(map(len, found.values()))  # dt_u of a cell that has u, too, is no u under the prefix dt_
    made = {
        prefix: _OfOwnCell(tensors, path, cell, flags, prefix, names)
        for prefix, names in found.items()
        if len(names) == most
    }
    return {prefix: Module(one.tell, one.read) for prefix, one in made.items()}


def _shapes(cell: Cell) -> dict[str, tuple[Size, ...]]:
    """By the name of each parameter its sizes; "rows" are those of all gates together."""
    kinds = {"ih": cell.has_projection_of_x, "hh": cell.is_recurrent}
    widths = {"ih": "input_size", "hh": "hidden_size"}
    there = [kind for kind, has_it in kinds.items() if has_it]
    packed: dict[str, tuple[Size, ...]] = {f"weight_{kind}": ("rows", widths[kind]) for kind in there}
    return packed | {f"bias_{kind}": ("rows",) for kind in there} | dict(cell.parameters)


@dataclass(frozen=True)
class _OfOwnCell:
    """The parameters of the cell under one prefix."""

    tensors: Tensors
    path: str
    cell: Cell
    flags: Mapping[str, Any]
    prefix: str
    names: Mapping[str, str]
    """By the names of a spec those in the file."""

    def tell(self) -> Told:
        """The sizes that its shapes tell, and what its names do."""
        stored = [self.tensors.stored[name] for name in self.names.values()]
        alone = not self.prefix and len(self.names) == len(self.tensors.stored)
        source = self.path if alone else f"{self.path}:{self.prefix}"
        layers = [int(match[1]) for name in self.names if (match := re.search(r"_l(\d+)(?:_reverse)?$", name))]
        keys = {
            "num_layers": 1 + max(layers),
            "bidirectional": any(name.endswith("_reverse") for name in self.names),
            "bias": any(name.startswith("bias_") for name in self.names) or not self._can_have_bias,
            "weights": source,
            **self._sizes(),
            **interface.dtype_of((one.dtype for one in stored), self.flags.get("dtype"), source),
        }
        others = len(self.tensors.stored) - len(self.names)
        return Told(keys, source.removesuffix(":"), untold=("batch_first",), others=others)

    def read(self, spec: Spec) -> StoredParameters:
        """Its parameters; where a spec names the file alone, and they have no prefix, every tensor of it."""
        names = dict(self.names)
        if not self.prefix and isinstance(spec.weights, str) and parse_file(spec.weights).member is None:
            taken = set(names.values())
            names |= {name: name for name in self.tensors.stored if name not in taken}
        return StoredParameters(self.tensors.renamed(names), names)

    @property
    def _can_have_bias(self) -> bool:
        return any(name.startswith("bias_") for name in _shapes(self.cell))

    def _sizes(self) -> dict[str, int]:
        """hidden_size and input_size, those of them that the shapes of layer 0 tell; of a cell without a projection of
        x the rows of its gates are input_size."""
        found: dict[str, int] = dict(self._measured())
        hidden = self.flags.get("hidden_size", found.get("hidden_size"))
        if hidden is not None and not self.cell.has_projection_of_x:
            sizes = (hidden, self.flags.get("input_size", found.get("input_size", 1)))
            gates = (self.cell.shape(self.cell.gate_shape(gate), *sizes) for gate in self.cell.gates)
            found["input_size"] = sum(map(math.prod, gates))
        return found

    def _measured(self) -> Iterator[tuple[str, int]]:
        constants = dict(self.cell.constants)
        for name, sizes in _shapes(self.cell).items():
            stored = self.tensors.stored.get(self.names.get(f"{name}_l0", ""))
            for size, count in zip(sizes, stored.shape if stored else (), strict=False):
                whole, _, parts = str(size).partition("/")
                if whole in ("hidden_size", "input_size"):
                    yield whole, count * int(constants[parts] if parts else 1)
                if size == "rows" and not self.cell.has_own_sizes:
                    yield "hidden_size", count // len(self.cell.gates)
