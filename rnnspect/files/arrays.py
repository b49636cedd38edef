"""Arrays from files: .npy, .npz, .csv, .tsv, .json, .pt, .safetensors. Read as data; sizes checked first."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnnspect import resources
from rnnspect.errors import FileError, SequenceError, listed, nearest
from rnnspect.files.reading import read_bytes, size_of, why
from rnnspect.sources import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

MAX_TEXT = 2**31


def read_array(path: Path, member: str | None = None) -> Tensor:
    """One array: the file's only one, or the one that `member` names.

    Raises `FileError` for a file that cannot be read as data, `SequenceError` for rows that are no numbers.
    """
    arrays = read_arrays(path)
    if member is not None:
        if member not in arrays:
            found = f"no array is called {member!r}"
            raise FileError(found, allowed=listed(arrays), nearest=nearest(member, arrays), where=str(path))
        return arrays[member]
    if len(arrays) != 1:
        allowed = f"one of them, as {path}:{next(iter(arrays), 'NAME')}"
        raise FileError(f"it holds {len(arrays)} arrays ({listed(arrays)})", allowed=allowed, where=str(path))
    return next(iter(arrays.values()))


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Every array of a file by name; a file of one unnamed array calls it "array"."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        size_of(path)
        raise FileError(f"files that end in {path.suffix!r} are not read", allowed=listed(SUFFIXES), where=str(path))
    size_of(path)
    return reader(path)


def parse_bytes(data: bytes, where: str) -> Tensor:
    """The array in what came through a pipe: .npy, .npz with one array, JSON, or rows of numbers."""
    if data.startswith(b"\x93NUMPY"):
        return _npy(io.BytesIO(data), len(data), where)
    if data.startswith(b"PK"):
        arrays = _npz(io.BytesIO(data), where)
        if len(arrays) != 1:
            raise FileError(f"it holds {len(arrays)} arrays ({listed(arrays)})", allowed="one", where=where)
        return next(iter(arrays.values()))
    text = _decoded(data, where)
    if text.lstrip().startswith("["):
        return parse_json(text, where)
    return _rows(text, "\t" if "\t" in text.split("\n", 1)[0] else ",", where)


def parse_json(text: str, where: str) -> Tensor:
    """Nested lists of numbers as a float64 tensor."""
    try:
        numbers = json.loads(text)
    except json.JSONDecodeError as error:
        raise SequenceError(f"not JSON: {error.msg}", where=f"{where}:{error.lineno}:{error.colno}") from None
    except RecursionError:
        raise SequenceError("lists nested too deeply", allowed="2 or 3 levels", where=where) from None
    return from_lists(numbers, lambda at: where + "".join(f"[{step}]" for step in at))


def from_lists(numbers: Any, where: Callable[[tuple[int, ...]], str]) -> Tensor:
    """Nested lists of numbers as a float64 tensor. Raises `SequenceError` for ragged or non-numeric rows."""
    flat: list[float] = []
    shape = _shape(numbers)
    _flatten(numbers, shape, (), flat, where)
    return torch.tensor(flat, dtype=torch.float64).reshape(shape)


def _shape(numbers: Any) -> list[int]:
    shape: list[int] = []
    while isinstance(numbers, list) and len(shape) < 8:
        shape.append(len(numbers))
        if not numbers:
            break
        numbers = numbers[0]
    return shape


def _flatten(
    numbers: Any,
    shape: list[int],
    at: tuple[int, ...],
    flat: list[float],
    where: Callable[[tuple[int, ...]], str],
) -> None:
    if len(at) < len(shape):
        if not isinstance(numbers, list):
            raise SequenceError(f"{numbers!r} where a row should be", allowed="rows of one length", where=where(at))
        if len(numbers) != shape[len(at)]:
            found = f"a row of {len(numbers)} where the first has {shape[len(at)]}"
            raise SequenceError(found, allowed="rows of one length", where=where(at))
        for index, item in enumerate(numbers):
            _flatten(item, shape, (*at, index), flat, where)
        return
    if isinstance(numbers, list):
        raise SequenceError("a list where a number should be", allowed="rows of one length", where=where(at))
    flat.append(_number(numbers, where, at))


def _number(item: Any, where: Callable[[tuple[int, ...]], str], at: tuple[int, ...]) -> float:
    if isinstance(item, int | float) and not isinstance(item, bool):
        try:
            return float(item)
        except OverflowError:
            return math.inf if item > 0 else -math.inf
    if isinstance(item, str) and item.strip().lstrip("+-").casefold() in {"nan", "inf", "infinity"}:
        return float(item)
    shown = "null" if item is None else repr(item)
    raise SequenceError(f"{shown} is not a number", allowed="numbers, NaN, Infinity", where=where(at))


def _rows(text: str, separator: str, where: str) -> Tensor:
    rows: list[list[float]] = []
    for line_number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        row: list[float] = []
        column = 1
        for cell in line.split(separator):
            try:
                row.append(float(cell))
            except ValueError:
                first = not rows and not row
                found = f"{cell.strip()!r} is not a number" if cell.strip() else "an empty cell"
                allowed = "numbers only" + ("; begin a header line with #" if first else "")
                raise SequenceError(found, allowed=allowed, where=f"{where}:{line_number}:{column}") from None
            column += len(cell) + 1
        if rows and len(row) != len(rows[0]):
            found = f"{_counted(len(row))} where the first row has {len(rows[0])}"
            raise SequenceError(found, allowed="rows of one length", where=f"{where}:{line_number}")
        rows.append(row)
    if not rows:
        raise SequenceError("no rows", where=where)
    return torch.tensor(rows, dtype=torch.float64)


def _counted(numbers: int) -> str:
    return "1 number" if numbers == 1 else f"{numbers} numbers"


def _text_file(separator: str) -> Callable[[Path], dict[str, Tensor]]:
    def read(path: Path) -> dict[str, Tensor]:
        data = _bounded(path, 16)
        return {"array": _rows(_decoded(data, str(path)), separator, str(path))}

    return read


def _json_file(path: Path) -> dict[str, Tensor]:
    return {"array": parse_json(_decoded(_bounded(path, 32), str(path)), str(path))}


def _bounded(path: Path, memory_per_byte: int) -> bytes:
    resources.require(size_of(path) * memory_per_byte, "reading it", str(path))
    return read_bytes(path, MAX_TEXT)


def _decoded(data: bytes, where: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError("a binary file", allowed="text with numbers", where=where) from None
    if "\0" in text:
        raise FileError("a binary file", allowed="text with numbers", where=where)
    return text


def _npy_file(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            return {"array": _npy(file, size_of(path), str(path))}
    except OSError as error:
        raise FileError(why(error), where=str(path)) from None


def _npy(file: Any, size: int, where: str) -> Tensor:
    """One .npy stream of `size` bytes; the header may not promise more than there is."""
    try:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:
            raise ValueError(f"npy version {version}")
        shape, fortran, dtype = header[version](file)
    except (ValueError, EOFError) as error:
        raise FileError(f"not a .npy file: {why(error)}", where=where) from None
    if dtype.hasobject or dtype.kind not in "fiub":
        allowed = "numbers; objects would need code to load"
        raise FileError(f"an array of {dtype}", allowed=allowed, where=where)
    needed = math.prod(shape) * dtype.itemsize
    if needed > size - file.tell():
        promised, there = resources.in_words(needed), resources.in_words(size - file.tell())
        found = f"its header promises {promised}, the file holds {there}"
        raise FileError(found, where=where)
    resources.require(2 * needed, "reading it", where)
    flat = np.frombuffer(bytearray(file.read(needed)), dtype=dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))


def _npz_file(path: Path) -> dict[str, Tensor]:
    return _npz(path, str(path))


def _npz(file: Any, where: str) -> dict[str, Tensor]:
    arrays = {}
    try:
        with zipfile.ZipFile(file) as archive:
            resources.require(2 * sum(info.file_size for info in archive.infolist()), "unpacking it", where)
            for info in archive.infolist():
                with archive.open(info) as member:
                    name = info.filename.removesuffix(".npy")
                    arrays[name] = _npy(member, info.file_size, f"{where}:{name}")
    except FileNotFoundError:
        raise FileError("no such file", where=where) from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise FileError(f"not a .npz file: {why(error)}", where=where) from None
    if not arrays:
        raise FileError("the archive is empty", where=where)
    return arrays


def _torch_file(path: Path) -> dict[str, Tensor]:
    from rnnspect.files.checkpoint import read_torch

    found = read_torch(path)
    if isinstance(found, torch.Tensor):
        return {"array": found}
    tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise FileError("it holds no tensor", where=str(path))
    return tensors


def _safetensors_file(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    resources.require(2 * size_of(path), "reading it", str(path))
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FileError(f"not a .safetensors file: {why(error)}", where=str(path)) from None


_READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    ".npy": _npy_file,
    ".npz": _npz_file,
    ".csv": _text_file(","),
    ".tsv": _text_file("\t"),
    ".json": _json_file,
    ".pt": _torch_file,
    ".pth": _torch_file,
    ".safetensors": _safetensors_file,
}
