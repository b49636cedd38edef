"""ONNX graphs, run by onnxruntime, or by onnx.reference where onnxruntime does not know an operator and onnx.reference
ignores nothing of it; nodes, and cells that a graph writes out, taken out of it and run alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.engines.shared.layers import run_head
from rnnspect.errors import FileError, InputError
from rnnspect.files import free_memory
from rnnspect.files.onnx_checks import graphs_in
from rnnspect.network.recording import STATES, EngineInfo, Recording, by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx_rnn_nodes import INPUTS, OUTPUTS, WEIGHTS, OnnxNode, array_of, tensor_of
from rnnspect.weights.readers.onnx_written_out import WrittenCell

if TYPE_CHECKING:
    from onnx import ModelProto

    _Array = Any


_SILENT = 4
"""onnxruntime's errors are raised as well, and told from there."""
_IGNORED = ("clip", "activations", "input_forget", "layout")
"""What onnx.reference passes over in some of its operators, or treats wrongly."""


def run_network(
    model: ModelProto,
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    info: EngineInfo,
    batch_first: bool,
    run: Callable[[ModelProto, dict[str, _Array]], Mapping[str, _Array]],
) -> Recording:
    """A run of a model that `weights.writers.shared.onnx_graph` made. `run` gives all outputs by name from the model,
    which here also outputs the h of its lower layers, and the inputs by name.

    Nothing is set to zero beyond an item's length, so that a runtime that ignores lengths is found out.
    """
    from onnx import helper

    kind, shape = model.graph.input[0].type.tensor_type.elem_type, ["T", spec.num_directions, "B", spec.hidden_size]
    lower = [f"Y_{layer}" for layer in range(spec.num_layers - 1)]
    model.graph.output.extend(helper.make_tensor_value_info(name, kind, shape) for name in lower)
    feed = {"x": array_of(sequence.x.transpose(0, 1) if batch_first else sequence.x)}
    feed |= {STATES[name][0]: array_of(v) for name, v in zip(spec.cell_type.states, sequence.state, strict=True)}
    if sequence.lengths is not None:
        feed["lengths"] = np.array(sequence.lengths, np.int32)
    given = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in run(model, feed).items()}
    output = given["output"].transpose(0, 1) if batch_first else given["output"]
    layers = {
        (layer, direction): given[name][:, at]
        for layer, name in enumerate(lower)
        for at, direction in enumerate(spec.directions)
    }
    layers |= by_direction(spec, spec.num_layers - 1, output)
    head = run_head(spec, parameters, given["h_n"])
    return Recording(info, output, given["h_n"], given.get("c_n"), layers, 0.0, head)


@dataclass(frozen=True)
class Ran:
    outputs: dict[str, _Array]
    engine: EngineInfo


class Session:
    """A model of which these are the recurrent nodes, ready to run: by onnxruntime, or by onnx.reference."""

    def __init__(self, model: ModelProto, nodes: list[OnnxNode], dtype: str, where: str) -> None:
        """Raises `InputError` where onnxruntime refuses the model and onnx.reference would ignore something of it."""
        import onnx

        try:
            import onnxruntime
        except ImportError:
            advice = "install it: pip install 'rnnspect[onnx]'"
            raise InputError("running this model needs the package onnxruntime", advice=advice, where=where) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        if any(node.quantized for node in nodes):
            options.intra_op_num_threads = 1  # with more the batch is cut up, and each part of h has a scale of its own
        try:
            data = model.SerializeToString()
        except ValueError:
            raise FileError("the model is larger than 2 GiB with its external data", where=where) from None
        _require_memory(model, where)
        self._model, self._where, self._refused = model, where, ""
        runtime, version = "onnxruntime", onnxruntime.__version__
        try:
            self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - its exceptions share no class but this one
            runtime, version, self._refused = "onnx.reference", onnx.__version__, f"onnxruntime: {_line(error)}; "
            if unsound := _unsound(nodes):
                found = f"cannot run this model: {self._refused}onnx.reference ignores {unsound}"
                raise InputError(found, where=where) from None
            self._session = None
        self.engine = EngineInfo(runtime, version, "cpu", dtype)

    def run(self, feed: Mapping[str, _Array], wanted: list[str]) -> dict[str, _Array]:
        """The wanted outputs by name. Raises `InputError` where it does not run."""
        try:
            if self._session is None:
                from onnx.reference import ReferenceEvaluator

                self._session = ReferenceEvaluator(self._model)
            with np.errstate(over="ignore"):  # onnx.reference's 1 / (1 + exp(-x)) overflows on the way to 0
                given = self._session.run(wanted, dict(feed))
        except Exception as error:  # noqa: BLE001 - onnx.reference raises whatever numpy does
            raise InputError(f"{self._refused}{self.engine.name}: {_line(error)}", where=self._where) from None
        return dict(zip(wanted, given, strict=True))


def _require_memory(model: ModelProto, where: str) -> None:
    """Raises `ResourceError` where a single tensor of the graph, as far as its shape is known, does not fit here."""
    from onnx import helper, shape_inference

    try:
        known = shape_inference.infer_shapes(model, data_prop=True)
    except (shape_inference.InferenceError, ValueError):  # what is wrong with it onnxruntime says better
        return
    for graph in graphs_in(known.graph):
        for info in (*graph.value_info, *graph.output):
            tensor = info.type.tensor_type
            sizes = [axis.dim_value for axis in tensor.shape.dim]
            if all(sizes) and tensor.elem_type in helper.get_all_tensor_dtypes():
                each = helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
                free_memory.require(each * math.prod(sizes), f"the tensor {info.name}", where)


def _unsound(nodes: list[OnnxNode]) -> str | None:
    for node in nodes:
        ignored = [name for name in _IGNORED if name in node.attributes]
        ignored += ["sequence_lens"] if node.input("sequence_lens") else []
        if ignored or node.quantized:
            return ignored[0] if ignored else node.node.op_type
    return None


class NodeEngine:
    """The node of a file, run alone by onnxruntime on the sequence."""

    name = "onnxruntime"

    def __init__(self, node: OnnxNode, weights: Mapping[str, _Array] | None = None) -> None:
        self._node = node
        self._weights = weights or {name: v for name in WEIGHTS if (v := node.constant(name)) is not None}

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """Raises `InputError` where onnxruntime and onnx.reference cannot run the node."""
        del parameters  # the file's own are run, as they are packed there
        alone, feed = _alone(self._node, self._weights, sequence)
        session = Session(alone.model, [alone], spec.dtype, alone.where)
        given = session.run(feed, list(OUTPUTS[alone.node.op_type]))
        return recording_of_node(spec, sequence, session.engine, given)


def recording_of_node(spec: Spec, sequence: Sequence, engine: EngineInfo, arrays: Mapping[str, _Array]) -> Recording:
    """What a node gave as Y (T, D, B, H), Y_h and, of an LSTM, Y_c (D, B, H)."""
    y = tensor_of(arrays["Y"])
    if (valid := sequence.valid()) is not None:
        y = torch.where(valid[:, None, :, None], y, 0)
    layers = {(0, direction): y[:, at] for at, direction in enumerate(spec.directions)}
    c_n = tensor_of(arrays["Y_c"]) if "Y_c" in arrays else None
    return Recording(engine, torch.cat([*layers.values()], -1), tensor_of(arrays["Y_h"]), c_n, layers, 0.0)


def _alone(node: OnnxNode, weights: Mapping[str, _Array], sequence: Sequence) -> tuple[OnnxNode, dict[str, _Array]]:
    """The node in a model of its own, time-major and with these weights, and what to feed that model: X, lengths and
    states of the sequence."""
    from onnx import helper, numpy_helper

    from rnnspect.weights.writers.shared.onnx_graph import IR, OPSET

    op = node.node.op_type
    feed: dict[str, _Array] = {"X": array_of(sequence.x), "initial_h": array_of(sequence.h0)}
    if sequence.c0 is not None:
        feed["initial_c"] = array_of(sequence.c0)
    if sequence.lengths is not None:
        feed["sequence_lens"] = np.array(sequence.lengths, np.int32)
    inputs = [name if name in feed or name in weights else "" for name in INPUTS[op]]
    own = helper.make_node(op, inputs, OUTPUTS[op], node.node.name, domain=node.node.domain)
    own.attribute.extend(attribute for attribute in node.node.attribute if attribute.name != "layout")
    kinds = {name: helper.np_dtype_to_tensor_dtype(values.dtype) for name, values in feed.items()}
    graph = helper.make_graph(
        [own],
        "node",
        [helper.make_tensor_value_info(name, kinds[name], [None] * values.ndim) for name, values in feed.items()],
        [helper.make_tensor_value_info(name, kinds["X"], None) for name in OUTPUTS[op]],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR)
    said = {name: value for name, value in node.attributes.items() if name != "layout"}
    return replace(node, node=own, model=model, attributes=said), feed


def _line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text.rpartition(" : ")[2] or type(error).__name__


_STATES = {"initial_h": "Y_h", "initial_c": "Y_c"}


class OnnxCellEngine:
    """The nodes of the first step of a cell, run by onnxruntime once for each step of the sequence."""

    name = "onnxruntime"

    def __init__(self, cell: WrittenCell) -> None:
        self._cell = cell
        self._names = cell.tensors(cell.steps[0])

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """Raises `InputError` where the nodes need more than x, h, c and constants, and where no runtime runs them."""
        del parameters  # the file's own are run, as they are written there
        session = Session(self._model(), [], spec.dtype, self._cell.where)
        rank = max(2, len(self._cell.view.shapes.get(self._names["Y_h"], ())))
        state = dict(zip(_STATES, (array_of(values[0]) for values in sequence.state), strict=False))
        taken, wanted = list(self._names.items()), [self._names[_STATES[name]] for name in state]
        outputs = []
        for x in sequence.x:
            step = {"X": array_of(x), **state}
            feed = {of: step[name].reshape(*[1] * (rank - 2), *step[name].shape) for name, of in taken if name in step}
            given = session.run(feed, wanted)
            state = {name: given[of].reshape(-1, spec.hidden_size) for name, of in zip(state, wanted, strict=True)}
            outputs.append(tensor_of(state["initial_h"]))
        h = torch.stack(outputs)
        c_n = tensor_of(state["initial_c"])[None] if "initial_c" in state else None
        return Recording(session.engine, h, h[-1:], c_n, {(0, "forward"): h}, 0.0)

    def _model(self) -> ModelProto:
        """The nodes in a model of their own."""
        from onnx import helper, numpy_helper

        cell, step = self._cell, self._cell.steps[0]
        nodes, weight = cell.nodes(step), cell.view.known(step.sums[0].products[0].weight)
        kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
        inputs = [self._names[name] for name in ("X", *_STATES) if name in self._names]
        known = {*inputs, *(name for node in nodes for name in node.output)}
        held = {}
        for name in dict.fromkeys(name for node in nodes for name in node.input if name and name not in known):
            held[name] = cell.view.constant(name)
            if held[name] is None:
                found = f"one step of this cell needs {name}, which is not x, h, c or a constant"
                raise InputError(found, where=cell.where)
        graph = helper.make_graph(
            nodes,
            "cell",
            [helper.make_tensor_value_info(name, kind, None) for name in inputs],
            [helper.make_tensor_value_info(name, kind, None) for name in dict.fromkeys(step.given)],
            [numpy_helper.from_array(values, name) for name, values in held.items()],
        )
        own = cell.model
        return helper.make_model(graph, opset_imports=own.opset_import, ir_version=own.ir_version)
