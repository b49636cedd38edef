"""A tensor or an array that a file holds: where its numbers are, and the numbers when they are asked for."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.dtypes import SIZES
from rnnspect.files.reading import DAMAGED, Stored, check_promise, in_short, opened
from rnnspect.files.zip_members import opened_zip

if TYPE_CHECKING:
    from torch import Tensor

MAX_AXES = 64


@dataclass(frozen=True)
class StoredBytes:
    """Bytes: from a place in the file, a compressed member of the archive, or in what was read already."""

    size: int
    start: int = 0
    member: str | None = None
    data: bytes | bytearray | str | None = None
    """If it is a text, each character is a byte: so Python 3 reads what Python 2 pickled."""


@dataclass(frozen=True)
class Affine:
    """What integers stand for: scale · (n − zero), of each place along an axis perhaps its own."""

    scale: float | Strided
    zero: int | Strided
    axis: int = 0


@dataclass(frozen=True)
class Strided:
    """Numbers at regular distances in a place. A step and the offset are counted in numbers."""

    place: StoredBytes
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    big_endian: bool = False
    negative: bool = False
    """Whether the stored numbers have the opposite sign: torch negates lazily."""
    conjugate: bool = False
    quantised: Affine | None = None

    @property
    def stored(self) -> Stored:
        return Stored(self.shape, self.dtype if self.quantised is None else "float32")

    @property
    def region(self) -> tuple[Any, ...]:
        """A key that is equal for two names of the same numbers."""
        place = self.place
        return place.start, place.member, id(place.data), self.dtype, self.shape, self.strides, self.offset


def contiguous(shape: tuple[int, ...], fortran: bool) -> tuple[int, ...]:
    """The strides of an array without gaps."""
    if fortran:
        return tuple(math.prod(shape[:axis]) for axis in range(len(shape)))
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def checked(found: Strided, where: str) -> Strided:
    """The tensor itself. Raises `FileError` where its shape, strides or offset lead beyond the bytes that are there."""
    shape, strides = found.shape, found.strides
    counts = (*shape, *strides, found.offset)
    if len(shape) != len(strides) or len(shape) > MAX_AXES or found.dtype not in SIZES:
        raise FileError(
            f"the file is damaged: a tensor has {len(shape)} dimensions and {len(strides)} strides", where=where
        )
    if any(type(count) is not int or not 0 <= count < 2**62 for count in counts) or math.prod(shape) >= 2**62:
        raise FileError("the file is damaged: a tensor has an impossible shape", where=where)
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    needed = 0 if 0 in shape else (found.offset + last + 1) * SIZES[found.dtype]
    check_promise(needed, found.place.size, where)
    return found


def read_all(path: Path, wanted: Mapping[str, Strided]) -> dict[str, Tensor]:
    """The numbers of these tensors. What lies in the file uncompressed is mapped: only what is used is read, and
    nothing is ever written back. Raises `FileError` for a damaged file."""
    import torch

    unpacked: dict[str, Tensor] = {}
    with opened(path) as part:
        mapped = mmap.mmap(part.file.fileno(), 0, access=mmap.ACCESS_COPY)

    def bytes_at(place: StoredBytes) -> Tensor:
        if place.size == 0:
            return torch.empty(0, dtype=torch.uint8)
        if place.data is not None:
            data = place.data.encode("latin-1") if isinstance(place.data, str) else place.data
            return torch.frombuffer(bytearray(data), dtype=torch.uint8)
        if place.member is None:
            return torch.frombuffer(mapped, dtype=torch.uint8, offset=place.start, count=place.size)
        if place.member not in unpacked:
            free_memory.require(2 * place.size, "unpacking this file", str(path))
            with opened_zip(path, path.suffix, str(path)) as archive:
                content = bytearray(archive.read(place.member))
            unpacked[place.member] = torch.frombuffer(content, dtype=torch.uint8)
        return unpacked[place.member]

    found = {}
    for name, one in wanted.items():
        try:
            found[name] = _dequantised(one, bytes_at)
        except DAMAGED as error:
            raise FileError(
                f"the values of this tensor cannot be read: {in_short(error)}", where=f"{path}:{name}"
            ) from None
    return found


def _dequantised(one: Strided, bytes_at: Callable[[StoredBytes], Tensor]) -> Tensor:
    """As torch.dequantize has it, in float32."""
    import torch

    values = _read(one, bytes_at(one.place))
    if one.quantised is None:
        return values
    shape = [-1 if axis == one.quantised.axis else 1 for axis in range(values.dim())]

    def parts(of: float | Strided, dtype: torch.dtype) -> Tensor:
        each = _read(of, bytes_at(of.place)).reshape(shape) if isinstance(of, Strided) else torch.tensor(of)
        return each.to(dtype)

    zero, scale = parts(one.quantised.zero, torch.int32), parts(one.quantised.scale, torch.float32)
    return (values.int() - zero).float().mul_(scale)


def _read(one: Strided, content: Tensor) -> Tensor:
    import torch

    size = SIZES[one.dtype]
    if content.numel() < one.place.size:
        raise ValueError("the file is cut short")
    content = content[: content.numel() // size * size]
    number = size // 2 if one.dtype.startswith("complex") else size
    if one.big_endian != (sys.byteorder == "big") and number > 1:
        content = content.reshape(-1, number).flip(1).reshape(-1)
    if content.numel() and content.data_ptr() % size:
        content = content.clone()
    flat = content.view(getattr(torch, one.dtype))
    found = flat.as_strided(one.shape, one.strides, one.offset) if 0 not in one.shape else flat[:0].reshape(one.shape)
    found = found.conj() if one.conjugate else found
    return -found if one.negative else found
