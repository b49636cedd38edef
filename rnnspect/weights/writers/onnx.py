"""ONNX: a model that runs by itself, with the states and perhaps the lengths as inputs.

Inputs: x (B, T, I) or (T, B, I), as `batch_first` says; h0 (L·D, B, H); c0 of an LSTM; lengths (B,), int32, where they
are wanted. Outputs: output (B, T, D·H) or (T, B, D·H), h_n and c_n as in torch.nn. B and T are free.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from rnnspect.errors import EngineError, InputError
from rnnspect.files import memory
from rnnspect.files.onnx_file import MOST, read_model
from rnnspect.network.parameters import parameters_of
from rnnspect.version import __version__
from rnnspect.weights.readers.onnx import INPUTS, array_of, nodes_in, tensor_of
from rnnspect.weights.writers.interface import Target, needing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onnx import GraphProto, ModelProto, NodeProto
    from torch import Tensor

    from rnnspect.network.recording import Recording
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec

_COPIES = 4
"""Of all parameters in memory at once: packed, with the directions side by side, in the model, and as its bytes."""
_FRAME = 1 << 20
"""Bytes of a model beside its parameters, and more."""
_STATES = {"h": ("h0", "h_n"), "c": ("c0", "c_n")}


def _write(spec: Spec, parameters: Mapping[str, Tensor], file: IO[bytes]) -> None:
    with needing("onnx"):
        from rnnspect.engines._onnx_graph import graph_of
    size = sum(parameter.bytes for parameter in parameters_of(spec))
    if size > MOST - _FRAME:
        allowed = f"at most {memory.in_words(MOST)}"
        raise InputError(f"parameters of {memory.in_words(size)} in one .onnx file", allowed=allowed)
    memory.require(_COPIES * size, "writing the model")
    model, _ = graph_of(spec, parameters, spec.lengths is not None)
    _lead_out(spec, model)
    model.producer_name, model.producer_version = "rnnspect", __version__
    file.write(model.SerializeToString())


def _lead_out(spec: Spec, model: ModelProto) -> None:
    """Gives a graph, whose states come and go layer by layer, the inputs and outputs of torch.nn."""
    from onnx import helper

    graph, top = model.graph, spec.num_layers - 1
    side_by_side = graph.initializer[0].name
    first = spec.batch_first
    before, after = _states(spec, graph)
    _rename(graph, {"X": "x turned" if first else "x", "sequence_lens": "lengths"})
    if first:
        before.append(helper.make_node("Transpose", ["x"], ["x turned"], "batch last", perm=[1, 0, 2]))
    perm = [2, 0, 1, 3] if first else [0, 2, 1, 3]
    after.append(helper.make_node("Transpose", [f"Y_{top}"], ["Y turned"], "units last", perm=perm))
    after.append(helper.make_node("Reshape", ["Y turned", side_by_side], ["output"], "output"))
    for layer, node in enumerate(node for node in graph.node if node.op_type in INPUTS):
        node.name = f"{node.op_type.lower()}_l{layer}"
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    _declare(spec, graph)


def _states(spec: Spec, graph: GraphProto) -> tuple[list[NodeProto], list[NodeProto]]:
    """What cuts h0 and c0 into layers, and what puts h_n and c_n together; of a single layer both are its own."""
    import numpy as np
    from onnx import helper, numpy_helper

    every = range(spec.num_layers)
    before, after = [], []
    if len(every) > 1:
        each = np.full(spec.num_layers, spec.num_directions, np.int64)
        graph.initializer.append(numpy_helper.from_array(each, "rows of a layer"))
    for state in spec.cell_type.states:
        given, final = _STATES[state]
        parts, ends = [f"initial_{state}_{at}" for at in every], [f"Y_{state}_{at}" for at in every]
        if len(every) == 1:
            _rename(graph, {parts[0]: given, ends[0]: final})
        else:
            before.append(helper.make_node("Split", [given, "rows of a layer"], parts, f"{given} by layer", axis=0))
            after.append(helper.make_node("Concat", ends, [final], f"{final} of all layers", axis=0))
    return before, after


def _declare(spec: Spec, graph: GraphProto) -> None:
    """The inputs and outputs, with the sizes that are free as B and T."""
    from onnx import TensorProto, helper

    kind = graph.input[0].type.tensor_type.elem_type
    steps = ["B", "T"] if spec.batch_first else ["T", "B"]
    stacked = [spec.num_layers * spec.num_directions, "B", spec.hidden_size]
    states = [_STATES[state] for state in spec.cell_type.states]
    given = [helper.make_tensor_value_info("x", kind, [*steps, spec.input_size])]
    given += [helper.make_tensor_value_info(name, kind, stacked) for name, _ in states]
    if spec.lengths is not None:
        given.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]))
    wide = spec.num_directions * spec.hidden_size
    found = [helper.make_tensor_value_info("output", kind, [*steps, wide])]
    found += [helper.make_tensor_value_info(name, kind, stacked) for _, name in states]
    del graph.input[:], graph.output[:]
    graph.input.extend(given)
    graph.output.extend(found)


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Calls tensors otherwise wherever nodes take or give them."""
    for node in graph.node:
        for tensors in (node.input, node.output):
            for at, name in enumerate(tensors):
                tensors[at] = names.get(name, name)


class _Loaded:
    """A model as the file has it, run by onnxruntime; a copy shows what the lower layers give besides."""

    name = "onnxruntime"

    def __init__(self, path: Path, spec: Spec) -> None:
        with needing("onnxruntime"):
            import onnxruntime
            from onnx import helper
        del onnxruntime
        if spec.dtype != "float32":
            raise EngineError(f"onnxruntime's RNN, LSTM and GRU compute in float32 only, not in {spec.dtype}")
        self._model, self._where = read_model(path), str(path)
        kind = self._model.graph.input[0].type.tensor_type.elem_type
        self._lower = [f"Y_{layer}" for layer in range(spec.num_layers - 1)]
        shape = ["T", spec.num_directions, "B", spec.hidden_size]
        self._outputs = [output.name for output in self._model.graph.output]
        self._model.graph.output.extend(helper.make_tensor_value_info(name, kind, shape) for name in self._lower)

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        import torch

        from rnnspect.engines.shared.onnx_model import run_model
        from rnnspect.network.recording import Recording

        del parameters
        nodes = list(nodes_in(self._model, self._where).values())
        wanted = [*self._outputs, *self._lower]
        ran = run_model(self._model, _feed(spec, sequence), nodes, spec.dtype, self._where, wanted)
        given = {name: tensor_of(values) for name, values in ran.outputs.items()}
        output = given["output"].transpose(0, 1) if spec.batch_first else given["output"]
        by_layer = [*(list(given[name].unbind(1)) for name in self._lower), output.chunk(spec.num_directions, -1)]
        layers = {
            (layer, direction): h
            for layer, halves in enumerate(by_layer)
            for direction, h in zip(spec.directions, halves, strict=True)
        }
        if (valid := sequence.valid()) is not None:
            layers = {place: torch.where(valid[..., None], h, 0) for place, h in layers.items()}
        return Recording(ran.engine, output, given["h_n"], given.get("c_n"), layers, 0.0)


def _feed(spec: Spec, sequence: Sequence) -> dict[str, Any]:
    feed = {"x": array_of(sequence.x.transpose(0, 1) if spec.batch_first else sequence.x)}
    feed |= {_STATES[name][0]: array_of(v) for name, v in zip(spec.cell_type.states, sequence.state, strict=True)}
    if sequence.lengths is not None:
        import numpy as np

        feed["lengths"] = np.array(sequence.lengths, np.int32)
    return feed


def _code(spec: Spec, file: str) -> str:
    states = [_STATES[state] for state in spec.cell_type.states]
    given = ["x", *(given for given, _ in states), *(["lengths"] if spec.lengths is not None else [])]
    feed = ", ".join(f'"{name}": {name}' for name in given)
    return f"""\
import onnxruntime

session = onnxruntime.InferenceSession({file!r})
{", ".join(["output", *(final for _, final in states)])} = session.run(None, {{{feed}}})
"""


TARGET = Target(
    name="onnx",
    title="ONNX's operators",
    suffix=".onnx",
    layout="onnx",
    write=_write,
    load=_Loaded,
    code=_code,
    dtypes=("float16", "float32", "float64"),
    holds=("reset", "reverse", "input_forget", "peepholes", "activations", "clip"),
    without={"proj_size": "ONNX's LSTM has no projection"},
    takes_lengths=True,
)
