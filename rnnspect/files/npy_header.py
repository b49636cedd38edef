"""The headers of numpy's .npy and .npz, read by hand: they may be hostile, and numpy's reader evaluates them.

Loads neither numpy nor torch.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files import memory
from rnnspect.files.reading import size_of, why
from rnnspect.files.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"\x93NUMPY"
MAX_HEADER = 1 << 16
MAX_AXES = 8
BROKEN: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError),
    struct.error,
)
"""What zipfile raises on damaged archives."""
_LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}
_DTYPE = re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]*)['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)\b""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(((?:\s*\d{1,18}L?\s*(?:,|(?=\))))*)\s*\)""")
_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_NAMES = {"f2": "float16", "f4": "float32", "f8": "float64"}


@dataclass(frozen=True)
class Header:
    descr: str | None
    """numpy's name of the dtype, such as <f4; None for records."""
    fortran: bool
    shape: tuple[int, ...]

    @property
    def kind(self) -> str | None:
        """The dtype without its byte order, such as f4; None for anything but real numbers of up to 8 bytes."""
        match = _NUMBERS.fullmatch(self.descr) if self.descr else None
        return match[1] if match else None

    @property
    def described(self) -> str:
        """The dtype in words."""
        if self.descr is None:
            return "records"
        return "objects" if self.descr.endswith("O") else repr(self.descr)


def parse_header(file: IO[bytes], where: str) -> Header:
    """The header at the beginning of a .npy stream; the stream then stands at the first number."""
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
    sizes = tuple(int(axis.strip().rstrip("L")) for axis in shape[1].split(",") if axis.strip())
    if len(sizes) > MAX_AXES:
        raise FileError(f"an array of {len(sizes)} axes", allowed=f"at most {MAX_AXES}", where=where)
    return Header(dtype[1] if dtype else None, order[1] == "True", sizes)


def check_promise(needed: int, there: int, where: str) -> None:
    """Raises for a header that promises more bytes than there are."""
    if needed > there:
        found = f"its header promises {memory.in_words(needed)}, the file holds {memory.in_words(there)}"
        raise FileError(found, where=where)


def check_packing(archive: zipfile.ZipFile, where: str) -> None:
    """Raises for a zip that is packed in a way that no array file is."""
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileError(f"{info.filename!r} is packed in an unusual way", allowed="stored or deflated", where=where)


def read_npz_headers(path: Path) -> dict[str, Stored]:
    """What a .npz archive holds. Nothing is unpacked but the headers."""
    size_of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_packing(archive, str(path))
            found = dict(_stored(archive, path))
    except BROKEN as error:
        raise FileError(f"not a .npz file: {why(error)}", where=str(path)) from None
    if not found:
        raise FileError("the archive is empty", where=str(path))
    return found


_MOST_UNPACKED = 1032
"""Bytes that a byte of deflate can stand for at most."""


def _stored(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, Stored]]:
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        where = f"{path}:{name}"
        with archive.open(info) as member:
            header = parse_header(member, where)
            at = member.tell()
        packed = min(info.compress_size, path.stat().st_size)
        most = packed if info.compress_type == zipfile.ZIP_STORED else packed * _MOST_UNPACKED
        if header.kind:
            check_promise(math.prod(header.shape) * int(header.kind[1]), min(info.file_size, most) - at, where)
        yield name, Stored(header.shape, _NAMES.get(header.kind or "", header.kind or header.described))
