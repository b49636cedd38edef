"""One tensor of TensorFlow: its dtype and shape in words of ours, and its numbers from bytes.

Source: tensorflow/core/framework/types.proto, tensor.proto and tensor_shape.proto.
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.dtypes import SIZES
from rnnspect.files.operators import tensor
from rnnspect.files.protobuf import Message, varint
from rnnspect.files.reading import Stored, opened

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64"}
DTYPES |= {9: "int64", 10: "bool", 14: "bfloat16", 19: "float16"}
"""By the number in DataType; other numbers are shown as "DataType 11"."""
MAX_AXES = 254
"""TensorFlow's own limit (TensorShape::MaxDimensions)."""
_FORMATS = {"float16": "<e", "bfloat16": "<f", "float32": "<f", "float64": "<d"}
"""Of the dtypes that are read."""
_VALUES = {"float32": 5, "float64": 6, "float16": 13, "bfloat16": 13}
"""The field of a TensorProto that lists numbers of a dtype one by one."""


def mapped(path: Path) -> memoryview:
    """The bytes of a file, of which only those that are looked at are read.

    Raises `FileError` for what is no file, or is empty.
    """
    with opened(path) as part:
        return memoryview(mmap.mmap(part.file.fileno(), 0, access=mmap.ACCESS_READ))


def dtype_named(kind: int) -> str:
    """The dtype with that number in DataType."""
    return DTYPES.get(kind, f"DataType {kind}")


def shape_of(shape: Message) -> tuple[int, ...]:
    """A TensorShapeProto. Raises `FileError` for sizes that are unknown or too many."""
    sizes = tuple(dim.number(1) for dim in shape.messages(2))
    if len(sizes) > MAX_AXES or any(size < 0 for size in sizes):
        found = f"a tensor has the shape ({', '.join(map(str, sizes[:8]))})"
        raise FileError(found, allowed=f"at most {MAX_AXES} dimensions of known size", where=shape.where)
    return sizes


def stored_in(proto: Message) -> Stored:
    """The dtype and shape of a TensorProto."""
    return Stored(shape_of(proto.message(2)), dtype_named(proto.number(1)))


def tensor_of(proto: Message) -> Tensor:
    """The numbers of a TensorProto: its bytes as they are, or a list of which the last one goes on to the end.

    Raises `FileError` where they do not fit the shape, `ResourceError` where they would not fit in memory.
    """
    import torch

    stored, where = stored_in(proto), proto.where
    content = _content(proto, stored)
    size, count = size_of(stored, where), math.prod(stored.shape)
    if len(content) == count * size:
        return from_bytes(content, stored, where)
    free_memory.require(2 * count * size, "reading this file", where)
    given = torch.frombuffer(bytearray(content or bytes(size)), dtype=getattr(torch, stored.dtype))
    found = given[-1:].repeat(count)
    found[: len(given)] = given
    return found.reshape(stored.shape)


def number_of(proto: Message) -> float | None:
    """The number of a TensorProto that holds one, as constants in a sum or product do; None for another. Loads nothing.

    Raises `FileError` where its bytes do not fit it.
    """
    stored = stored_in(proto)
    if stored.dtype not in _FORMATS or math.prod(stored.shape) != 1:
        return None
    content = _content(proto, stored) or bytes(SIZES[stored.dtype])
    if stored.dtype == "bfloat16":
        content = bytes(2) + bytes(content)  # the upper half of a float32
    return float(struct.unpack(_FORMATS[stored.dtype], content)[0])


def _content(proto: Message, stored: Stored) -> bytes | memoryview:
    """The bytes of the numbers; fewer than the shape has where the last one goes on to the end."""
    size, whole = size_of(stored, proto.where), proto.data(4)
    if whole and len(whole) != size * math.prod(stored.shape):
        raise _unfit(stored, len(whole), proto.where)
    listed = b"".join(_bytes(value, size, proto.where) for value in proto.values(_VALUES[stored.dtype]))
    if len(listed) > size * math.prod(stored.shape) or len(listed) % size:
        raise _unfit(stored, len(listed), proto.where)
    return whole or listed


def _bytes(value: int | memoryview, size: int, where: str) -> bytes:
    """Numbers listed one by one: fixed ones as they are, those of 16 bits as whole numbers, alone or packed."""
    if isinstance(value, int):
        return struct.pack("<H", value & 0xFFFF)
    if size > 2:
        return bytes(value)
    found, at = bytearray(), 0
    while at < len(value):
        bits, at = varint(value, at, where)
        found += struct.pack("<H", bits & 0xFFFF)
    return bytes(found)


def from_bytes(data: bytes | bytearray | memoryview, stored: Stored, where: str) -> Tensor:
    """The numbers of a tensor that lie side by side, little-endian, in new memory."""
    if len(data) != math.prod(stored.shape) * size_of(stored, where):
        raise _unfit(stored, len(data), where)
    free_memory.require(2 * len(data), "reading this file", where)
    return tensor(memoryview(data), stored)


def size_of(stored: Stored, where: str) -> int:
    """Bytes of one number. Raises `FileError` for dtypes that no parameter has."""
    if stored.dtype not in _FORMATS:
        raise FileError(f"unsupported dtype {stored.dtype}", allowed=", ".join(_FORMATS), where=where)
    return SIZES[stored.dtype]


def _unfit(stored: Stored, there: int, where: str) -> FileError:
    found = f"a {stored.dtype} tensor of shape {stored.shape} has {there} bytes"
    allowed = f"{math.prod(stored.shape) * SIZES[stored.dtype]}"
    return FileError(found, allowed=allowed, where=where)
