"""Arrays from files of any format: .npy, .npz, .csv, .tsv, .json, .pt, .safetensors; or from a pipe."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from rnnspect.errors import FileError, listed
from rnnspect.files import free_memory, npy, safetensors_file, text
from rnnspect.files.pickle_file import open_pickle
from rnnspect.files.reading import UNNAMED, decoded, is_pipe, read_bytes, size_of
from rnnspect.files.rebuilding import runs_code
from rnnspect.files.sources import SUFFIXES
from rnnspect.files.strided import MAX_AXES, Strided, read_all
from rnnspect.files.writing import temporary

MAX_PIPE = 2**31


def read_array(path: Path, member: str | None = None) -> Tensor:
    """One array: the file's only one, or the one that `member` names.

    Raises `FileError` for a file that cannot be read as data, `SequenceError` for rows that are no numbers.
    """
    found = read_recording(path, member)
    return _only(found, str(path)) if isinstance(found, dict) else found


def read_recording(path: Path, member: str | None = None) -> dict[str, Tensor] | Tensor:
    """Every array of a file by name, or the one that `member` names; the array itself where it has no name.

    Raises as `read_array`.
    """
    if is_pipe(path):
        return parse_bytes(read_bytes(path, MAX_PIPE), str(path))
    arrays = read_arrays(path, member)
    if member is None:
        return arrays[UNNAMED] if list(arrays) == [UNNAMED] else arrays
    if member not in arrays and list(arrays) == [UNNAMED]:
        found = f"no array named {member!r}: the file has only one, without a name"
        raise FileError(found, advice=f"leave out :{member}", where=str(path))
    if member not in arrays:
        raise FileError.unknown(f"no array named {member!r}", member, arrays, str(path))
    return {member: arrays[member]}


def read_arrays(path: Path, member: str | None = None) -> dict[str, Tensor]:
    """Every array of a file by name. Only where `member` names one may the file hold numbers that are no arrays."""
    size_of(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        found = f"cannot read arrays from files that end in {path.suffix!r}"
        raise FileError(found, allowed=listed(SUFFIXES), where=str(path))
    return _read_torch(path, member) if reader is _read_torch else reader(path)


def parse_bytes(data: bytes, where: str) -> Tensor:
    """The only array in what came through a pipe; the format is recognised by its first bytes."""
    if data.startswith(npy.MAGIC):
        return npy.parse_npy(io.BytesIO(data), len(data), where)
    if data.startswith(b"PK"):
        is_torch = b"data.pkl" in data[:4096]
        return _only(_unpacked(data, ".pt", where) if is_torch else npy.read_npz(io.BytesIO(data), where), where)
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return _only(_unpacked(data, ".safetensors", where), where)
    content = decoded(data, where, text.NUMBERS)
    if content.lstrip().startswith("["):
        return text.parse_json(content, where)
    return text.parse_rows(content, "\t" if "\t" in content.split("\n", 1)[0] else ",", where)


def _unpacked(data: bytes, suffix: str, where: str) -> dict[str, Tensor]:
    """Checkpoints are read from a file, so the bytes become a temporary one."""
    with temporary(Path(tempfile.gettempdir()), suffix) as file:
        file.write(data)
        file.flush()
        try:
            return read_arrays(Path(file.name))
        except FileError as error:
            raise FileError(replace(problem, where=where) for problem in error.problems) from None


def _only(arrays: dict[str, Tensor], where: str) -> Tensor:
    if len(arrays) != 1:
        advice = f"name one: {where}:{next(iter(arrays))}"
        raise FileError(f"the file holds {len(arrays)} arrays: {listed(arrays)}", advice=advice, where=where)
    return next(iter(arrays.values()))


def _read_torch(path: Path, member: str | None = None) -> dict[str, Tensor]:
    """The tensors of a .pt file by name: "array" if it holds one tensor alone; output, h_n and c_n if it holds what a
    torch.nn module returned, (output, h_n) or (output, (h_n, c_n)).

    Raises `FileError` for a file that would need code to load, for one that holds no tensors, and where no `member` is
    named for one with a list, a tuple or a dictionary, as of two states: nothing would be said of them.
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
    if member is None and isinstance(file.value, dict):
        inner = [name for name in file.content.stored if name not in found]
        others = [
            str(key)
            for key, value in file.value.items()
            if _is_list_of_numbers(value) or any(name.startswith(f"{key}.") for name in inner)
        ]
        if others:
            what = f"{listed(others)} {'is no tensor' if len(others) == 1 else 'are no tensors'}"
            own = "save each of the tensors in it under a name of its own"
            raise FileError(what, advice=f"{own}, or name the one to read: {path}:{next(iter(found))}", where=str(path))
    return read_all(path, found)


def _is_list_of_numbers(value: Any) -> bool:
    """Whether it is what `tolist` gives of a tensor: lists in lists, the first with numbers that are not all whole, as
    those of sizes are."""
    for _ in range(MAX_AXES):
        if not isinstance(value, list | tuple) or not value:
            return False
        if any(isinstance(one, float) for one in value):
            return True
        value = value[0]
    return False


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


_READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    ".npy": lambda path: {UNNAMED: npy.read_npy(path)},
    ".npz": lambda path: npy.read_npz(path, str(path)),
    ".csv": lambda path: {UNNAMED: text.parse_rows(text.read_text(path, 16), ",", str(path))},
    ".tsv": lambda path: {UNNAMED: text.parse_rows(text.read_text(path, 16), "\t", str(path))},
    ".json": lambda path: {UNNAMED: text.parse_json(text.read_text(path, 32), str(path))},
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".safetensors": safetensors_file.read_safetensors,
}
