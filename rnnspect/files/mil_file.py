"""ML Programs of Core ML: the recurrent operators of a program, and the numbers in its file of weights.

Field numbers are those of apple/coremltools mlmodel/format/MIL.proto; the file of weights is laid out as
mlmodel/src/MILBlob/Blob/StorageFormat.hpp and BlobDataType.hpp say; the operators are those of
coremltools/converters/mil/mil/ops/defs/iOS15/recurrent.py.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError, listed
from rnnspect.files.coreml_weights import joined
from rnnspect.files.dtypes import SIZES
from rnnspect.files.operators import READABLE, FileArray, Operator, are_zero, plain
from rnnspect.files.protobuf import Message
from rnnspect.files.reading import FilePart, Stored, check_promise, opened

MAX_DEPTH = 32
"""How deeply blocks may be nested."""
MAX_OPERATIONS = 200_000
MAX_AXES = 8
_BOTH = ("weight_ih", "weight_hh", "bias")
KINDS = {
    "lstm": (*_BOTH, "peephole", *(f"{name}_back" for name in (*_BOTH, "peephole"))),
    "gru": _BOTH,
    "rnn": _BOTH,
}
"""The recurrent operators, and the arrays that they take."""
STATES = {"initial_h": "h0", "initial_c": "c0"}
"""By the names of their initial states what a spec calls these."""
LOOP = "while_loop"
"""The operator of a loop. coremltools writes out a GRU of PyTorch in one."""
PREFIX = "mil."
"""The prefix of an operator's name in a program; layers of networks have it, too."""
_SETTINGS = ("direction", "output_sequence", "recurrent_activation", "cell_activation", "activation", "clip")
_TYPES = {1: "bool", 2: "text", 10: "float16", 11: "float32", 12: "float64", 13: "bfloat16"}
_TYPES |= {21: "int8", 23: "int32", 24: "int64", 31: "uint8"}
"""By their number in the enum DataType."""
_BLOB_TYPES = {1: "float16", 2: "float32", 3: "uint8", 4: "int8", 5: "bfloat16", 14: "int32"}
_DEQUANTIZE = "constexpr_affine_dequantize"
"""An operator that gives scale · (quantized_data − zero_point), one scale for all or one for each row of an axis
(iOS16/constexpr_ops.py)."""
_BLOB = struct.Struct("<IIQQ")
_SENTINEL = 0xDEADBEEF
_FLOATS, _INTS, _BOOLS, _STRINGS, _LONGS, _DOUBLES, _BYTES = range(1, 8)
_PLAIN = {_FLOATS: "float32", _DOUBLES: "float64"}


@dataclass(frozen=True)
class Program:
    """A program, and the folder in which its files of weights are."""

    message: Message
    folder: Path
    where: str

    def operators(self) -> Iterator[Operator]:
        """The recurrent operators of all functions, and their loops. Raises `FileError` for what is damaged."""
        for function in self.message.mapping(2).values():
            for block in function.mapping(3).values():
                scope = _Scope(self, {}, {}, set(), {}, {})
                for operation in _operations(block, self.where):
                    kind, outputs = operation.text(1), _outputs(operation)
                    if kind in KINDS:
                        yield scope.operator(operation, kind, outputs)
                    elif kind == LOOP:
                        yield Operator(LOOP, next(iter(outputs), LOOP), {}, {})
                    elif kind == "const":
                        scope.constants.update(dict.fromkeys(outputs, operation.mapping(5).get("val")))
                    elif kind == _DEQUANTIZE:
                        scope.packed.update(dict.fromkeys(outputs, operation.mapping(5)))
                    else:
                        scope.made_by.update(dict.fromkeys(outputs, kind))
                        scope.turned.update(outputs if kind == "transpose" else ())

    def held(self, value: Message, where: str) -> FileArray:
        """An array inside the program, or in its file of weights."""
        kind, shape = _type(value, where)
        if kind not in READABLE:
            raise FileError(f"unsupported dtype {kind}", allowed=listed(READABLE), where=where)
        stored = Stored(shape, kind)
        if 5 in value:
            return self._in_file(value.message(5), stored, where)
        tensor = value.message(3).message(1)
        for field, dtype in _PLAIN.items():
            if field in tensor and dtype == kind:
                return plain(joined(tensor.message(field).every(1)), stored, where)
        if _BYTES in tensor:
            return plain(tensor.message(_BYTES).data(1), stored, where)
        raise FileError(f"the file is damaged: a {kind} constant has no values", where=where)

    def dequantized(self, said: dict[str, Message], where: str) -> FileArray:
        """The floats of an operator `constexpr_affine_dequantize` with these attributes."""
        if missing := {"quantized_data", "scale", "zero_point"} - said.keys():
            raise FileError(f"{_DEQUANTIZE} without {listed(sorted(missing))}", where=where)
        data, scale, zero = (self.held(said[name], where) for name in ("quantized_data", "scale", "zero_point"))
        shape, axis = data.stored.shape, _immediate(said.get("axis")) or 0
        rows = shape[axis] if isinstance(axis, int) and 0 <= axis < len(shape) else 0
        if any(one.stored.shape not in ((), (rows,)) for one in (scale, zero)):
            found = f"scales of shape {scale.stored.shape} and zero points of shape {zero.stored.shape}"
            raise FileError(found, allowed=f"() or ({rows},) for both", where=where)

        def read() -> Any:
            along = [-1 if at == axis else 1 for at in range(len(shape))]
            numbers, factor, offset = (one.read().float() for one in (data, scale, zero))
            shifted = numbers - (offset.reshape(along) if offset.dim() else offset)
            return (shifted * (factor.reshape(along) if factor.dim() else factor)).to(scale.read().dtype)

        return FileArray(Stored(shape, scale.stored.dtype), read, "8-bit integers")

    def _in_file(self, place: Message, stored: Stored, where: str) -> FileArray:
        name, offset = place.text(1), place.number(2)
        path = self.folder / name.removeprefix("@model_path/")
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, ValueError, RuntimeError):
            inside = False
        if not inside:
            found = f"the weights file {name[:99]!r} lies outside the model's folder"
            raise FileError(found, allowed="a file inside it", where=where)
        size = math.prod(stored.shape) * SIZES[stored.dtype]
        with opened(path) as part:
            start = _bytes_at(part, offset, _BLOB.size, where)
            sentinel, kind, length, at = _BLOB.unpack(start)
            if sentinel != _SENTINEL or _BLOB_TYPES.get(kind) != stored.dtype or length != size:
                found = f"{path.name} has no {stored.dtype} of shape {stored.shape} at byte {offset}"
                raise FileError(f"the weights are damaged or of another model: {found}", where=where)
            check_promise(at + length, part.size, where)

        def data() -> memoryview:
            with opened(path) as part:
                return memoryview(_bytes_at(part, at, length, where))

        is_zero = functools.cache(lambda: are_zero(data()))
        return FileArray(stored, lambda: plain(data(), stored, where).read(), is_zero=is_zero)


@dataclass(frozen=True)
class _Scope:
    """The results of the operators before one."""

    program: Program
    constants: dict[str, Message | None]
    made_by: dict[str, str]
    """By the name of a result the operator that computes it."""
    turned: set[str]
    """The results of `transpose`, and the h of every step of operators that take one of these."""
    packed: dict[str, dict[str, Message]]
    """By the name of a result the attributes of the `constexpr_affine_dequantize` that gives it."""
    arrays: dict[str, FileArray]
    """The constants that were read, by name."""

    def operator(self, operation: Message, kind: str, outputs: list[str]) -> Operator:
        called = _immediate(operation.mapping(5).get("name"))
        name = called if isinstance(called, str) and called else next(iter(outputs), kind)
        arrays: dict[str, FileArray] = {}
        settings: dict[str, Any] = {}
        computed: list[str] = []
        starts: set[str] = set()
        takes = ""
        for given, argument in operation.mapping(2).items():
            for binding in argument.messages(1)[:1]:
                source = binding.text(1)
                value = binding.message(2) if 2 in binding else self.constants.get(source)
                takes = source if given == "x" else takes
                where = f"{self.program.where}:{name}:{given}"
                if given in _SETTINGS:
                    settings[given] = _immediate(value)
                elif given in STATES and value is not None:
                    starts |= set() if self._held(source, value, where).is_zero() else {STATES[given]}
                elif given not in KINDS[kind]:
                    continue
                elif source in self.packed:
                    arrays[given] = self.program.dequantized(self.packed[source], where)
                elif value is None:
                    computed.append(f"{given} (by {self.made_by[source]})" if source in self.made_by else given)
                else:
                    arrays[given] = self._held(source, value, where)
        steps = settings.get("output_sequence") is True
        settings["x_is_transposed"] = takes in self.turned
        if steps and takes in self.turned:
            self.turned.update(outputs[:1])
        ends = (takes, tuple(outputs), steps, tuple(sorted(starts, reverse=True)))
        return Operator(PREFIX + kind, name, arrays, settings, tuple(computed), *ends)

    def _held(self, source: str, value: Message, where: str) -> FileArray:
        if not source or source not in self.arrays:
            self.arrays[source] = self.program.held(value, where)
        return self.arrays[source]


def _outputs(operation: Message) -> list[str]:
    return [output.text(1) for output in operation.messages(3)]


def _bytes_at(part: FilePart, at: int, size: int, where: str) -> bytes:
    """Raises `FileError` where the file ends before."""
    if at < 0:
        raise FileError(f"the file is damaged: the weights have the offset {at}", where=where)
    check_promise(at + size, part.size, where)
    part.file.seek(at)
    found = part.file.read(size)
    check_promise(size, len(found), where)
    return found


def _operations(block: Message, where: str, depth: int = 0) -> Iterator[Message]:
    """Those of a block and of the blocks in them, in the order of the program."""
    if depth > MAX_DEPTH:
        raise FileError("blocks are nested too deeply", allowed=f"at most {MAX_DEPTH} levels", where=where)
    if len(block.every(3)) > MAX_OPERATIONS:
        raise FileError("the program has too many operations", allowed=f"at most {MAX_OPERATIONS}", where=where)
    for operation in block.messages(3):
        yield operation
        for inner in operation.messages(4):
            yield from _operations(inner, where, depth + 1)


def _type(value: Message, where: str) -> tuple[str, tuple[int, ...]]:
    """The dtype and shape of a value."""
    kind = value.message(2).message(1)
    axes = kind.messages(3)
    shape = tuple(one.message(1).number(1) for one in axes)
    if len(axes) > MAX_AXES or any(1 not in one or size < 0 for one, size in zip(axes, shape, strict=True)):
        raise FileError("the shape of a constant is not known", where=where)
    number = kind.number(1)
    return _TYPES.get(number, f"type {number}"), shape


def _immediate(value: Message | None) -> Any:
    """The first number, flag or text of a value inside the program; None where there is none."""
    if value is None:
        return None
    tensor = value.message(3).message(1)
    kind = _TYPES.get(value.message(2).message(1).number(1))
    for field, form in ((_FLOATS, "<f"), (_DOUBLES, "<d"), *(((_BYTES, "<e"),) if kind == "float16" else ())):
        if len(data := tensor.message(field).first(1)) >= struct.calcsize(form):
            return struct.unpack_from(form, data)[0]
    if _STRINGS in tensor:
        return tensor.message(_STRINGS).text(1)
    if _BOOLS in tensor:
        return bool(tensor.message(_BOOLS).first_number(1))
    integers = next((field for field in (_INTS, _LONGS) if field in tensor), None)
    return None if integers is None else tensor.message(integers).first_number(1)
