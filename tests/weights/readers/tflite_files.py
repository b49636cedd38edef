"""Models in .tflite with numbers that a test can draw again, and the lines that write and run them.

`python -m tests.weights.readers.tflite_files` writes the files of `mobile/` anew, with what the runtime computes on
each, in `tflite_runs.npz`. That takes ai-edge-litert, and for those of Keras tensorflow-cpu and tf_keras.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.weights.readers.coreml_files import FOLDER, drawn

RUNS = FOLDER / "tflite_runs.npz"
INPUTS, UNITS, PROJECTED, BATCH, STEPS = 3, 4, 2, 2, 5
GATES = ("input", "forget", "cell", "output")
TANH, RELU = 4, 1
Weights = dict[str, np.ndarray | None]


def lstm(name: str, out: int = UNITS, *, coupled: bool = False, peepholes: bool = False) -> Weights:
    """The weights of an LSTM in the order of the operator's inputs 1 to 17; None for one that is left out."""
    own = [gate for gate in GATES if not (coupled and gate == "input")]
    shapes: dict[str, tuple[int, ...] | None] = {}
    shapes |= {f"input_to_{gate}_weights": (UNITS, INPUTS) if gate in own else None for gate in GATES}
    shapes |= {f"recurrent_to_{gate}_weights": (UNITS, out) if gate in own else None for gate in GATES}
    shapes |= {
        f"cell_to_{gate}_weights": (UNITS,) if peepholes and gate in own else None for gate in GATES if gate != "cell"
    }
    shapes |= {f"{gate}_gate_bias": (UNITS,) if gate in own else None for gate in GATES}
    shapes |= {"projection_weights": (out, UNITS) if out != UNITS else None, "projection_bias": None}
    return {key: drawn(f"{name} {key}", *shape) if shape else None for key, shape in shapes.items()}


def rnn(name: str) -> Weights:
    shapes = {"weights": (UNITS, INPUTS), "recurrent_weights": (UNITS, UNITS), "bias": (UNITS,)}
    return {key: drawn(f"{name} {key}", *shape) for key, shape in shapes.items()}


@dataclass(frozen=True)
class Written:
    """One operator: what it is, its weights, and the options of the schema's object API."""

    operator: str
    options: str
    weights: Mapping[str, np.ndarray | None]
    states: tuple[int, ...]
    """The width of each state."""
    said: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[int, ...] = (UNITS,)
    norms: tuple[np.ndarray, ...] = ()


def _sequence(name: str, out: int = UNITS, norms: tuple[np.ndarray, ...] = (), **said: Any) -> Written:
    shape = {key: said.pop(key) for key in ("coupled", "peepholes") if key in said}
    kind = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTMOptions")
    options = {"fusedActivationFunction": TANH, **said}
    return Written(*kind, lstm(name, out, **shape), (out, UNITS), options, (out,), norms)


def _two(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {f"fw_{key}": one[key] for key in one} | {f"bw_{key}": other[key] for key in other}


WRITTEN = {
    "lstm": _sequence("lstm", cellClip=20.0),
    "time_major": _sequence("time_major", timeMajor=True),
    "peepholes": _sequence("peepholes", peepholes=True),
    "coupled": _sequence("coupled", coupled=True),
    "coupled_peepholes": _sequence("coupled_peepholes", coupled=True, peepholes=True),
    "projected": _sequence("projected", PROJECTED),
    "relu": _sequence("relu", fusedActivationFunction=RELU),
    "normed": _sequence("normed", norms=tuple(drawn(f"norm {gate}", UNITS) for gate in GATES)),
    "both": Written(
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BidirectionalSequenceLSTMOptions",
        _two(lstm("forward"), lstm("backward")),
        (UNITS,) * 4,
        # Batch-major with two sequences, ai-edge-litert 2.3.0 gives other numbers in each run.
        {"fusedActivationFunction": TANH, "mergeOutputs": True, "timeMajor": True},
        (2 * UNITS,),
    ),
    "rnn": Written(
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "SequenceRNNOptions",
        rnn("rnn"),
        (UNITS,),
        {"fusedActivationFunction": RELU, "timeMajor": False},
    ),
    "both_rnn": Written(
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "BidirectionalSequenceRNNOptions",
        _two(rnn("forward"), rnn("backward")),
        (UNITS, UNITS),
        {"fusedActivationFunction": TANH, "timeMajor": False, "mergeOutputs": True},
        (2 * UNITS,),
    ),
}
LOOPS = (
    *("keras_gru", "keras3_lstm", "keras3_lstm_half", "keras3_gru", "keras3_gru_half"),
    *("keras3_gru_before", "keras3_rnn"),
)
"""Those that TensorFlow's converter wrote as a loop of single operators, which takes the steps first."""
KERAS = ("keras_lstm", "keras_stack", "keras_half", "keras_int8", *LOOPS)
"""Those that TensorFlow's converter wrote from models of Keras 2, and of Keras 3."""


def model(written: Written) -> bytes:
    """A model of that operator alone, as the schema's own code packs it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    major = bool(written.said.get("timeMajor"))
    axes = (STEPS, BATCH) if major else (BATCH, STEPS)
    buffers, tensors, inputs = [schema.BufferT()], [], []

    def add(name: str, shape: tuple[int, ...], values: np.ndarray | None = None, *, variable: bool = False) -> int:
        tensor = schema.TensorT(shape=list(shape), type=schema.TensorType.FLOAT32, name=name)
        if values is not None:
            tensor.buffer = len(buffers)
            buffers.append(schema.BufferT(data=list(values.tobytes())))
        tensor.isVariable = variable
        tensors.append(tensor)
        return len(tensors) - 1

    inputs.append(add("x", (*axes, INPUTS)))
    places = dict(written.weights)
    if "hidden" not in "".join(places) and written.operator.endswith("RNN"):
        ways = ("fw_", "bw_") if len(written.states) == 2 else ("",)
        for way in ways:
            for key in ("weights", "recurrent_weights", "bias"):
                inputs.append(add(way + key, places[way + key].shape, places[way + key]))
            inputs.append(add(f"{way}hidden_state", (BATCH, UNITS), variable=True))
    else:
        for key, values in places.items():
            inputs.append(-1 if values is None else add(key, values.shape, values))
        inputs += [add(f"state_{at}", (BATCH, width), variable=True) for at, width in enumerate(written.states)]
        inputs += [add(f"norm_{at}", values.shape, values) for at, values in enumerate(written.norms)]
    outputs = [add("y", (*axes, width)) for width in written.outputs]
    if "SEQUENCE" in written.operator and written.operator.startswith("BI"):
        inputs += [-1] * ((48 if "LSTM" in written.operator else 12) - len(inputs))
    operator = schema.OperatorT(
        inputs=inputs,
        outputs=outputs,
        builtinOptionsType=getattr(schema.BuiltinOptions, written.options),
        builtinOptions=getattr(schema, f"{written.options}T")(**written.said),
    )
    code = schema.OperatorCodeT(
        builtinCode=(number := getattr(schema.BuiltinOperator, written.operator)), deprecatedBuiltinCode=number
    )
    graph = schema.SubGraphT(tensors=tensors, inputs=[inputs[0]], outputs=outputs, operators=[operator])
    whole = schema.ModelT(version=3, operatorCodes=[code], subgraphs=[graph], buffers=buffers)
    builder = flatbuffers.Builder(0)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(data: bytes, x: np.ndarray) -> np.ndarray:
    """What the runtime computes, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _keras() -> dict[str, bytes]:
    """Models of Keras 2 as TensorFlow's converter writes them."""
    import tensorflow
    import tf_keras

    layers, found = tf_keras.layers, {}
    wide = {"keras_int8": 32}
    for name, stack in {
        "keras_lstm": [layers.LSTM(UNITS, return_sequences=True)],
        "keras_stack": [layers.LSTM(UNITS, return_sequences=True), layers.LSTM(3), layers.Dense(2)],
        "keras_half": [layers.LSTM(UNITS, return_sequences=True)],
        "keras_int8": [layers.LSTM(32, return_sequences=True)],
        "keras_gru": [layers.GRU(UNITS, return_sequences=True)],
    }.items():
        net, shape = tf_keras.Sequential(stack), (1, STEPS, wide.get(name, INPUTS))
        net(np.zeros(shape, np.float32))
        for at, weight in enumerate(net.weights):
            weight.assign(drawn(f"{name} {at}", *weight.shape))
        traced = tensorflow.function(lambda x, net=net: net(x))
        concrete = traced.get_concrete_function(tensorflow.TensorSpec(shape, tensorflow.float32))
        converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([concrete], net)
        if name in ("keras_half", "keras_int8"):
            converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        if name == "keras_half":
            converter.target_spec.supported_types = [tensorflow.float16]
        found[name] = converter.convert()
    return found


def _with_its_loop(net: Any) -> Any:
    """A frozen model whose loop is one operator already, so that its bias in float16 becomes a float outside of it."""
    import tensorflow
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tensorflow.TensorSpec((1, STEPS, INPUTS))]
    traced = tensorflow.function(net.call, input_signature=signature).get_concrete_function()
    return convert_variables_to_constants_v2(traced, lower_control_flow=False)


def _keras_3() -> dict[str, bytes]:
    """Models of Keras 3 as TensorFlow's converter writes them."""
    import keras
    import tensorflow

    layers, found = keras.layers, {}
    for name, layer in {
        "keras3_lstm": layers.LSTM(UNITS, return_sequences=True),
        "keras3_gru": layers.GRU(UNITS, return_sequences=True),
        "keras3_gru_before": layers.GRU(UNITS, return_sequences=True, reset_after=False),
        "keras3_rnn": layers.SimpleRNN(UNITS, return_sequences=True),
        "keras3_gru_half": layers.GRU(UNITS, return_sequences=True),
        "keras3_lstm_half": layers.LSTM(UNITS, return_sequences=True),
    }.items():
        net = keras.Sequential([keras.Input((STEPS, INPUTS), batch_size=1), layer])
        for at, weight in enumerate(net.weights):
            weight.assign(drawn(f"{name} {at}", *weight.shape))
        converter = tensorflow.lite.TFLiteConverter.from_keras_model(net)
        if name == "keras3_lstm_half":
            converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([_with_its_loop(net)])
        if name.endswith("_half"):
            converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tensorflow.float16]
        found[name] = converter.convert()
    return found


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    files = {name: model(written) for name, written in WRITTEN.items()} | _keras() | _keras_3()
    runs = {}
    for name, data in files.items():
        (FOLDER / f"{name}.tflite").write_bytes(data)
        major = name in WRITTEN and WRITTEN[name].said.get("timeMajor")
        axes = (STEPS, BATCH) if major else (1 if name in KERAS else BATCH, STEPS)
        x = drawn(f"{name} x", *axes, 32 if name == "keras_int8" else INPUTS)
        runs |= {f"{name}.x": x, f"{name}.y": run(data, x)}
    np.savez_compressed(RUNS, **runs)
