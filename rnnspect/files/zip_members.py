"""Zip archives: checked before they are unpacked; members read as text, or opened at their place in the file."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.reading import FilePart, refuse_pipe, why

_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError)
"""What zipfile raises on damaged files."""
MAX_TEXT = 2**26
"""The most bytes of a member that is read as text."""
MOST_UNPACKED = 1032
"""The most bytes that a byte of deflate can stand for: zlib's technical details, "Maximum Compression Factor"."""
_HEADER = struct.Struct("<26xHH")
"""The end of what stands before a member's bytes: how long its name and its extra field are."""


@contextmanager
def opened_zip(source: Path | IO[bytes], suffix: str, where: str) -> Iterator[zipfile.ZipFile]:
    """A zip to read from. Raises `FileError` for a damaged one, in whatever place the damage is found, and for members
    that are packed in a way that no array file is."""
    if isinstance(source, Path):
        refuse_pipe(source)
    try:
        with zipfile.ZipFile(source) as archive:
            _check_packing(archive, where)
            yield archive
    except _BROKEN as error:
        raise FileError(f"not a {suffix} file, or damaged: {why(error)}", where=where) from None


def _check_packing(archive: zipfile.ZipFile, where: str) -> None:
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            found = f"{info.filename!r} has an unsupported zip compression"
            raise FileError(found, allowed="stored or deflated", where=where)


def read_member(archive: zipfile.ZipFile, name: str, where: str) -> str:
    """A member as text. Raises `FileError` for one that is none, or too large."""
    info = archive.getinfo(name)
    if info.file_size > MAX_TEXT:
        allowed = f"at most {free_memory.in_words(MAX_TEXT)}"
        raise FileError(f"{name} takes {free_memory.in_words(info.file_size)}", allowed=allowed, where=where)
    try:
        return archive.read(info).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(f"{name} is not text", where=where) from None


@contextmanager
def opened_member(archive: zipfile.ZipFile, name: str, path: Path) -> Iterator[FilePart]:
    """A member: its place in the file if it is stored uncompressed, else its bytes unpacked in memory.

    Raises `FileError` for one that lies outside the archive, `ResourceError` for one that would not fit in memory.
    """
    info = archive.getinfo(name)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        free_memory.require(2 * info.file_size, "unpacking this file", str(path))
        yield FilePart(io.BytesIO(archive.read(info)), 0, info.file_size)
        return
    archive.open(info).close()  # checks that a header is there and speaks of the same member
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(info.header_offset)
        after = _HEADER.unpack(file.read(_HEADER.size))
        start = info.header_offset + _HEADER.size + sum(after)
        if start + info.file_size > size or info.file_size != info.compress_size:
            raise FileError(f"the file is damaged: {name!r} is longer than the file", where=str(path))
        yield FilePart(file, start, info.file_size)
