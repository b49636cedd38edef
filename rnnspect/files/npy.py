"""numpy's .npy and .npz as tensors."""

from __future__ import annotations

import math
import re
import zipfile
from typing import IO, TYPE_CHECKING

import numpy as np
import torch

from rnnspect.errors import FileError
from rnnspect.files import memory
from rnnspect.files.npy_header import BROKEN, check_packing, check_promise, parse_header
from rnnspect.files.reading import size_of, why

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from torch import Tensor

MAX_TEXT = 64 * 2**20
_TEXT = re.compile(r"([<>])U(\d{1,9})")
"""numpy's name of the dtype of a text, such as <U12: its byte order and how many characters it has."""


def read_npy(path: Path) -> Tensor:
    """The array of a .npy file. Raises `FileError` for anything but real numbers as the header promises them."""
    size = size_of(path)
    try:
        with path.open("rb") as file:
            return parse_npy(file, size, str(path))
    except OSError as error:
        raise FileError(why(error), where=str(path)) from None


def map_npy(path: Path) -> Tensor:
    """The array of a .npy file, mapped into memory where its layout is this machine's: a run of ten million steps
    need not fit. Raises as `read_npy`."""
    size = size_of(path)
    try:
        with path.open("rb") as file:
            header = parse_header(file, str(path))
            start = file.tell()
        dtype = np.dtype(header.descr) if header.kind and header.descr else None
        if dtype is None or not dtype.isnative or header.fortran or not math.prod(header.shape):
            return read_npy(path)
        check_promise(math.prod(header.shape) * dtype.itemsize, size - start, str(path))
        # Copy on write: nothing is ever written into the file, and torch need not warn about that.
        return torch.from_numpy(np.memmap(path, dtype, "c", start, header.shape))
    except (OSError, ValueError) as error:
        raise FileError(why(error), where=str(path)) from None


def read_npz(source: Path | IO[bytes], where: str, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """Every array of a .npz archive by name, or only those that are named."""
    arrays = {}
    try:
        with zipfile.ZipFile(source) as archive:
            if only is None:
                check_archive(archive, where)
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if (name in only) if only is not None else not _is_text(archive, info, where):
                    with archive.open(info) as member:
                        arrays[name] = parse_npy(member, info.file_size, f"{where}:{name}")
    except BROKEN as error:
        raise FileError(f"not a .npz file: {why(error)}", where=where) from None
    if not arrays:
        raise FileError("the archive is empty", where=where)
    return arrays


def _is_text(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bool:
    """Whether a member is numpy text, such as the spec beside the arrays that `trace -o` keeps."""
    with archive.open(info) as member:
        return parse_header(member, where).described.strip("'\"").lstrip("<>=|").startswith("U")


def read_npz_text(path: Path, name: str) -> str | None:
    """The one text that a .npz archive holds under a name; None where it holds no such member.

    Raises `FileError` for anything else of that name, and for text of more than 64 MiB.
    """
    where = f"{path}:{name}"
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                return None
            check_packing(archive, str(path))
            with archive.open(f"{name}.npy") as member:
                header = parse_header(member, where)
                match = _TEXT.fullmatch(header.descr or "")
                if match is None or header.shape:
                    raise FileError(f"an array of {header.described}", allowed="one text", where=where)
                if (needed := 4 * int(match[2])) > MAX_TEXT:
                    raise FileError(f"text of {memory.in_words(needed)}", allowed="at most 64 MiB", where=where)
                content = member.read(needed)
    except BROKEN as error:
        raise FileError(f"not a .npz file: {why(error)}", where=str(path)) from None
    if len(content) < needed:
        raise FileError("the file ends too early", where=where)
    try:
        return content.decode("utf-32-be" if match[1] == ">" else "utf-32-le").rstrip("\0")
    except UnicodeDecodeError:
        raise FileError("not text", where=where) from None


def check_archive(archive: zipfile.ZipFile, where: str) -> None:
    """Raises before a zip is unpacked that would not fit, or that is packed in a way that no array file is."""
    check_packing(archive, where)
    memory.require(2 * sum(info.file_size for info in archive.infolist()), "unpacking it", where)


def parse_npy(file: IO[bytes], size: int, where: str) -> Tensor:
    """One .npy stream of `size` bytes; the header may not promise more than there is."""
    header = parse_header(file, where)
    if not header.kind or not header.descr:
        found = f"an array of {header.described}"
        raise FileError(found, allowed="numbers; objects would need code to load", where=where)
    dtype = np.dtype(header.descr)
    needed = math.prod(header.shape) * dtype.itemsize
    check_promise(needed, size - file.tell(), where)
    memory.require(2 * needed, "reading it", where)
    content = bytearray(file.read(needed))
    if len(content) < needed:
        raise FileError("the file ends too early", where=where)
    array = np.frombuffer(content, dtype).reshape(header.shape, order="F" if header.fortran else "C")
    return torch.from_numpy(np.array(array, dtype=dtype.newbyteorder("="), order="C"))
