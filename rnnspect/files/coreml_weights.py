"""The numbers of a layer of a Core ML network: the message WeightParams of NeuralNetwork.proto, as floats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files.dtypes import SIZES
from rnnspect.files.operators import FileArray, are_zero, plain, tensor
from rnnspect.files.reading import Stored

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.files.protobuf import Message

_FLOATS, _HALVES, _RAW, _INT8, _QUANTIZATION = 1, 2, 30, 31, 40
_LINEAR, _TABLE = 101, 102


def weights(message: Message, shape: tuple[int, ...], where: str) -> FileArray | None:
    """An array of that shape; None where it is empty. Raises `FileError` for another count of numbers."""
    count = math.prod(shape)
    if floats := message.every(_FLOATS):
        data = joined(floats)
        return _counted(data, Stored(shape, "float32"), where)
    if halves := message.data(_HALVES):
        return _counted(halves, Stored(shape, "float16"), where)
    if message.data(_INT8):
        raise FileError("weights stored as int8RawValue", allowed="rawValue, or floats", where=where)
    if not (raw := message.data(_RAW)):
        return None
    quantization = message.message(_QUANTIZATION)
    bits = quantization.number(1)
    if not 1 <= bits <= 8 or len(raw) != math.ceil(count * bits / 8):
        found = f"{len(raw)} bytes of {bits}-bit weights"
        raise FileError(found, allowed=f"{count} weights of 1 to 8 bits each", where=where)
    linear = quantization.message(_LINEAR)
    scales, biases = joined(linear.every(1)), joined(linear.every(2))
    table = joined(quantization.message(_TABLE).every(1))
    rows = shape[0]
    if _TABLE in quantization:
        if len(table) != 4 << bits:
            found = f"the lookup table of {bits}-bit weights has {len(table) // 4} entries"
            raise FileError(found, allowed=f"{1 << bits}", where=where)
    elif len(scales) not in (4, 4 * rows) or len(biases) not in (0, 4, 4 * rows):
        found = f"{len(scales) // 4} scales and {len(biases) // 4} biases for {bits}-bit weights"
        raise FileError(found, allowed=f"1 or {rows} of each", where=where)

    def read() -> Tensor:
        numbers = _unpacked(raw, bits, count).reshape(shape)
        if table:
            return _floats(table)[numbers.long()]
        along = (-1, *[1] * (len(shape) - 1))
        scaled = numbers * _floats(scales).reshape(along)
        return scaled + _floats(biases).reshape(along) if biases else scaled

    return FileArray(Stored(shape, "float32"), read, f"{bits}-bit integers")


def all_zero(message: Message) -> bool:
    """Whether all bits of the numbers of an array are 0."""
    data = [*message.every(_FLOATS), *(message.data(field) for field in (_HALVES, _RAW, _INT8))]
    return all(map(are_zero, data))


def joined(parts: list[memoryview]) -> memoryview:
    """The numbers of a repeated field: one run of bytes where they are packed, else one each."""
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _counted(data: memoryview, stored: Stored, where: str) -> FileArray:
    size, count = SIZES[stored.dtype], math.prod(stored.shape)
    if len(data) != count * size:
        found = f"the array has {len(data) // size} values"
        raise FileError(found, allowed=f"{count} for its shape {stored.shape}", where=where)
    return plain(data, stored, where)


def _floats(data: memoryview) -> Tensor:
    return tensor(data, Stored((len(data) // 4,), "float32"))


def _unpacked(data: memoryview, bits: int, count: int) -> Tensor:
    """Whole numbers of so many bits each, the highest bit first."""
    import torch

    whole = tensor(data, Stored((len(data),), "uint8"))
    if bits == 8:
        return whole
    each = torch.stack([(whole >> place) & 1 for place in range(7, -1, -1)], 1).flatten()[: count * bits]
    numbers = torch.zeros(count, dtype=torch.uint8)
    for one in each.reshape(count, bits).unbind(1):
        numbers = 2 * numbers + one
    return numbers
