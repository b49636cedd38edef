"""ONNX graphs, run by onnxruntime, or by onnx.reference where onnxruntime does not know an operator and onnx.reference
ignores nothing of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.engines.shared.layers import run_head
from rnnspect.errors import FileError, InputError
from rnnspect.files import free_memory
from rnnspect.files.onnx_file import Constants, graphs_in
from rnnspect.network.recording import STATES, EngineInfo, Recording, by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx import INPUTS, OUTPUTS, WEIGHTS, OnnxNode, array_of, tensor_of

if TYPE_CHECKING:
    from onnx import ModelProto

    Array = Any

_SILENT = 4
"""onnxruntime's errors are raised as well, and told from there."""
_IGNORED = ("clip", "activations", "input_forget", "layout")
"""What onnx.reference passes over in some of its operators, or treats wrongly."""


def show_layers(model: ModelProto, spec: Spec) -> ModelProto:
    """Gives a model of `weights.writers.shared.onnx_graph` the h of its lower layers as outputs too."""
    from onnx import helper

    kind, shape = model.graph.input[0].type.tensor_type.elem_type, ["T", spec.num_directions, "B", spec.hidden_size]
    lower = [f"Y_{layer}" for layer in range(spec.num_layers - 1)]
    model.graph.output.extend(helper.make_tensor_value_info(name, kind, shape) for name in lower)
    return model


def feed_of(spec: Spec, sequence: Sequence, batch_first: bool) -> dict[str, Array]:
    """The inputs of such a model by name."""
    feed = {"x": array_of(sequence.x.transpose(0, 1) if batch_first else sequence.x)}
    feed |= {STATES[name][0]: array_of(v) for name, v in zip(spec.cell_type.states, sequence.state, strict=True)}
    if sequence.lengths is not None:
        feed["lengths"] = np.array(sequence.lengths, np.int32)
    return feed


def recording_of(
    spec: Spec, parameters: Mapping[str, Tensor], info: EngineInfo, outputs: Mapping[str, Array], batch_first: bool
) -> Recording:
    """What a runtime gave for the outputs of such a model. Nothing is set to zero beyond an item's length, so that a
    runtime that ignores lengths is found out."""
    given = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in outputs.items()}
    output = given["output"].transpose(0, 1) if batch_first else given["output"]
    layers = {
        (layer, direction): given[f"Y_{layer}"][:, at]
        for layer in range(spec.num_layers - 1)
        for at, direction in enumerate(spec.directions)
    }
    layers |= by_direction(spec, spec.num_layers - 1, output)
    head = run_head(spec, parameters, given["h_n"])
    return Recording(info, output, given["h_n"], given.get("c_n"), layers, 0.0, head)


@dataclass(frozen=True)
class Ran:
    outputs: dict[str, Array]
    engine: EngineInfo


def run_model(
    model: ModelProto,
    feed: Mapping[str, Array],
    nodes: list[OnnxNode],
    dtype: str,
    where: str,
    wanted: list[str],
) -> Ran:
    """The wanted outputs of a model by name. Raises `InputError` where no runtime runs it, with what each says."""
    import onnx

    try:
        import onnxruntime
    except ImportError:
        allowed = "after: pip install 'rnnspect[onnx]'"
        raise InputError("running it needs the package onnxruntime", allowed=allowed, where=where) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    if any(node.quantized for node in nodes):
        options.intra_op_num_threads = 1  # with more the batch is cut up, and each part of h has a scale of its own
    try:
        data = model.SerializeToString()
    except ValueError:
        raise FileError("more than 2 GiB with its external data", where=where) from None
    _require_memory(model, where)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its exceptions share no class but this one
        why = _line(error)
        if unsound := _unsound(nodes):
            raise InputError(
                f"onnxruntime: {why}; onnx.reference ignores {unsound}", allowed="what one of them runs", where=where
            ) from None
        engine = EngineInfo("onnx.reference", onnx.__version__, "cpu", dtype)
        return Ran(_by_reference(model, feed, wanted, where, why), engine)
    try:
        given = session.run(wanted, dict(feed))
    except Exception as error:  # noqa: BLE001
        raise InputError(f"onnxruntime: {_line(error)}", where=where) from None
    return Ran(dict(zip(wanted, given, strict=True)), EngineInfo("onnxruntime", onnxruntime.__version__, "cpu", dtype))


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


def _by_reference(
    model: ModelProto, feed: Mapping[str, Array], wanted: list[str], where: str, why: str
) -> dict[str, Array]:
    from onnx.reference import ReferenceEvaluator

    try:
        given = ReferenceEvaluator(model).run(wanted, dict(feed))
    except Exception as error:  # noqa: BLE001 - it raises whatever numpy does
        raise InputError(f"onnxruntime: {why}; onnx.reference: {_line(error)}", where=where) from None
    return dict(zip(wanted, given, strict=True))


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

    def __init__(self, node: OnnxNode, weights: Mapping[str, Array] | None = None) -> None:
        self._node = node
        self._weights = weights or {name: v for name in WEIGHTS if (v := node.constant(name)) is not None}

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """Raises `InputError` where onnxruntime and onnx.reference cannot run the node."""
        del parameters  # the file's own are run, as they are packed there
        alone, feed = _alone(self._node, self._weights, sequence)
        outputs = list(OUTPUTS[alone.node.op_type])
        ran = run_model(alone.model, feed, [alone], spec.dtype, alone.where, outputs)
        y = tensor_of(ran.outputs["Y"])
        if (valid := sequence.valid()) is not None:
            y = torch.where(valid[:, None, :, None], y, 0)
        layers = {(0, direction): y[:, at] for at, direction in enumerate(spec.directions)}
        output = torch.cat(list(layers.values()), -1)
        c_n = tensor_of(ran.outputs["Y_c"]) if "Y_c" in ran.outputs else None
        return Recording(ran.engine, output, tensor_of(ran.outputs["Y_h"]), c_n, layers, 0.0)


def _alone(node: OnnxNode, weights: Mapping[str, Array], sequence: Sequence) -> tuple[OnnxNode, dict[str, Array]]:
    """The node in a model of its own, time-major and with these weights, and what to feed that model: X, lengths and
    states of the sequence."""
    from onnx import helper, numpy_helper

    from rnnspect.weights.writers.shared.onnx_graph import IR, OPSET

    op = node.node.op_type
    own = type(node.node)()
    own.CopyFrom(node.node)
    kept = [attribute for attribute in own.attribute if attribute.name != "layout"]
    del own.attribute[:], own.input[:], own.output[:]
    feed: dict[str, Array] = {"X": array_of(sequence.x), "initial_h": array_of(sequence.h0)}
    if sequence.c0 is not None:
        feed["initial_c"] = array_of(sequence.c0)
    if sequence.lengths is not None:
        feed["sequence_lens"] = np.array(sequence.lengths, np.int32)
    own.attribute.extend(kept)
    own.input.extend(name if name in feed or name in weights else "" for name in INPUTS[op])
    own.output.extend(OUTPUTS[op])
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
    path: Any = ((model.graph, None, ""),)
    return replace(node, node=own, path=path, model=model, constants=Constants(model), attributes=said), feed


def _line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text.rpartition(" : ")[2] or type(error).__name__
