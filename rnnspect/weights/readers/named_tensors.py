"""The recurrent modules among tensors that have nothing but names and shapes: under PyTorch's names, or packed as
another framework packs them. What the readers of checkpoints share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.files.sources import parse_file
from rnnspect.weights.readers import any_layout, pytorch
from rnnspect.weights.readers.interface import Module, StoredParameters, Told

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rnnspect.files.reading import Stored, Tensors
    from rnnspect.network.spec import Spec
    from rnnspect.weights.readers.pytorch import RecurrentModule


def modules_of(
    tensors: Tensors, path: Path, flags: Mapping[str, Any], said: Mapping[str, Any] | None = None
) -> dict[str, Module]:
    """Every recurrent module among the tensors of a file, by the prefix of its names. `flags` may say the layout;
    `said` are keys of a spec that the file says itself beside its tensors.

    Raises `FileError` where there is none.
    """
    stored, layout = tensors.stored, flags.get("layout")
    found = pytorch.modules_in(stored)
    if layout != "pytorch":
        found = {prefix: one for prefix, one in found.items() if not pytorch.has_one_bias(one, stored)}
    if layout != "pytorch" and (layout or not found):
        return any_layout.modules_of(tensors, str(path), flags)
    if not found:
        raise pytorch.nothing(str(path))
    others = len(stored) - sum(len(one.names) for one in found.values())
    made = {prefix: _PyTorch(tensors, one, str(path), flags, said or {}, others) for prefix, one in found.items()}
    return {prefix: Module(one.tell, one.read) for prefix, one in made.items()}


@dataclass(frozen=True)
class _PyTorch:
    """A module under PyTorch's names."""

    tensors: Tensors
    names: RecurrentModule
    path: str
    flags: Mapping[str, Any]
    said: Mapping[str, Any]
    others: int
    """How many tensors of the file belong to no recurrent module."""

    def tell(self) -> Told:
        stored: Mapping[str, Stored] = self.tensors.stored
        keys = pytorch.described(self.names, self.path, self.flags.get("dtype"), self.flags.get("cell"))
        source = pytorch.weights_source(self.names, self.path, stored)
        untold = tuple(key for key in pytorch.UNTOLD if key not in self.said)
        keys |= {**self.said, "weights": source}
        return Told(keys, source.removesuffix(":"), untold=untold, others=self.others)

    def read(self, spec: Spec) -> StoredParameters:
        """The module's parameters; or every tensor of the file, where a spec names the file alone and its parameters
        have their own names there: a head is then among them."""
        names = self.names.names
        if not self.names.prefix and isinstance(spec.weights, str) and parse_file(spec.weights).member is None:
            names = {name: name for name in self.tensors.stored}
        numbers = self.tensors.read(list(names.values()))
        return StoredParameters({known: numbers[name] for known, name in names.items()}, names)
