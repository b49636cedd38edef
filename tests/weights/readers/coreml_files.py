"""Core ML models with numbers that a test can draw again, and the lines that write them with coremltools.

`python -m tests.weights.readers.coreml_files` writes the files of `mobile/` anew; that takes the package coremltools.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.wire_format import field, varint

FOLDER = Path(__file__).with_name("mobile")
INPUTS, UNITS = 3, 4
LSTM = ("inputGate", "forgetGate", "outputGate", "blockInput")
"""In the order in which coremltools' builder takes them."""
GRU = ("updateGate", "resetGate", "outputGate")
PEEPHOLES = ("inputGate", "forgetGate", "outputGate")


def drawn(name: str, *shape: int) -> np.ndarray:
    """Numbers that depend on nothing but the name."""
    return np.random.default_rng(zlib.crc32(name.encode())).uniform(-1, 1, shape).astype(np.float32)


def gates(names: tuple[str, ...], way: str = "") -> dict[str, list[np.ndarray]]:
    """What the builder calls W_x, W_h and b, one array a gate."""
    kernels = {"W_x": (UNITS, INPUTS), "W_h": (UNITS, UNITS), "b": (UNITS,)}
    return {key: [drawn(f"{way}{gate} {key}", *shape) for gate in names] for key, shape in kernels.items()}


def _builder() -> Any:
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    ends = ([("x", datatypes.Array(INPUTS))], [("y", datatypes.Array(UNITS))])
    return NeuralNetworkBuilder(*ends, disable_rank5_shape_mapping=False)


def _layer(add: str, path: Path, bits: tuple[int, str] | None = None, **said: Any) -> None:
    """A neural network of one layer, in fewer bits where they are said."""
    import coremltools

    builder = _builder()
    sizes = {"hidden_size": UNITS, "input_size": INPUTS, "output_all": True}
    getattr(builder, add)("rnn", input_names=["x"], output_names=["y"], **sizes, **said)
    if bits:
        from coremltools.models.neural_network.quantization_utils import quantize_weights

        model = coremltools.models.MLModel(builder.spec, skip_model_load=True)
        packed = quantize_weights(model, *bits)
        coremltools.utils.save_spec(packed if not hasattr(packed, "get_spec") else packed.get_spec(), str(path))
        return
    coremltools.utils.save_spec(builder.spec, str(path))


def layer(name: str, takes: Iterable[str], gives: str, kind: int, said: bytes) -> bytes:
    """A layer of a neural network by the number of its kind, as coremltools would write it."""
    ends = b"".join(field(2, one.encode()) for one in takes) + field(3, gives.encode())
    return field(1, field(1, name.encode()) + ends + field(kind, said))


def floats(values: np.ndarray) -> bytes:
    """The numbers of a layer."""
    return field(1, values.astype("<f4").tobytes())


def plain_layer(name: str, takes: Iterable[str], gives: str, weights: Mapping[str, np.ndarray]) -> bytes:
    """A simpleRecurrent layer with tanh that gives h of every step."""
    ih, hh = weights["weight_ih"], weights["weight_hh"]
    numbers = {1: ih.shape[1], 2: UNITS, 15: 1, 20: 1}
    said = b"".join(varint(of << 3) + varint(value) for of, value in numbers.items()) + field(10, field(30, b""))
    arrays = {30: ih, 31: hh, 32: weights["bias"]}
    said += b"".join(field(of, floats(values)) for of, values in arrays.items())
    return layer(name, takes, gives, 400, said)


def both() -> dict[str, Any]:
    """The arrays of a bidirectional LSTM."""
    forward, backward = gates(LSTM, "forward "), gates(LSTM, "backward ")
    return forward | {f"{key}_back": values for key, values in backward.items()}


def one_matrix(names: tuple[str, ...], way: str = "", units: int = UNITS) -> dict[str, np.ndarray]:
    """The arrays of an operator of an ML Program, of as many gates."""
    count = len(names)
    end = "_back" if way else ""
    return {
        "weight_ih" + end: drawn(f"{way}{count} weight_ih", count * units, INPUTS),
        "weight_hh" + end: drawn(f"{way}{count} weight_hh", count * units, units),
        "bias" + end: drawn(f"{way}{count} bias", count * units),
    }


def _operator(kind: str, path: Path, half: bool = False, packed: bool = False, **said: Any) -> None:
    """An ML Program of one operator, in float16 or with its matrices in 8-bit integers where that is said."""
    import coremltools
    from coremltools.converters.mil import Builder

    target = coremltools.target.iOS17 if half else coremltools.target.iOS15
    width = said["weight_hh"].shape[1] * (2 if said.get("direction") == "bidirectional" else 1)
    states = {"initial_h": np.zeros((2, width), np.float32)}
    states |= {"initial_c": np.zeros((2, width), np.float32)} if kind == "lstm" else {}
    specs = [Builder.TensorSpec(shape=(5, 2, INPUTS))]

    @Builder.program(input_specs=specs, opset_version=target)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        return getattr(Builder, kind)(x=x, output_sequence=True, name="rnn", **states, **said)[0]

    precision = coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32
    model = coremltools.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=precision,
        skip_model_load=True,
    )
    if packed:
        from coremltools.optimize import coreml as optimize

        how = optimize.OptimizationConfig(optimize.OpLinearQuantizerConfig(weight_threshold=0))
        model = optimize.linear_quantize_weights(model, how)
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))


def _program_of_two_layers(path: Path) -> None:
    """An ML Program of a stack that takes its batch first, as coremltools converts one of torch."""
    import coremltools
    from coremltools.converters.mil import Builder

    specs = [Builder.TensorSpec(shape=(2, 5, INPUTS))]
    zeros = np.zeros((2, UNITS), np.float32)

    @Builder.program(input_specs=specs, opset_version=coremltools.target.iOS15)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        h = Builder.transpose(x=x, perm=(1, 0, 2))
        for name, arrays in TWO_LAYERS.items():
            h = Builder.rnn(x=h, initial_h=zeros, output_sequence=True, name=name, **arrays)[0]
        return Builder.transpose(x=h, perm=(1, 0, 2))

    how = {"convert_to": "mlprogram", "minimum_deployment_target": coremltools.target.iOS15, "skip_model_load": True}
    model = coremltools.convert(program, compute_precision=coremltools.precision.FLOAT32, **how)
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))


def _network_of_two_layers(path: Path) -> None:
    import coremltools

    builder, sizes = _builder(), {"hidden_size": UNITS, "output_all": True, "activation": "TANH"}
    for at, (name, arrays) in enumerate(TWO_LAYERS.items()):
        given = {"W_x": arrays["weight_ih"], "W_h": arrays["weight_hh"], "b": arrays["bias"]}
        ends = {"input_names": ["y0" if at else "x"], "output_names": ["y" if at else "y0"]}
        builder.add_simple_rnn(name, input_size=given["W_x"].shape[1], **ends, **sizes, **given)
    coremltools.utils.save_spec(builder.spec, str(path))


TWO_LAYERS = {
    "lower": one_matrix(("only",)),
    "upper": one_matrix(("only",)) | {"weight_ih": drawn("upper weight_ih", UNITS, UNITS)},
}
PEEPHOLE = {"peephole": drawn("peephole", 3 * UNITS)}
BACKWARD = one_matrix(LSTM, "backward ") | {"peephole_back": drawn("backward peephole", 3 * UNITS)}
WRITTEN: Mapping[str, Callable[[Path], None]] = {
    "lstm.mlmodel": lambda path: _layer(
        "add_unilstm",
        path,
        peep=[drawn(f"{gate} p", UNITS) for gate in PEEPHOLES],
        forget_bias=True,
        inner_activation="HARD_SIGMOID",
        cell_clip_threshold=20.0,
        **gates(LSTM),
    ),
    "coupled.mlmodel": lambda path: _layer(
        "add_unilstm", path, coupled_input_forget_gate=True, reverse_input=True, **gates(LSTM)
    ),
    "both.mlmodel": lambda path: _layer("add_bidirlstm", path, **both()),
    "both_half.mlmodel": lambda path: _layer("add_bidirlstm", path, (16, "linear"), **both()),
    "both_5.mlmodel": lambda path: _layer("add_bidirlstm", path, (5, "linear"), **both()),
    "both_8.mlmodel": lambda path: _layer("add_bidirlstm", path, (8, "linear"), **both()),
    "both_3_table.mlmodel": lambda path: _layer("add_bidirlstm", path, (3, "linear_lut"), **both()),
    "gru.mlmodel": lambda path: _layer("add_gru", path, inner_activation="SIGMOID", **gates(GRU)),
    "rnn.mlmodel": lambda path: _layer(
        "add_simple_rnn", path, activation="RELU", **{key: values[0] for key, values in gates(("only",)).items()}
    ),
    "lstm.mlpackage": lambda path: _operator(
        "lstm", path, direction="bidirectional", clip=np.float32(3), **one_matrix(LSTM), **PEEPHOLE, **BACKWARD
    ),
    "lstm_half.mlpackage": lambda path: _operator("lstm", path, True, direction="reverse", **one_matrix(LSTM)),
    "lstm_int8.mlpackage": lambda path: _operator("lstm", path, True, True, **one_matrix(LSTM)),
    "gru.mlpackage": lambda path: _operator("gru", path, **one_matrix(GRU)),
    "rnn.mlpackage": lambda path: _operator("rnn", path, activation="relu", **one_matrix(("only",))),
    "two_layers.mlpackage": _program_of_two_layers,
    "two_layers.mlmodel": _network_of_two_layers,
}
"""How coremltools writes each file of `mobile/`."""

if __name__ == "__main__":
    for name, write in WRITTEN.items():
        write(FOLDER / name)
