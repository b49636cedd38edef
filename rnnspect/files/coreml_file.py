"""Core ML models (.mlmodel, .mlpackage), read as data by their published schema, without Core ML and its tools.

Field numbers are those of apple/coremltools mlmodel/format/Model.proto and NeuralNetwork.proto. Here are the layers of
neural networks; `mil_file` reads the operators of ML Programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError, listed
from rnnspect.files import free_memory
from rnnspect.files.coreml_weights import all_zero, weights
from rnnspect.files.mil_file import Program
from rnnspect.files.operators import FileArray, Operator
from rnnspect.files.protobuf import BYTES, VARINT, Message, varint
from rnnspect.files.reading import opened, read_bytes, size_of

MOST = 2**32
MAX_DEPTH = 32
"""How deeply models, branches and loops may be nested."""
MAX_LAYERS = 200_000
MAX_RECURRENT = 1000
_TYPES = frozenset((*range(200, 203), *range(300, 306), *range(400, 405), *range(500, 503), 555, 556, 560))
_TYPES |= frozenset((*range(600, 611), 900, *range(2000, 2007), 3000))
"""The fields of a Model that say what kind of model it is; it has one of them."""
_NETWORKS, _PROGRAM, _PIPELINES, _PIPELINE = (303, 403, 500), 502, (200, 201), 202
_BRANCH, _LOOP = 605, 615
_CONSTANTS = (290, 1070)
"""Layers that give the array of their field 2: loadConstant, loadConstantND."""
_EXPAND, _SQUEEZE, _COPY, _TRANSPOSE = 1125, 1120, 600, 985
_MOVING = (_EXPAND, _SQUEEZE, _COPY, _TRANSPOSE, 310, 920, 975, 1105, 1140)
"""Layers that only rearrange or repeat the numbers of their input: permute, tile, splitND, broadcastToStatic and
reshapeStatic, too."""
_LAST = [3, 4]
"""The axes of size 1 that a recurrent layer wants after steps, batch and features, and its results have."""
_FUNCTIONS = {5: "linear", 10: "ReLU", 15: "leakyReLU", 20: "thresholdedReLU", 25: "PReLU", 30: "tanh"}
_FUNCTIONS |= {31: "scaledTanh", 40: "sigmoid", 41: "sigmoidHard", 50: "ELU", 60: "softsign", 70: "softplus"}
_FUNCTIONS |= {71: "parametricSoftplus"}
KINDS = {400: "simpleRecurrent", 410: "gru", 420: "uniDirectionalLSTM", 430: "biDirectionalLSTM"}
"""The recurrent layers, by their field of a NeuralNetworkLayer."""
WEIGHT, RECURSION, VECTOR = "WeightMatrix", "RecursionMatrix", "Vector"
_ARRAYS = {
    "simpleRecurrent": {30: "weightMatrix", 31: "recursionMatrix", 32: "biasVector"},
    "gru": {
        start + at: gate + what
        for start, what in ((30, WEIGHT), (50, RECURSION), (70, "BiasVector"))
        for at, gate in enumerate(("updateGate", "resetGate", "outputGate"))
    },
    "LSTM": {
        start + at: gate + what
        for start, what in ((1, WEIGHT), (20, RECURSION), (40, "BiasVector"))
        for at, gate in enumerate(("inputGate", "forgetGate", "blockInput", "outputGate"))
    }
    | {60: "inputGatePeepholeVector", 61: "forgetGatePeepholeVector", 62: "outputGatePeepholeVector"},
}
_FLAGS = {
    "simpleRecurrent": {15: "sequenceOutput", 20: "hasBiasVector", 100: "reverseInput"},
    "gru": {15: "sequenceOutput", 20: "hasBiasVectors", 100: "reverseInput"},
    "LSTM": {
        10: "sequenceOutput",
        20: "hasBiasVectors",
        30: "forgetBias",
        40: "hasPeepholeVectors",
        50: "coupledInputAndForgetGate",
    },
}


def is_model(path: Path) -> bool:
    """Whether the outermost fields of a file are those of a Core ML model: a version, a description, and one that
    says what kind of model it is."""
    try:
        with opened(path) as part:
            at = 0
            while at < part.size:
                part.file.seek(at)
                start = memoryview(part.file.read(20))
                key, place = varint(start, 0, "")
                field, kind = key >> 3, key & 7
                if (field, kind) not in ((1, VARINT), (2, BYTES), (10, VARINT)):
                    return field in _TYPES and kind == BYTES
                number, place = varint(start, place, "")
                at += place + (number if kind == BYTES else 0)
    except FileError:
        return False
    return False


def model_in(path: Path) -> Path:
    """The file of the model: the path itself, or in a folder (.mlpackage) the one model that it holds.

    Raises `FileError` where there is none, or several.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob("Data/*/*.mlmodel"))
    if len(found) != 1:
        found_in = f"this folder has {len(found)} .mlmodel files under Data"
        raise FileError(found_in, allowed="exactly one", where=str(path))
    return found[0]


def read_operators(path: Path) -> tuple[Operator, ...]:
    """The recurrent layers and operators of a model and the loops of its programs, in the order of the file.

    Raises `FileError` for what is no Core ML model, or is damaged, `ResourceError` for one too large.
    """
    where, file = str(path), model_in(path)
    free_memory.require(2 * size_of(file), "reading this file", where)
    model = Message(memoryview(read_bytes(file, MOST)), where)
    found: list[Operator] = []
    for operator in _in_model(model, file.parent, 0):
        if len(found) == MAX_RECURRENT:
            raise FileError("the model has too many recurrent layers", allowed=f"at most {MAX_RECURRENT}", where=where)
        found.append(operator)
    return tuple(found)


def _in_model(model: Message, folder: Path, depth: int) -> Iterator[Operator]:
    if depth > MAX_DEPTH:
        raise FileError("models are nested too deeply", allowed=f"at most {MAX_DEPTH} levels", where=model.where)
    for field in _NETWORKS:
        for network in model.messages(field):
            yield from _in_network(network, 0, _Tensors(set(), {}, set()))
    for program in model.messages(_PROGRAM):
        yield from Program(program, folder, model.where).operators()
    pipelines = [around.message(1) for field in _PIPELINES for around in model.messages(field)]
    for pipeline in (*pipelines, *model.messages(_PIPELINE)):
        for inner in pipeline.messages(1):
            yield from _in_model(inner, folder, depth + 1)


@dataclass(frozen=True)
class _Tensors:
    """What is known of the results of a network's layers, by name."""

    not_zero: set[str]
    """Constants with a number that is not 0."""
    same: dict[str, str]
    """By the name of a result the tensor that it is, but for the last axes of size 1."""
    turned: set[str]
    """Those with steps and batch exchanged, and the h of every step of layers that take one of these."""

    def see(self, layer: Message) -> None:
        """Adds what one layer gives that is not recurrent."""
        takes, gives = layer.texts(2), layer.texts(3)
        constants = [one.message(2) for field in _CONSTANTS for one in layer.messages(field)]
        moved = self.not_zero.intersection(takes[:1]) and any(field in layer for field in _MOVING)
        if moved or not all(map(all_zero, constants)):
            self.not_zero.update(gives)
        axes = [one.first_numbers(1) for field in (_EXPAND, _SQUEEZE) for one in layer.messages(field)]
        if axes == [_LAST] or _COPY in layer:
            self.same.update((name, self.known(source)) for name, source in zip(gives, takes, strict=False))
        turns = [one.first_numbers(1) for one in layer.messages(_TRANSPOSE)]
        back = any(self.known(source) in self.turned for source in takes)
        if turns and turns[-1][:3] == [1, 0, 2] and not back:
            self.turned.update(gives)

    def known(self, name: str) -> str:
        """The name of the tensor that one is, but for the last axes of size 1."""
        return self.same.get(name, name)

    def starts(self, takes: list[str]) -> tuple[str, ...]:
        """Of h0 and c0 those that a recurrent layer takes after x and that are not zero: h of each direction, with c
        after it."""
        states = dict(zip(("h0", "c0"), (takes[1::2], takes[2::2]), strict=True))
        return tuple(name for name, given in states.items() if self.not_zero.intersection(given))


def _in_network(network: Message, depth: int, tensors: _Tensors) -> Iterator[Operator]:
    """The recurrent layers of a network, and of the networks in its branches and loops."""
    if depth > MAX_DEPTH:
        raise FileError("networks are nested too deeply", allowed=f"at most {MAX_DEPTH} levels", where=network.where)
    if len(network.every(1)) > MAX_LAYERS:
        raise FileError("the network has too many layers", allowed=f"at most {MAX_LAYERS}", where=network.where)
    for layer in network.messages(1):
        tensors.see(layer)
        for field, kind in KINDS.items():
            for parameters in layer.messages(field):
                yield _layer(layer, kind, parameters, tensors)
        inner = [branch for around in layer.messages(_BRANCH) for at in (1, 2) for branch in around.messages(at)]
        inner += [loop for around in layer.messages(_LOOP) for at in (3, 4) for loop in around.messages(at)]
        for one in inner:
            yield from _in_network(one, depth + 1, tensors)


def _layer(layer: Message, kind: str, parameters: Message, tensors: _Tensors) -> Operator:
    """A recurrent layer. Of an LSTM of both directions the names begin with forward_ and backward_."""
    name, is_lstm = layer.text(1) or kind, kind.endswith("LSTM")
    inputs, hidden = parameters.number(1), parameters.number(2)
    where = f"{parameters.where}:{name}"
    if not (0 < inputs < MOST and 0 < hidden < MOST):
        found = f"inputVectorSize is {inputs} and outputVectorSize is {hidden}"
        raise FileError(found, allowed=f"1 to {MOST - 1} for both", where=where)
    own = parameters.message(15) if is_lstm else parameters
    flags = _FLAGS["LSTM" if is_lstm else kind]
    settings: dict[str, Any] = {flag: bool(own.number(field)) for field, flag in flags.items()}
    settings |= {"inputVectorSize": inputs, "outputVectorSize": hidden}
    settings["activations"] = [_function(one, where) for one in parameters.messages(10)]
    if is_lstm:
        settings["reverseInput"] = kind != "biDirectionalLSTM" and bool(parameters.number(100))
        settings["cellClipThreshold"] = own.decimal(60)
    if kind == "biDirectionalLSTM":
        settings["activationsBackward"] = [_function(one, where) for one in parameters.messages(11)]
    parts = {"": parameters} if not is_lstm else {"": parameters.message(20)}
    if kind == "biDirectionalLSTM":
        both = parameters.messages(20)
        if len(both) != 2:
            found_in = f"a bidirectional LSTM with {len(both)} sets of weights"
            raise FileError(found_in, allowed="2", where=where)
        parts = dict(zip(("forward_", "backward_"), both, strict=True))
    arrays: dict[str, FileArray] = {}
    for way, part in parts.items():
        for field, array in _ARRAYS["LSTM" if is_lstm else kind].items():
            if field in part:
                columns = inputs if array.lower().endswith("weightmatrix") else hidden
                shape = (hidden,) if array.endswith(VECTOR) else (hidden, columns)
                held = weights(part.message(field), shape, f"{where}:{way}{array}")
                arrays |= {way + array: held} if held else {}
    takes, gives, steps = layer.texts(2), tuple(layer.texts(3)), settings["sequenceOutput"]
    x = tensors.known(next(iter(takes), ""))
    settings["x_is_transposed"] = x in tensors.turned
    if steps and x in tensors.turned:
        tensors.turned.update(gives[:1])
    return Operator(kind, name, arrays, settings, (), x, gives, steps, tensors.starts(takes))


def _function(one: Message, where: str) -> tuple[str, float, float]:
    """The name of an activation function, and its alpha and beta, 0 where they are left out."""
    for field, name in _FUNCTIONS.items():
        if field in one:
            if name in ("PReLU", "parametricSoftplus"):
                found = f"the activation {name} has trainable parameters, which a spec cannot describe"
                raise FileError(found, where=where)
            inner = one.message(field)
            return name, inner.decimal(1), inner.decimal(2)
    raise FileError("unknown activation function", allowed=listed(_FUNCTIONS.values()), where=where)
