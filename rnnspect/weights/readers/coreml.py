"""Core ML models (.mlmodel, .mlpackage): the recurrent layers of neural networks and operators of ML Programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.cells.functions import KINDS, Activation
from rnnspect.errors import FileError, listed
from rnnspect.files import coreml_file, mil_file
from rnnspect.files.first_bytes import Glimpse
from rnnspect.files.operators import FileArray, Operator
from rnnspect.files.reading import Stored
from rnnspect.weights.readers.interface import Module, Reader, functions_of
from rnnspect.weights.readers.operators import PEEPHOLES, DescribedOperator, changed, joined, modules_of, require

if TYPE_CHECKING:
    from torch import Tensor


_NAMES = {"linear": "affine", "ReLU": "relu", "leakyReLU": "leaky_relu", "thresholdedReLU": "thresholded_relu"}
_NAMES |= {"scaledTanh": "scaled_tanh", "sigmoidHard": "hard_sigmoid", "sigmoid_hard": "hard_sigmoid", "ELU": "elu"}
"""Functions that a spec calls otherwise."""
_LIMIT = 50.0
"""To what a layer of a network limits the inputs of its functions, and c unless it says another limit."""
_LEVEL = ("sigmoid", "tanh", "hard_sigmoid")
"""Functions that are level beyond that limit to all digits of float32."""
_UNREACHED = 1000.0
"""A limit of c that counts as none: c grows by at most 1 in a step."""
_PARTS = ("inputGate", "forgetGate", "outputGate")
_WRITTEN_OUT = (
    "cells that are written out are not read; save what the model gives for an x, and check the weights that it was "
    "converted from with it: rnnspect check WEIGHTS --input x.npy --recorded y.npy"
)
_INSTEAD = "store them as plain floats: coremltools.optimize.coreml.decompress_weights(model).save(…)"


def _recognises(seen: Glimpse) -> bool:
    if seen.is_folder:
        return seen.has(".mlmodel") or seen.has("coremldata.bin")
    return seen.head[:1] == b"\x08" and coreml_file.is_model(seen.path)


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    if path.is_dir() and (path / "coremldata.bin").exists():
        advice = "use the .mlmodel or .mlpackage that it was compiled from"
        raise FileError("this is a compiled Core ML model", advice=advice, where=str(path))
    every = coreml_file.read_operators(path)
    operators = [one for one in every if one.kind != mil_file.LOOP]
    if not operators:
        found = "this Core ML model has no LSTM, GRU or RNN layers"
        if every:
            found += (
                f", but {len(every)} {mil_file.LOOP}, as coremltools writes a GRU of PyTorch out in single operators"
            )
        raise FileError(found, advice=_WRITTEN_OUT, where=str(path))
    return modules_of(operators, path, flags, _describe)


def _describe(operator: Operator, where: str) -> DescribedOperator:
    """Raises `FileError` for what no spec describes."""
    of_program = operator.kind.startswith(mil_file.PREFIX)
    return _operator(operator, where) if of_program else _layer(operator, where)


def _layer(layer: Operator, where: str) -> DescribedOperator:
    """A layer of a neural network."""
    settings = layer.settings
    is_lstm = layer.kind.endswith("LSTM")
    cell = "lstm" if is_lstm else "gru" if layer.kind == "gru" else "rnn"
    functions = _read(settings["activations"], where)
    both = layer.kind == "biDirectionalLSTM"
    backward = _read(settings.get("activationsBackward", []), where)
    functions += backward if both and backward != functions else []
    keys: dict[str, Any] = {
        "batch_first": settings["x_is_transposed"],
        "reverse": settings["reverseInput"],
        **_functions(cell, functions, where),
    }
    notes = []
    if any(one.partition("(")[0] not in _LEVEL for one in functions):
        keys["clip"] = _LIMIT
    if is_lstm:
        keys |= {"input_forget": True} if settings["coupledInputAndForgetGate"] else {}
        notes += _limit(settings["cellClipThreshold"] or _LIMIT)
        if settings["forgetBias"]:
            notes.append("adds 1 to the forget gate's bias; the bias is shown with the 1 added")
    has_bias = settings["hasBiasVector" if cell == "rnn" else "hasBiasVectors"]
    directions = []
    for way in ("forward_", "backward_") if both else ("",):
        arrays = {name.removeprefix(way): held for name, held in layer.arrays.items() if name.startswith(way)}
        peepholes = [arrays.pop(f"{gate}PeepholeVector", None) for gate in _PARTS]
        if not has_bias:
            arrays = {name: held for name, held in arrays.items() if not name.endswith("Vector")}
        if is_lstm and settings["forgetBias"]:
            arrays = _with_forget_bias(arrays, settings["outputVectorSize"])
        if is_lstm and settings["hasPeepholeVectors"]:
            if missing := [gate for gate, held in zip(_PARTS, peepholes, strict=True) if held is None]:
                raise FileError(f"the peephole weights of {listed(missing)} are missing", where=where)
            arrays[PEEPHOLES] = joined([held for held in peepholes if held])
        directions.append(arrays)
    form = "gru-before" if cell == "gru" else cell
    return DescribedOperator(form, "coreml-layers", tuple(directions), keys, tuple(notes))


def _operator(operator: Operator, where: str) -> DescribedOperator:
    """An operator of an ML Program."""
    settings, cell = operator.settings, operator.kind.removeprefix(mil_file.PREFIX)
    direction = settings.get("direction", "forward")
    if direction not in ("forward", "reverse", *(("bidirectional",) if cell == "lstm" else ())):
        raise FileError(f"unknown direction {direction!r}", allowed="forward, reverse or bidirectional", where=where)
    names = ("weight_ih", "weight_hh", "bias", "peephole")
    ways = ("", "_back") if direction == "bidirectional" else ("",)
    require(operator, (name + way for way in ways for name in names), where, _INSTEAD)
    directions = []
    for way in ways:
        arrays = {name: operator.arrays[name + way] for name in names if name + way in operator.arrays}
        peephole = arrays.pop("peephole", None)
        directions.append(arrays | ({PEEPHOLES: peephole} if peephole else {}))
    inner, outer = settings.get("recurrent_activation", "sigmoid"), settings.get("activation", "tanh")
    said = {"lstm": [inner, settings.get("cell_activation", "tanh"), outer], "gru": [inner, outer], "rnn": [outer]}
    functions = [_function(str(name), 0.0, 0.0, where) for name in said[cell]]
    keys = {"batch_first": settings["x_is_transposed"], "reverse": direction == "reverse"}
    keys |= _functions(cell, functions, where)
    form = "gru-before" if cell == "gru" else cell
    return DescribedOperator(form, "coreml", tuple(directions), keys, tuple(_limit(settings.get("clip"))))


def _limit(limit: Any) -> list[str]:
    """What to say of a limit of c."""
    if not isinstance(limit, float) or not 0 < limit < _UNREACHED:
        return []
    return [f"clips c to ±{limit:g}; not clipped here, which is the same while |c| is smaller"]


def _functions(cell: str, functions: list[str], where: str) -> dict[str, Any]:
    """The keys for the functions of one direction or of both."""
    count = {"rnn": 1, "gru": 2, "lstm": 3}[cell]
    if len(functions) not in (count, 2 * count):
        raise FileError(f"{len(functions)} activations", allowed=f"{count} for {cell}", where=where)
    return functions_of(cell, functions)


def _read(said: list[tuple[str, float, float]], where: str) -> list[str]:
    return [_function(name, alpha, beta, where) for name, alpha, beta in said]


def _function(name: str, alpha: float, beta: float, where: str) -> str:
    """A function as a spec writes it. Core ML takes its usual numbers where alpha and beta are left out."""
    ours = _NAMES.get(name, name)
    if ours not in KINDS:
        raise FileError(f"unsupported activation {name!r}", allowed=listed(KINDS), where=where)
    numbers = KINDS[ours].numbers
    said = dict(zip(numbers, (alpha, beta), strict=False))
    return str(Activation(ours, **(said if any(said.values()) else numbers)))


def _with_forget_bias(arrays: dict[str, FileArray], hidden: int) -> dict[str, FileArray]:
    """With 1 added to the bias of f; with biases of 0 where there are none."""
    dtype = next((held.stored.dtype for held in arrays.values()), "float32")
    gates = ("inputGate", "forgetGate", "blockInput", "outputGate")
    zeros = {f"{gate}BiasVector": _zeros(hidden, dtype) for gate in gates}
    found = {**zeros, **arrays}
    return found | {"forgetGateBiasVector": changed(found["forgetGateBiasVector"], lambda values: values + 1)}


def _zeros(size: int, dtype: str) -> FileArray:
    def read() -> Tensor:
        import torch

        return torch.zeros(size, dtype=getattr(torch, dtype))

    return FileArray(Stored((size,), dtype), read)


READERS = {
    "coreml": Reader(
        "a Core ML model", _recognises, _modules, (".mlmodel", ".mlpackage"), engine="onnxruntime", noun="layer"
    )
}
