"""numpy's .npy and .npz. Their headers, which may be hostile, are read by hand, since `shapes` does without numpy.

Only what reads the numbers loads numpy and torch.
"""

from __future__ import annotations

import functools
import json
import math
import re
import struct
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.reading import Stored, Tensors, check_promise, size_of, why
from rnnspect.files.zip_members import MOST_UNPACKED, opened_zip

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = b"\x93NUMPY"
MAX_HEADER = 1 << 16
MAX_AXES = 8
MAX_TEXT = 2**26
_LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}
_DTYPE = re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]*)['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)\b""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(((?:\s*\d{1,18}L?\s*(?:,|(?=\))))*)\s*\)""")
_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_TEXT = re.compile(r"([<>])U(\d{1,9})")
"""numpy's name of the dtype of a text, such as <U12: its byte order and how many characters it has."""
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
        raise FileError("not a .npy file: its header gives no shape", where=where)
    sizes = tuple(int(axis.strip().rstrip("L")) for axis in shape[1].split(",") if axis.strip())
    if len(sizes) > MAX_AXES:
        raise FileError(f"the array has {len(sizes)} dimensions", allowed=f"at most {MAX_AXES}", where=where)
    return Header(dtype[1] if dtype else None, order[1] == "True", sizes)


def tensors(path: Path) -> Tensors:
    """The arrays of a .npz archive."""
    return Tensors(read_npz_headers(path), functools.partial(read_npz, path, str(path)))


def read_npz_headers(path: Path) -> dict[str, Stored]:
    """What a .npz archive holds. Nothing is unpacked but the headers."""
    size, found = size_of(path), dict[str, Stored]()
    with opened_zip(path, ".npz", str(path)) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            where = f"{path}:{name}"
            with archive.open(info) as member:
                header = parse_header(member, where)
                at = member.tell()
            if header.kind:
                packed = info.compress_type != zipfile.ZIP_STORED
                most = min(info.compress_size, size) * (MOST_UNPACKED if packed else 1)
                check_promise(math.prod(header.shape) * int(header.kind[1]), min(info.file_size, most) - at, where)
            found[name] = Stored(header.shape, _NAMES.get(header.kind or "", header.kind or header.described))
    if not found:
        raise FileError("the archive is empty", where=str(path))
    return found


def read_npz_spec(path: Path) -> str | None:
    """The text that a .npz archive holds under the name "spec"; None where it holds no such member.

    Raises `FileError` for anything else of that name, and for text of more than 64 MiB.
    """
    where = f"{path}:spec"
    with opened_zip(path, ".npz", str(path)) as archive:
        if "spec.npy" not in archive.namelist():
            return None
        with archive.open("spec.npy") as member:
            header = parse_header(member, where)
            match = _TEXT.fullmatch(header.descr or "")
            if match is None or header.shape:
                raise FileError(f"the array holds {header.described}", allowed="a single string", where=where)
            needed = 4 * int(match[2])
            if needed > MAX_TEXT:
                found = f"the text takes {free_memory.in_words(needed)}"
                raise FileError(found, allowed="at most 64 MiB", where=where)
            content = member.read(needed)
    if len(content) < needed:
        raise FileError("the file is cut short", where=where)
    try:
        return content.decode("utf-32-be" if match[1] == ">" else "utf-32-le").rstrip("\0")
    except UnicodeDecodeError:
        raise FileError("the array holds no readable text", where=where) from None


def saved_spec(path: Path) -> dict[str, Any] | None:
    """The keys of the spec that `trace -o` and `run -o` keep in a .npz file as JSON; None where none is in it.

    Raises `FileError` for a broken file, and for a text of that name that is no spec.
    """
    if path.suffix.lower() != ".npz":
        return None
    kept = read_npz_headers(path).get("spec")
    if kept is None or kept.shape or "U" not in kept.dtype:
        return None
    try:
        found = json.loads(read_npz_spec(path) or "")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FileError("this array is not a spec", allowed="a file that rnnspect wrote", where=f"{path}:spec")
    return found


def read_npy(path: Path) -> Tensor:
    """The array of a .npy file, mapped into memory where its layout is this machine's: a run of ten million steps need
    not fit. Raises `FileError` for anything but real numbers as the header promises them."""
    import numpy as np
    import torch

    size, where = size_of(path), str(path)
    try:
        with path.open("rb") as file:
            header = parse_header(file, where)
            start, count = file.tell(), math.prod(header.shape)
            dtype = np.dtype(header.descr) if header.kind else None
            if dtype is None or not dtype.isnative or header.fortran or not count:
                file.seek(0)
                return parse_npy(file, size, where)
        check_promise(count * dtype.itemsize, size - start, where)
        # Copy on write: nothing is ever written into the file, and torch need not warn about that.
        return torch.from_numpy(np.memmap(path, dtype, "c", start, header.shape))
    except (OSError, ValueError) as error:
        raise FileError(why(error), where=where) from None


def read_npz(source: Path | IO[bytes], where: str, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """Every array of a .npz archive by name but texts, such as a spec; or only those that are named."""
    arrays = {}
    with opened_zip(source, ".npz", where) as archive:
        if only is None:
            size = sum(info.file_size for info in archive.infolist())
            free_memory.require(2 * size, "unpacking this file", where)
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if (name in only) if only is not None else not _is_text(archive, info, where):
                with archive.open(info) as member:
                    arrays[name] = parse_npy(member, info.file_size, f"{where}:{name}")
    if not arrays:
        raise FileError("the archive is empty", where=where)
    return arrays


def _is_text(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bool:
    with archive.open(info) as member:
        return (parse_header(member, where).descr or "").lstrip("<>=|").startswith("U")


def parse_npy(file: IO[bytes], size: int, where: str) -> Tensor:
    """One .npy stream of `size` bytes; the header may not promise more than there is."""
    import numpy as np
    import torch

    header = parse_header(file, where)
    if not header.kind or not header.descr:
        found = f"the array holds {header.described}"
        raise FileError(found, allowed="numbers (Python objects are never loaded: that could run code)", where=where)
    dtype = np.dtype(header.descr)
    needed = math.prod(header.shape) * dtype.itemsize
    check_promise(needed, size - file.tell(), where)
    free_memory.require(2 * needed, "reading this file", where)
    content = bytearray(file.read(needed))
    if len(content) < needed:
        raise FileError("the file is cut short", where=where)
    array = np.frombuffer(content, dtype).reshape(header.shape, order="F" if header.fortran else "C")
    return torch.from_numpy(np.array(array, dtype=dtype.newbyteorder("="), order="C"))
