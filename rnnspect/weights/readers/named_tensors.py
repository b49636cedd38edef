"""The recurrent modules among tensors that have nothing but names and shapes: under PyTorch's names, or packed as
another framework packs them. What the readers of checkpoints share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError, WeightsError
from rnnspect.files.reading import Stored, Tensors
from rnnspect.files.sources import parse_file
from rnnspect.network.spec import Spec
from rnnspect.weights.readers import any_layout, by_shape, pytorch
from rnnspect.weights.readers.gate_norms import without_norms
from rnnspect.weights.readers.interface import Module, StoredParameters, Told
from rnnspect.weights.readers.pytorch import RecurrentModule

_ALLOWED = (
    "names such as weight_ih_l0, or kernel and recurrent_kernel, or W and R, with any prefix; for other names say "
    "--names weight_ih_l0=NAME,weight_hh_l0=NAME,…"
)


def renamed(tensors: Tensors, names: Mapping[str, str], path: Path) -> Tensors:
    """The tensors that are named alone, under the names of PyTorch that they are given: by weight_ih_l0 the name in the
    file.

    Raises `FileError` for a name that is not in the file.
    """
    for name in names.values():
        if name not in tensors.stored:
            raise FileError.unknown(f"no tensor named {name!r}", name, tensors.stored, str(path))
    return tensors.under(names)


def modules_of(
    tensors: Tensors, path: Path, flags: Mapping[str, Any], said: Mapping[str, Any] | None = None
) -> dict[str, Module]:
    """Every recurrent module among the tensors of a file, by the prefix of its names. `flags` may say the layout;
    `said` are keys of a spec that the file says itself beside its tensors. A module with norms in it raises
    `WeightsError` where it is told.

    Raises `FileError` where there is none.
    """
    return without_norms(_modules_of(tensors, path, flags, said), tensors.stored, str(path), flags)


def _modules_of(
    tensors: Tensors, path: Path, flags: Mapping[str, Any], said: Mapping[str, Any] | None
) -> dict[str, Module]:
    stored, layout = tensors.stored, flags.get("layout")
    if layout not in (None, "pytorch"):
        return any_layout.modules_of(tensors, str(path), flags)
    found = pytorch.modules_in(stored)
    if layout is None:
        found = {prefix: one for prefix, one in found.items() if not pytorch.has_one_bias(one, stored)}
    if not found:
        packed = any_layout.modules_of(tensors, str(path), flags) if layout is None else {}
        shaped = by_shape.modules_of(tensors, str(path), flags)
        # Names of a layout that leave two biases beside them alone are another framework's.
        fuller = {prefix: shaped[prefix] for prefix in packed if prefix in shaped}
        fuller = {prefix: one for prefix, one in fuller.items() if one.takes > packed[prefix].takes}
        advice = by_shape.one_bias(stored, flags) if layout is None else None
        if advice and all(one.takes < len(stored) for one in packed.values()):  # a bias that nobody would read
            raise FileError("one bias for each gate; PyTorch has two, which it adds", advice=advice, where=str(path))
        if modules := packed | fuller or shaped:
            return modules
        if {"output", "h_n", "c_n"} & set(stored):
            advice = f"pass it beside the network: rnnspect check MODEL --input x.npy --recorded {path}"
            raise FileError("this is a recording of a run, without parameters", advice=advice, where=str(path))
        raise FileError("no recurrent parameters found", allowed=_ALLOWED, where=str(path))
    for one in found.values():
        if layout is None and (name := pytorch.unpaired_bias(one, stored)):
            what = f"{name} is one bias for each gate; PyTorch has two, which it adds"
            raise WeightsError(what, advice=pytorch.as_two("bias_hh", "_l0", name), where=str(path))
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
        pytorch.refuse_raw(self.names, stored, self.path)
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
        return StoredParameters(self.tensors.renamed(names), names)
