"""ONNX graphs run by onnxruntime; and by onnx.reference what onnxruntime does not know and that one does not ignore."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, InputError
from rnnspect.files.onnx_file import graphs_in
from rnnspect.network import memory
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.weights import readers
from rnnspect.weights.readers.onnx import INPUTS, OUTPUTS, WEIGHTS, OnnxNode, array_of, node_in, tensor_of
from rnnspect.weights.readers.onnx_constants import Constants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto, NodeProto
    from torch import Tensor

    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared

    Array = Any

_SILENT = 4
"""Its errors are raised as well, and said by us."""
_IGNORED = ("clip", "activations", "input_forget", "layout")
"""What onnx.reference passes over in some of its operators, or treats wrongly."""
_OPSET, _IR = 14, 8


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
    names: list[str] | None = None,
) -> Ran:
    """The outputs of a model by name. Raises `InputError` where no runtime runs it, with what each says."""
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
    wanted = names or [output.name for output in model.graph.output]
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its exceptions share no class but this one
        why = _line(error)
        if unsound := _unsound(nodes):
            raise InputError(
                f"onnxruntime: {why}; onnx.reference ignores {unsound}", allowed="what one of them runs", where=where
            ) from None
        return Ran(_by_reference(model, feed, wanted, where, why), _info("onnx.reference", dtype))
    try:
        given = session.run(wanted, dict(feed))
    except Exception as error:  # noqa: BLE001
        raise InputError(f"onnxruntime: {_line(error)}", where=where) from None
    return Ran(dict(zip(wanted, given, strict=True)), _info("onnxruntime", dtype))


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
                memory.require(each * math.prod(sizes), f"the tensor {info.name}", where)


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


def node_model(
    node: NodeProto, weights: Mapping[str, Array], sequence: Sequence
) -> tuple[ModelProto, dict[str, Array]]:
    """A model of one node alone, with these weights, and what to feed it: X, lengths and states of the sequence."""
    import numpy as np
    from onnx import helper, numpy_helper

    op = node.op_type
    own = type(node)()
    own.CopyFrom(node)
    del own.input[:], own.output[:]
    feed: dict[str, Array] = {"X": array_of(sequence.x), "initial_h": array_of(sequence.h0)}
    if sequence.c0 is not None:
        feed["initial_c"] = array_of(sequence.c0)
    if sequence.lengths is not None:
        feed["sequence_lens"] = np.array(sequence.lengths, np.int32)
    own.input.extend(name if name in feed or name in weights else "" for name in INPUTS[op])
    own.output.extend(OUTPUTS[op])
    kind = helper.np_dtype_to_tensor_dtype(feed["X"].dtype)
    kinds = {name: helper.np_dtype_to_tensor_dtype(values.dtype) for name, values in feed.items()}
    graph = helper.make_graph(
        [own],
        "node",
        [helper.make_tensor_value_info(name, kinds[name], [None] * values.ndim) for name, values in feed.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in OUTPUTS[op]],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR), feed


class NodeEngine:
    """The node of a file, run alone by onnxruntime on the sequence."""

    name = "onnxruntime"

    def __init__(self, node: OnnxNode, weights: Mapping[str, Array] | None = None) -> None:
        self._node = node
        self._weights = weights

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """Raises `InputError` where onnxruntime and onnx.reference cannot run the node."""
        import torch

        del parameters  # the file's own are run, as they are packed there
        own = type(self._node.node)()
        own.CopyFrom(self._node.node)
        kept = [attribute for attribute in own.attribute if attribute.name != "layout"]
        del own.attribute[:]
        own.attribute.extend(kept)
        weights = self._weights or {name: v for name in WEIGHTS if (v := self._node.constant(name)) is not None}
        model, feed = node_model(own, weights, sequence)
        plain = {name: value for name, value in self._node.attributes.items() if name != "layout"}
        alone = OnnxNode(
            self._node.name, own, ((model.graph, None, ""),), model, self._node.file, Constants(model), plain
        )
        ran = run_model(model, feed, [alone], spec.dtype, self._node.where)
        y = tensor_of(ran.outputs["Y"])
        if (valid := sequence.valid()) is not None:
            y = torch.where(valid[:, None, :, None], y, 0)
        layers = {(0, direction): y[:, at] for at, direction in enumerate(spec.directions)}
        output = torch.cat(list(layers.values()), -1)
        c_n = tensor_of(ran.outputs["Y_c"]) if "Y_c" in ran.outputs else None
        return Recording(ran.engine, output, tensor_of(ran.outputs["Y_h"]), c_n, layers, 0.0)


def by_its_own_node(prepared: Prepared) -> Prepared:
    """Where the parameters are those of a node in a file, onnxruntime runs that node in place of the engine."""
    assert isinstance(prepared.spec.weights, str)
    source = readers.file_of(prepared.spec.weights)
    if readers.kind_of(source.path) != "onnx":
        return prepared
    return replace(prepared, engine=NodeEngine(node_in(source.path, source.member)))


def _info(name: str, dtype: str) -> EngineInfo:
    import onnx
    import onnxruntime

    version = onnxruntime.__version__ if name == "onnxruntime" else onnx.__version__
    return EngineInfo(name, version, "cpu", dtype)


def _line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text.rpartition(" : ")[2] or type(error).__name__
