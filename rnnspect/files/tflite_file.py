"""Models in .tflite (TensorFlow Lite, LiteRT), read as data by their published schema, without TensorFlow.

Field numbers, types and defaults are those of tensorflow/compiler/mlir/lite/schema/schema.fbs (version 3), the order
of inputs that of the kernels in tensorflow/lite/kernels (lstm_shared.h, bidirectional_sequence_lstm.cc, basic_rnn.cc).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, listed
from rnnspect.files import flatbuffers, free_memory
from rnnspect.files.operators import SIZES, Held, Operator, as_float32, plain, tensor
from rnnspect.files.reading import Stored, read_bytes, size_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from rnnspect.files.flatbuffers import Table

MAGIC = b"TFL3"
"""Bytes 4 to 8 of every file."""
MOST = 2**31 - 1
"""What a FlatBuffer can hold; larger models have their numbers behind it, in the same file."""
MAX_OPERATORS = 200_000
MAX_RECURRENT = 1000
MAX_AXES = 8
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 7: "int16", 9: "int8", 10: "float64", 18: "bfloat16"}
_DEQUANTIZE = 6
_GATES = ("input", "forget", "cell", "output")
_WEIGHTS = (
    *(f"input_to_{gate}_weights" for gate in _GATES),
    *(f"recurrent_to_{gate}_weights" for gate in _GATES),
    *(f"cell_to_{gate}_weights" for gate in ("input", "forget", "output")),
    *(f"{gate}_gate_bias" for gate in _GATES),
    "projection_weights",
    "projection_bias",
)
_NORMS = tuple(f"{gate}_layer_norm_coefficients" for gate in _GATES)
_LSTM = ("input", *_WEIGHTS, "activation_state", "cell_state", *_NORMS)
_RNN = ("weights", "recurrent_weights", "bias", "hidden_state")
_BOTH = tuple(f"{way}_{name}" for way in ("fw", "bw") for name in _WEIGHTS)
_STATES = tuple(f"{way}_{name}_state" for way in ("fw", "bw") for name in ("activation", "cell"))
_AUX = tuple(f"{way}_aux_input_to_{gate}_weights" for way in ("fw", "bw") for gate in _GATES)
_BOTH_RNN = tuple(f"{way}_{name}" for way in ("fw", "bw") for name in _RNN)
_FLOAT, _BYTE, _BOOL = "<f", "<b", "<?"


@dataclass(frozen=True)
class _Kind:
    name: str
    inputs: tuple[str, ...]
    options: dict[str, tuple[int, str, Any]]
    """By name the field's number in the table of options, its type and its default."""


_FUSED = {"fused_activation_function": (0, _BYTE, 0)}
_CLIPS = {"cell_clip": (1, _FLOAT, 0.0), "proj_clip": (2, _FLOAT, 0.0)}
_SEQUENCE_RNN = {"time_major": (0, _BOOL, False), "fused_activation_function": (1, _BYTE, 0)}
KINDS = {
    16: _Kind("LSTM", _LSTM, {**_FUSED, **_CLIPS, "kernel_type": (3, _BYTE, 0)}),
    24: _Kind("RNN", ("input", *_RNN), _FUSED),
    35: _Kind("UNIDIRECTIONAL_SEQUENCE_RNN", ("input", *_RNN), _SEQUENCE_RNN),
    44: _Kind(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        _LSTM,
        {**_FUSED, **_CLIPS, "time_major": (3, _BOOL, False), "diagonal_recurrent_tensors": (5, _BOOL, False)},
    ),
    46: _Kind(
        "BIDIRECTIONAL_SEQUENCE_RNN",
        ("input", *_BOTH_RNN, "aux_input", "fw_aux_weights", "bw_aux_weights"),
        {**_SEQUENCE_RNN, "merge_outputs": (2, _BOOL, False)},
    ),
    52: _Kind(
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        ("input", *_BOTH, *_STATES, "aux_input", *_AUX),
        {**_FUSED, **_CLIPS, "merge_outputs": (3, _BOOL, False), "time_major": (4, _BOOL, True)},
    ),
}
"""The recurrent operators, by their number in the enum BuiltinOperator."""
_OTHERS = {9: "FULLY_CONNECTED", 27: "SVDF", 119: "WHILE"}


@dataclass(frozen=True)
class Model:
    operators: tuple[Operator, ...]
    """The recurrent ones, in the order of the file."""
    others: Counter[str]
    """How many there are of some others: WHILE, FULLY_CONNECTED and SVDF, of which recurrent networks are made, too."""


def read_model(path: Path) -> Model:
    """The recurrent operators of a model. Raises `FileError` for what is no such model or is damaged."""
    where = str(path)
    free_memory.require(2 * size_of(path), "reading it", where)
    data = memoryview(read_bytes(path, 2 * MOST))
    if bytes(data[flatbuffers.IDENTIFIER]) != MAGIC:
        raise FileError("not a .tflite file: TFL3 is not at byte 4", where=where)
    model = flatbuffers.root(data, where)
    codes: list[int] = [max(code.number(0, _BYTE), code.number(3, "<i")) for code in model.tables(1)]
    found: list[Operator] = []
    others: Counter[str] = Counter()
    left = MAX_OPERATORS
    for graph in model.tables(2):
        operators = graph.tables(3)
        left -= 1 + len(operators)
        if left < 0:
            raise FileError("more operators than any network has", allowed=f"{MAX_OPERATORS}", where=where)
        constants = _Graph(model, graph, codes)
        for operator in operators:
            code = constants.code_of(operator)
            if code in KINDS:
                if len(found) == MAX_RECURRENT:
                    raise FileError("too many recurrent operators", allowed=f"{MAX_RECURRENT}", where=where)
                found.append(constants.operator(operator, KINDS[code]))
            elif code in _OTHERS:
                others[_OTHERS[code]] += 1
    return Model(tuple(found), others)


class _Graph:
    """The tensors of one graph of a model."""

    def __init__(self, model: Table, graph: Table, codes: list[int]) -> None:
        self._tensors, self._operators = graph.tables(0), graph.tables(3)
        self._buffers = model.tables(4)
        self._codes = codes
        self._unpacked: dict[int, int] | None = None

    def code_of(self, operator: Table) -> int:
        """The number of an operator in the enum BuiltinOperator."""
        index: int = operator.number(0, "<I")
        if index >= len(self._codes):
            found = f"damaged: an operator of kind {index}, of {len(self._codes)}"
            raise FileError(found, where=operator.where)
        return self._codes[index]

    def operator(self, operator: Table, kind: _Kind) -> Operator:
        arrays: dict[str, Held] = {}
        computed: list[str] = []
        for name, index in zip(kind.inputs, operator.numbers(1, "<i", len(kind.inputs)), strict=False):
            if index < 0:
                continue
            held = self._constant(index)
            if held is None:
                computed.append(name)
            else:
                arrays[name] = held
        options = operator.table(4)
        settings = {name: options.number(*field) if options else field[2] for name, field in kind.options.items()}
        takes, gives = (self._named(operator.numbers(place, "<i", most)) for place, most in ((1, 1), (2, 2)))
        name = next(iter(gives), "") or kind.name
        return Operator(kind.name, name, arrays, settings, tuple(computed), next(iter(takes), ""), gives)

    def _named(self, indices: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(self._tensors.at(index).text(3) for index in indices if index >= 0)

    def _constant(self, index: int) -> Held | None:
        """A tensor whose numbers the file holds, as floats, or as other numbers that an operator makes floats of."""
        held = self._held(index)
        if held is not None:
            return held
        if self._unpacked is None:
            self._unpacked = {}
            for operator in self._operators:
                if self.code_of(operator) == _DEQUANTIZE:
                    ends = (operator.numbers(place, "<i", 1) for place in (2, 1))
                    self._unpacked |= dict(zip(*ends, strict=False))
        source = self._held(self._unpacked[index]) if index in self._unpacked else None
        return source and as_float32(source)

    def _held(self, index: int) -> Held | None:
        one = self._tensors.at(index)
        where = f"{one.where}:{one.text(3)}"
        data = self._data(one)
        if not data or one.number(5, _BOOL, False):
            return None
        if one.table(6) is not None:
            raise FileError("a sparse tensor", allowed="a dense one", where=where)
        shape, number = one.numbers(0, "<i", MAX_AXES + 1), one.number(1, _BYTE)
        dtype = _TYPES.get(number, f"type {number}")
        if dtype not in SIZES:
            raise FileError(f"numbers of {dtype}", allowed=listed(_TYPES.values()), where=where)
        if len(shape) > MAX_AXES or any(size < 0 for size in shape):
            raise FileError(f"a constant of shape {shape}", allowed=f"at most {MAX_AXES} known sizes", where=where)
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
            raise FileError("damaged or cut short: a buffer leads outside the file", where=buffer.where)
        return buffer.data[offset : offset + size]


def _scaled(one: Table, data: memoryview, stored: Stored, where: str) -> Held:
    """Floats stored as integers: scale · (number − zero point), one scale for all or one for each row of an axis."""
    quantization = one.table(4)
    if quantization is None:
        raise FileError(f"numbers of {stored.dtype} without a scale", allowed="floats", where=where)
    scales, zeros = len(quantization.vector(2, 4)) // 4, len(quantization.vector(3, 8)) // 8
    axis = quantization.number(6, "<i")
    rows = stored.shape[axis] if 0 <= axis < len(stored.shape) else 1
    if scales not in (1, rows) or zeros not in (0, scales):
        found = f"{scales} scales and {zeros} zero points"
        raise FileError(found, allowed=f"one of each, or {rows}", where=where)
    along = [-1 if scales > 1 and at == axis else 1 for at in range(len(stored.shape))]

    def read() -> Tensor:
        import torch

        numbers = tensor(data, stored).to(torch.float32)
        if zeros:
            numbers -= torch.tensor(quantization.numbers(3, "<q", zeros), dtype=torch.float32).reshape(along)
        return numbers * torch.tensor(quantization.numbers(2, _FLOAT, scales), dtype=torch.float32).reshape(along)

    return Held(Stored(stored.shape, "float32"), read, f"{8 * SIZES[stored.dtype]}-bit integers")
