"""Checkpoints: named tensors in .pt, .pth, .safetensors or .npz, under PyTorch's names or another framework's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.files.checkpoints import read_members, stored_in
from rnnspect.network.parameters import parameters_of
from rnnspect.weights.readers import any_layout, pytorch
from rnnspect.weights.readers.interface import Reader, StoredParameters, Told

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rnnspect.network.spec import Spec


def _tell(path: Path, module: str | None, flags: Mapping[str, Any]) -> Told:
    stored, name, layout = stored_in(path), str(path), flags.get("layout")
    modules = pytorch.modules_in(stored)
    if layout != "pytorch":
        modules = {key: one for key, one in modules.items() if not pytorch.has_one_bias(one, stored)}
    if layout != "pytorch" and (layout or not modules):
        return any_layout.tell(stored, name, module, flags)
    chosen = pytorch.choose(modules, module, name)
    keys = pytorch.described(chosen, name, flags.get("dtype"), flags.get("cell"))
    source = pytorch.weights_source(chosen, name, stored)
    others = len(stored) - len(chosen.names)
    return Told(keys | {"weights": source}, source.removesuffix(":"), untold=pytorch.UNTOLD, others=others)


def _read(path: Path, module: str | None, spec: Spec) -> StoredParameters:
    """The module's parameters; or every tensor of the file, where no module is named and the file has a parameter of
    the spec under its own name, such as head.weight."""
    from rnnspect.files import arrays  # with numpy, which shapes does without

    if spec.layout not in {None, "pytorch"}:
        return any_layout.read(path, module, spec)
    stored = stored_in(path)
    if module is not None or not any(parameter.name in stored for parameter in parameters_of(spec)):
        modules = pytorch.modules_in(stored)
        if module is not None or modules:
            names = pytorch.choose(modules, module, str(path), "after a colon").names
            members = read_members(path, names.values())
            return StoredParameters({known: members[name] for known, name in names.items()}, names)
    found = arrays.read_arrays(path)
    return StoredParameters(found, {name: name for name in found})


READER = Reader(_tell, _read)
