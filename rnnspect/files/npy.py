"""numpy's .npy and .npz. The header is read by hand: it may be hostile, and numpy's reader evaluates it."""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch

from rnnspect import resources
from rnnspect.errors import FileError
from rnnspect.files.reading import size_of, why

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

MAGIC = b"\x93NUMPY"
_LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}
_DTYPE = re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]*)['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)\b""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(((?:\s*\d{1,18}L?\s*(?:,|(?=\))))*)\s*\)""")
_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
MAX_HEADER = 1 << 16
MAX_AXES = 8


def read_npy(path: Path) -> Tensor:
    """The array of a .npy file. Raises `FileError` for anything but real numbers as the header promises them."""
    size = size_of(path)
    try:
        with path.open("rb") as file:
            return parse_npy(file, size, str(path))
    except OSError as error:
        raise FileError(why(error), where=str(path)) from None


def read_npz(source: Path | IO[bytes], where: str) -> dict[str, Tensor]:
    """Every array of a .npz archive by name."""
    arrays = {}
    try:
        with zipfile.ZipFile(source) as archive:
            check_archive(archive, where)
            for info in archive.infolist():
                with archive.open(info) as member:
                    name = info.filename.removesuffix(".npy")
                    arrays[name] = parse_npy(member, info.file_size, f"{where}:{name}")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise FileError(f"not a .npz file: {why(error)}", where=where) from None
    if not arrays:
        raise FileError("the archive is empty", where=where)
    return arrays


def check_archive(archive: zipfile.ZipFile, where: str) -> None:
    """Raises before a zip is unpacked that would not fit, or that is packed in a way that no array file is."""
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileError(f"{info.filename!r} is packed in an unusual way", allowed="stored or deflated", where=where)
    resources.require(2 * sum(info.file_size for info in archive.infolist()), "unpacking it", where)


def parse_npy(file: IO[bytes], size: int, where: str) -> Tensor:
    """One .npy stream of `size` bytes; the header may not promise more than there is."""
    dtype, fortran, shape = _header(file, where)
    needed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if needed > there:
        found = f"its header promises {resources.in_words(needed)}, the file holds {resources.in_words(there)}"
        raise FileError(found, where=where)
    resources.require(2 * needed, "reading it", where)
    content = bytearray(file.read(needed))
    if len(content) < needed:
        raise FileError("the file ends too early", where=where)
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(np.array(array, dtype=dtype.newbyteorder("="), order="C"))


def _header(file: IO[bytes], where: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    start = file.read(8)
    if len(start) < 8 or not start.startswith(MAGIC) or start[6] not in _LENGTHS:
        raise FileError("not a .npy file", where=where)
    length = _LENGTHS[start[6]]
    size = file.read(length.size)
    count = length.unpack(size)[0] if len(size) == length.size else 0
    if count > MAX_HEADER:
        raise FileError("not a .npy file: its header is too long", where=where)
    text = file.read(count).decode("latin-1")
    order, shape, dtype = _ORDER.search(text), _SHAPE.search(text), _DTYPE.search(text)
    if not order or not shape:
        raise FileError("not a .npy file: its header says no shape", where=where)
    if not dtype or not _NUMBERS.fullmatch(dtype[1]):
        kind = "records" if not dtype else "objects" if dtype[1].endswith("O") else repr(dtype[1])
        found = f"an array of {kind}"
        raise FileError(found, allowed="numbers; objects would need code to load", where=where)
    sizes = tuple(int(axis.strip().rstrip("L")) for axis in shape[1].split(",") if axis.strip())
    if len(sizes) > MAX_AXES:
        raise FileError(f"an array of {len(sizes)} axes", allowed=f"at most {MAX_AXES}", where=where)
    return np.dtype(dtype[1]), order[1] == "True", sizes
