"""The tensors of one graph of a .tflite model: their names, and the numbers of those that the file holds."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from rnnspect.errors import FileError, listed
from rnnspect.files.operators import SIZES, FileArray, as_float32, plain, tensor
from rnnspect.files.reading import Stored

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.files.flatbuffers import Table

MAX_AXES = 8
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 7: "int16", 9: "int8", 10: "float64", 18: "bfloat16"}
"""By their number in the enum TensorType."""
_DEQUANTIZE = 6
_FEW = range(4, 4 * MAX_AXES + 1, 4)
_FLOAT, _BYTE, _BOOL = "<f", "<b", "<?"


class TfliteGraph:
    """The tensors of one graph of a model."""

    def __init__(self, model: Table, graph: Table, codes: list[int]) -> None:
        self.table = graph
        self.tensors, self.operators = graph.tables(0), graph.tables(3)
        self._buffers = model.tables(4)
        self._codes = codes
        self._unpacked: dict[int, int] | None = None

    def code_of(self, operator: Table) -> int:
        """The number of an operator in the enum BuiltinOperator."""
        index: int = operator.number(0, "<I")
        if index >= len(self._codes):
            found = f"the file is damaged: an operator has code {index} of {len(self._codes)}"
            raise FileError(found, where=operator.where)
        return self._codes[index]

    def named(self, indices: tuple[int, ...]) -> tuple[str, ...]:
        """The names of these tensors."""
        return tuple(self.tensors.at(index).text(3) for index in indices if index >= 0)

    def constant(self, index: int) -> FileArray | None:
        """A tensor whose numbers the file holds, as floats, or as other numbers that an operator makes floats of."""
        held = self._held(index)
        if held is not None:
            return held
        if self._unpacked is None:
            self._unpacked = {}
            for operator in self.operators:
                if self.code_of(operator) == _DEQUANTIZE:
                    ends = (operator.numbers(place, "<i", 1) for place in (2, 1))
                    self._unpacked |= dict(zip(*ends, strict=False))
        source = self._held(self._unpacked[index]) if index in self._unpacked else None
        return source and as_float32(source)

    def single(self, index: int) -> float | None:
        """The number of a constant that is one float32; None for any other tensor."""
        one = self.tensors.at(index)
        data = self._data(one)
        return struct.unpack(_FLOAT, data)[0] if len(data) == 4 and one.number(1, _BYTE) == 0 else None

    def integers(self, index: int) -> tuple[int, ...]:
        """The numbers of a constant of a few int32; none for any other tensor."""
        one = self.tensors.at(index)
        data = self._data(one)
        return struct.unpack(f"<{len(data) // 4}i", data) if one.number(1, _BYTE) == 2 and len(data) in _FEW else ()

    def _held(self, index: int) -> FileArray | None:
        one = self.tensors.at(index)
        where = f"{one.where}:{one.text(3)}"
        data = self._data(one)
        if not data or one.number(5, _BOOL, False):
            return None
        if one.table(6) is not None:
            raise FileError("the tensor is sparse, which is not supported", where=where)
        shape, number = one.numbers(0, "<i", MAX_AXES + 1), one.number(1, _BYTE)
        dtype = _TYPES.get(number, f"type {number}")
        if dtype not in SIZES:
            raise FileError(f"unsupported dtype {dtype}", allowed=listed(_TYPES.values()), where=where)
        if len(shape) > MAX_AXES or any(size < 0 for size in shape):
            found = f"a constant has the shape {shape}"
            raise FileError(found, allowed=f"at most {MAX_AXES} dimensions of known size", where=where)
        stored = Stored(shape, dtype)
        held = plain(data, stored, where)
        return _scaled(one, data, stored, where) if "int" in dtype else held

    def _data(self, one: Table) -> memoryview:
        """The bytes of a tensor's numbers, none where it is no constant."""
        buffer = self._buffers.at(one.number(2, "<I"))
        offset, size = buffer.number(1, "<Q"), buffer.number(2, "<Q")
        if offset <= 1:
            return buffer.vector(0, 1)
        if offset + size > len(buffer.data):
            raise FileError("the file is damaged or cut short: a buffer lies outside it", where=buffer.where)
        return buffer.data[offset : offset + size]


def _scaled(one: Table, data: memoryview, stored: Stored, where: str) -> FileArray:
    """Floats stored as integers: scale · (number − zero point), one scale for all or one for each row of an axis."""
    quantization = one.table(4)
    if quantization is None:
        raise FileError(f"the {stored.dtype} tensor has no scale", where=where)
    scales, zeros = len(quantization.vector(2, 4)) // 4, len(quantization.vector(3, 8)) // 8
    axis = quantization.number(6, "<i")
    rows = stored.shape[axis] if 0 <= axis < len(stored.shape) else 1
    if scales not in (1, rows) or zeros not in (0, scales):
        found = f"{scales} scales and {zeros} zero points"
        raise FileError(found, allowed=f"1 or {rows} of each", where=where)
    along = [-1 if scales > 1 and at == axis else 1 for at in range(len(stored.shape))]

    def read() -> Tensor:
        import torch

        numbers = tensor(data, stored).to(torch.float32)
        if zeros:
            numbers -= torch.tensor(quantization.numbers(3, "<q", zeros), dtype=torch.float32).reshape(along)
        return numbers * torch.tensor(quantization.numbers(2, _FLOAT, scales), dtype=torch.float32).reshape(along)

    return FileArray(Stored(stored.shape, "float32"), read, f"{8 * SIZES[stored.dtype]}-bit integers")
