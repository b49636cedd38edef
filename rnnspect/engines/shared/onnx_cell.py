"""A cell that a graph of ONNX writes out, taken out of its graph and run step after step on a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnnspect.engines.shared.onnx_model import Session
from rnnspect.errors import InputError
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx_nodes import array_of, tensor_of
from rnnspect.weights.readers.onnx_written_out import WrittenCell

if TYPE_CHECKING:
    from onnx import ModelProto

    Array = Any

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
