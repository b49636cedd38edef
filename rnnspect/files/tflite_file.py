"""Models in .tflite (TensorFlow Lite, LiteRT), read as data by their published schema, without TensorFlow.

Field numbers, types and defaults are those of tensorflow/compiler/mlir/lite/schema/schema.fbs (version 3), the order
of inputs that of the kernels in tensorflow/lite/kernels (lstm_shared.h, bidirectional_sequence_lstm.cc, basic_rnn.cc).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError
from rnnspect.files import flatbuffers, free_memory
from rnnspect.files.flatbuffers import Table
from rnnspect.files.operators import FileArray, Operator
from rnnspect.files.reading import read_bytes, size_of
from rnnspect.files.tflite_graph import MAX_INPUTS, TfliteGraph, loop

MAGIC = b"TFL3"
"""Bytes 4 to 8 of every file."""
MOST = 2**31 - 1
"""What a FlatBuffer can hold; larger models have their numbers behind it, in the same file."""
MAX_OPERATORS = 200_000
MAX_RECURRENT = 1000
_GATES = ("input", "forget", "cell", "output")
KERNELS = tuple(f"{side}_to_{gate}_weights" for side in ("input", "recurrent") for gate in _GATES)
PEEPHOLES = tuple(f"cell_to_{gate}_weights" for gate in ("input", "forget", "output"))
BIASES = tuple(f"{gate}_gate_bias" for gate in _GATES)
_WEIGHTS = (*KERNELS, *PEEPHOLES, *BIASES, "projection_weights", "projection_bias")
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
_OTHERS = {9: "FULLY_CONNECTED", 27: "SVDF"}
_WHILE, _BODY = 119, 1
"""The operator of a loop, and the field of its options that says which graph is its body."""


@dataclass(frozen=True)
class Model:
    operators: tuple[Operator, ...]
    """The recurrent ones, in the order of the file."""
    others: Counter[str]
    """How many there are of some others: WHILE, FULLY_CONNECTED and SVDF, of which recurrent networks are made, too."""


def read_model(path: Path) -> Model:
    """The recurrent operators of a model. Raises `FileError` for what is no such model or is damaged."""
    where = str(path)
    free_memory.require(2 * size_of(path), "reading this file", where)
    data = memoryview(read_bytes(path, 2 * MOST))
    if bytes(data[flatbuffers.IDENTIFIER]) != MAGIC:
        raise FileError("not a .tflite file: TFL3 is not at byte 4", where=where)
    model = flatbuffers.root(data, where)
    codes: list[int] = [max(code.number(0, _BYTE), code.number(3, "<i")) for code in model.tables(1)]
    found: list[Operator] = []
    others: Counter[str] = Counter()
    left, graphs = MAX_OPERATORS, model.tables(2)

    def spend(count: int) -> None:
        nonlocal left
        left -= count
        if left < 0:
            raise FileError("the model has too many operators", allowed=f"at most {MAX_OPERATORS}", where=where)

    for one in graphs:
        graph = TfliteGraph(model, one, codes)
        spend(1 + len(graph.operators))
        for operator in graph.operators:
            code = graph.code_of(operator)
            others.update([_OTHERS[code]] if code in _OTHERS else [])
            if code in KINDS:
                found.append(_operator(graph, operator, KINDS[code]))
            elif code == _WHILE and (options := operator.table(4)):
                body = TfliteGraph(model, graphs.at(options.number(_BODY, "<i")), codes)
                spend(len(body.operators))
                constants = body.give_constants(graph, operator.numbers(1, "<i", MAX_INPUTS))
                found.append(loop(body, next(iter(graph.named(operator.numbers(2, "<i", 1))), ""), constants))
            if len(found) > MAX_RECURRENT:
                found_in = "the model has too many recurrent operators"
                raise FileError(found_in, allowed=f"at most {MAX_RECURRENT}", where=where)
    return Model(tuple(found), others)


def _operator(graph: TfliteGraph, operator: Table, kind: _Kind) -> Operator:
    arrays: dict[str, FileArray] = {}
    computed: list[str] = []
    for name, index in zip(kind.inputs, operator.numbers(1, "<i", len(kind.inputs)), strict=False):
        held = graph.constant(index) if index >= 0 else None
        if held is not None:
            arrays[name] = held
        elif index >= 0:
            computed.append(name)
    options = operator.table(4)
    settings = {name: options.number(*field) if options else field[2] for name, field in kind.options.items()}
    takes, gives = (graph.named(operator.numbers(place, "<i", most)) for place, most in ((1, 1), (2, 2)))
    name = next(iter(gives), "") or kind.name
    steps = "SEQUENCE" in kind.name
    return Operator(kind.name, name, arrays, settings, tuple(computed), next(iter(takes), ""), gives, steps)
