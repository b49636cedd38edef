"""Arrays and recordings in torch's own format, .pt and .pth. Checkpoints and modules are read by `pickle_file`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.pickle_file import open_pickle
from rnnspect.files.reading import UNNAMED, size_of
from rnnspect.files.rebuilding import runs_code
from rnnspect.files.strided import Strided, read_all

if TYPE_CHECKING:
    from torch import Tensor


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pt file by name: "array" if it holds one tensor alone; output, h_n and c_n if it holds what a
    torch.nn module returned, (output, h_n) or (output, (h_n, c_n)).

    Raises `FileError` for a file that would need code to load, and for one that holds no tensors.
    """
    free_memory.require(2 * size_of(path), "reading this file", str(path))
    file = open_pickle(path)
    if runs_code(file.called):
        refused = "loading this file would run code"
        advice = "save only the tensors: torch.save(model.state_dict(), FILE)"
        raise FileError(refused, advice=advice, where=str(path))
    found = _by_name(file.value, file.by_identity)
    if found is None:
        raise FileError(f"the file holds {file.described}", allowed="a tensor or a state dict", where=str(path))
    if not found:
        raise FileError("the file holds no tensors", where=str(path))
    return read_all(path, found)


def _by_name(value: Any, tensors: Mapping[int, Strided]) -> dict[str, Strided] | None:
    """The tensors in a value; None where it is neither a tensor, nor a dictionary, nor what a module returned."""
    if id(value) in tensors:
        return {UNNAMED: tensors[id(value)]}
    if isinstance(value, dict):
        return {str(key): tensors[id(one)] for key, one in value.items() if id(one) in tensors}
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    output, final = value
    returned = (output, *final) if isinstance(final, tuple | list) else (output, final)
    if len(returned) not in (2, 3) or not all(id(one) in tensors for one in returned):
        return None
    return {name: tensors[id(one)] for name, one in zip(("output", "h_n", "c_n"), returned, strict=False)}
