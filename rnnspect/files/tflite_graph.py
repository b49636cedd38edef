"""The tensors of one graph of a .tflite model: their names, and the numbers of those that the file holds. A loop whose
body such a graph is, as the equations of one step."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import TYPE_CHECKING

from rnnspect.errors import FileError, listed
from rnnspect.files.dtypes import SIZES
from rnnspect.files.operators import READABLE, FileArray, Operator, as_float32, plain, tensor
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
_SINGLE = {0: _FLOAT, 1: "<e"}
"""How one float32, and one float16, is stored."""


class TfliteGraph:
    """The tensors of one graph of a model."""

    def __init__(self, model: Table, graph: Table, codes: list[int]) -> None:
        self.table = graph
        self.tensors, self.operators = graph.tables(0), graph.tables(3)
        self._buffers = model.tables(4)
        self._codes = codes
        self._given: dict[int, FileArray] = {}

    @cached_property
    def _sources(self) -> dict[int, int]:
        """By each tensor of floats that an operator unpacks, the one that it unpacks."""
        found: dict[int, int] = {}
        for operator in self.operators:
            if self.code_of(operator) == _DEQUANTIZE:
                ends = (operator.numbers(place, "<i", 1) for place in (2, 1))
                found |= dict(zip(*ends, strict=False))
        return found

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
        held = self._given.get(index) or self._held(index)
        if held is not None:
            return held
        source = self._held(self._sources[index]) if index in self._sources else None
        return source and as_float32(source)

    def give_constants(self, outer: TfliteGraph, given: tuple[int, ...]) -> set[int]:
        """Takes the constants of the graph around a loop that go into this body of it and out again as they are: the
        tensors here that they are. A converter to float16 makes floats of a bias outside of the loop."""
        inputs, outputs = (self.table.numbers(place, "<i", MAX_INPUTS) for place in (1, 2))
        for taken, index, gives in zip(given, inputs, outputs, strict=False):
            is_float = index == gives and taken >= 0 and outer.tensors.at(taken).number(1, _BYTE) == 0
            if held := outer.constant(taken) if is_float else None:
                self._given[index] = held
        return set(self._given)

    def single(self, index: int) -> float | None:
        """The number of a constant that is one float, in float32 or unpacked from float16; None for any other
        tensor."""
        one = self.tensors.at(self._sources.get(index, index))
        data, form = self._data(one), _SINGLE.get(one.number(1, _BYTE))
        return struct.unpack(form, data)[0] if form and len(data) == struct.calcsize(form) else None

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
        if dtype not in READABLE:
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


LOOP = "WHILE"
MAX_INPUTS = 64
MAX_LENGTH = 400
"""Characters of an equation: one whose terms are used twice at every step would double with each."""
UNKNOWN = "?"
_ADD, _FULLY_CONNECTED, _LOGISTIC, _MUL, _RELU, _RESHAPE, _TANH, _GATHER = 0, 9, 14, 18, 19, 22, 28, 36
_SUB, _STRIDED_SLICE, _SPLIT = 41, 45, 49
_FUNCTIONS = {_LOGISTIC: "sigmoid", _RELU: "relu", _TANH: "tanh"}
_FUSED = {1: "relu", 4: "tanh"}
_SIGNS = {_ADD: "+", _MUL: "*", _SUB: "-"}


def loop(body: TfliteGraph, name: str, constants: set[int]) -> Operator:
    """A WHILE as an operator. Its settings say what each of its outputs is: W x, U h[s3] and V[…] for the products of
    x, of s3 and of a product with the constants `weights`, `recurrent_weights` and `candidate_weights`, each with its
    bias; W x' with a `bias` that is added later; W x.1 for the second part of W x; s3 for what came in at that place,
    h or c; +, * and - of two, the smaller text first in + and *.

    `constants` are those of its inputs that are none of its state."""
    inputs = body.table.numbers(1, "<i", MAX_INPUTS)
    known = {index: f"s{at}" for at, index in enumerate(inputs) if index not in constants}
    arrays: dict[str, FileArray] = {}
    for operator in body.operators:
        taken, outputs = operator.numbers(1, "<i", 4), operator.numbers(2, "<i", 8)
        if not taken or not outputs:
            continue
        code, texts = body.code_of(operator), [_text(body, index, known) for index in taken]
        said = UNKNOWN
        if code == _GATHER:
            said = "x" if taken[0] in inputs else UNKNOWN
        elif code == _DEQUANTIZE:
            said = _text(body, outputs[0], {})
        elif code == _RESHAPE:
            said = texts[0]
        elif code == _FULLY_CONNECTED and len(taken) >= 2:
            said = _fused(operator, _product(body, texts[0], taken, arrays))
        elif code == _STRIDED_SLICE and len(taken) == 4:
            said = _part(body, texts[0], taken, outputs[0])
        elif code in _FUNCTIONS:
            said = f"{_FUNCTIONS[code]}({texts[0]})"
        elif code in _SIGNS and len(texts) == 2:
            said = _with_bias(body, texts, taken, arrays) if code == _ADD else ""
            ordered = texts if code == _SUB else sorted(texts)
            said = _fused(operator, said or f"({_SIGNS[code].join(ordered)})")
        known[outputs[0]] = said if len(said) <= MAX_LENGTH else UNKNOWN
        if code == _SPLIT and len(texts) == 2 and len(texts[1]) <= MAX_LENGTH:
            known |= {index: f"{texts[1]}.{at}" for at, index in enumerate(outputs)}
    equations = tuple(known.get(index, UNKNOWN) for index in body.table.numbers(2, "<i", MAX_INPUTS))
    return Operator(LOOP, name or LOOP, arrays, {"equations": equations})


def _product(body: TfliteGraph, text: str, taken: tuple[int, ...], arrays: dict[str, FileArray]) -> str:
    """W x, U h or V of a product; the constants go to `arrays`. Another product, or a second one of the same, is not
    known."""
    start, said = ("", "W x") if text == "x" else ("recurrent_", f"U h[{text}]")
    if "*" in text:
        start, said = "candidate_", f"V[{text}]"
    weights = body.constant(taken[1]) if taken[1] >= 0 else None
    if weights is None or f"{start}weights" in arrays or not (text == "x" or text[:1] == "s" or "*" in text):
        return UNKNOWN
    arrays[f"{start}weights"] = weights
    if len(taken) > 2 and taken[2] >= 0 and (bias := body.constant(taken[2])):
        arrays[f"{start}bias"] = bias
    return said


def _with_bias(body: TfliteGraph, texts: list[str], taken: tuple[int, ...], arrays: dict[str, FileArray]) -> str:
    """The sum of W x, or of W x + U h, and a vector, which goes to `arrays` as its bias; empty for another sum."""
    for one, other in ((0, 1), (1, 0)):
        if texts[other] == UNKNOWN and "W x" in texts[one] and texts[one][-1] in "x)" and "bias" not in arrays:
            bias = body.constant(taken[other])
            if bias is not None and len(bias.stored.shape) == 1 and "sigmoid" not in texts[one]:
                arrays["bias"] = bias
                return f"{texts[one]}'"
    return ""


def _part(body: TfliteGraph, text: str, taken: tuple[int, ...], output: int) -> str:
    """A slice of columns that is one of several of the same width, as a split gives them."""
    begin, strides = (body.integers(taken[at]) for at in (1, 3))
    width = body.tensors.at(output).numbers(0, "<i", 8)[-1:]
    if not begin or not width or width[0] < 1 or begin[-1] % width[0] or any(begin[:-1]) or set(strides) != {1}:
        return UNKNOWN
    return f"{text}.{begin[-1] // width[0]}"


def _fused(operator: Table, text: str) -> str:
    """With the function that the operator's options add."""
    options = operator.table(4)
    function = options.number(0, "<b") if options else 0
    return text if function == 0 else f"{_FUSED[function]}({text})" if function in _FUSED else UNKNOWN


def _text(body: TfliteGraph, index: int, known: dict[int, str]) -> str:
    """What a tensor is: known, a constant of one number (1.0), or not known."""
    if index in known or index < 0:
        return known.get(index, UNKNOWN)
    one = body.single(index)
    return UNKNOWN if one is None else f"{one:g}"
