"""Parameters by PyTorch's names out of a file that is packed as another framework packs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.files.checkpoints import read_members, stored_in
from rnnspect.network.parameters import suffix
from rnnspect.weights.layouts.packing import unpack
from rnnspect.weights.readers import any_layout

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from rnnspect.network.spec import Spec


def read_laid_out(path: Path, module: str | None, spec: Spec) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by PyTorch's name, and by the same names what the file calls the arrays that they come from.

    Raises `FileError`, `WeightsError` or `InputError` for a file that does not hold them in the spec's layout.
    """
    wanted: dict[str, Any] = {"cell": spec.cell, "num_layers": spec.num_layers, "reset": getattr(spec, "reset", None)}
    stack = any_layout.stack_of(stored_in(path), spec.layout, module, str(path), wanted)
    stored = read_members(path, stack.names)
    found: dict[str, Tensor] = {}
    places: dict[str, str] = {}
    for at, layer in enumerate(stack.layers):
        for index, (names, direction) in enumerate(zip(layer.directions, ("forward", "reverse"), strict=False)):
            given = {name: stored[there][index] if layer.leading else stored[there] for name, there in names.items()}
            p = unpack(layer.layout, layer.packing.form, given)
            end = suffix(at, direction)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
                if (value := getattr(p, name)) is not None:
                    found[name + end] = value
                    places[name + end] = names[layer.packing.weights[0]]
    return found, places
