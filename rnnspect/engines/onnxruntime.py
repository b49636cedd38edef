"""ONNX Runtime's operators RNN, LSTM and GRU on the CPU, the whole stack in one graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from rnnspect.engines.shared.limits import check_device, check_dtype, check_spec
from rnnspect.engines.shared.onnx_model import feed_of, recording_of, run_model
from rnnspect.errors import EngineError, InputError
from rnnspect.files.onnx_file import read_model
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.weights.readers.onnx import array_of, nodes_in, tensor_of
from rnnspect.weights.writers.onnx import STATES, VARIANTS
from rnnspect.weights.writers.shared.onnx_graph import graph_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from rnnspect.engines.interface import Engine
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec

_FAILURES = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.NotImplemented, errors.RuntimeException)
_ONLY_ERRORS = 3


class OnnxruntimeEngine:
    name = "onnxruntime"

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        check_spec(self.name, spec, VARIANTS, projection="ONNX's LSTM has none")
        # It takes float16, and then computes in float32 and rounds what leaves a node: that is neither of the two.
        check_dtype(self.name, spec, ("float32",), "on the CPU its RNN, LSTM and GRU are float32 only")
        check_device(self.name, sequence)
        model, notes = graph_of(spec, parameters, sequence.lengths is not None)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ONLY_ERRORS
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            names = [output.name for output in session.get_outputs()]
            given = dict(zip(names, session.run(names, feed_of(spec, sequence)), strict=True))
        except _FAILURES as error:
            raise InputError(f"onnxruntime fails with {str(error).partition(chr(10))[0]}") from error
        info = EngineInfo(self.name, onnxruntime.__version__, "cpu", spec.dtype)
        return recording_of(spec, parameters, info, given, notes)


class _Converted:
    """A converted model, run as it is in the file. A copy of it also gives what the lower layers give."""

    name = "onnxruntime"

    def __init__(self, path: Path, spec: Spec) -> None:
        if spec.dtype != "float32":
            raise EngineError(f"onnxruntime's RNN, LSTM and GRU compute in float32 only, not in {spec.dtype}")
        self._model, self._where = read_model(path), str(path)
        graph = self._model.graph
        kind, shape = graph.input[0].type.tensor_type.elem_type, ["T", spec.num_directions, "B", spec.hidden_size]
        self._lower = [f"Y_{layer}" for layer in range(spec.num_layers - 1)]
        self._wanted = [*(output.name for output in graph.output), *self._lower]
        graph.output.extend(helper.make_tensor_value_info(name, kind, shape) for name in self._lower)

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        del parameters
        feed = {"x": array_of(sequence.x.transpose(0, 1) if spec.batch_first else sequence.x)}
        feed |= {STATES[name][0]: array_of(v) for name, v in zip(spec.cell_type.states, sequence.state, strict=True)}
        if sequence.lengths is not None:
            feed["lengths"] = np.array(sequence.lengths, np.int32)
        nodes = list(nodes_in(self._model, self._where).values())
        ran = run_model(self._model, feed, nodes, spec.dtype, self._where, self._wanted)
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


def load(path: Path, spec: Spec) -> Engine:
    """A converted .onnx file."""
    return _Converted(path, spec)


ENGINE = OnnxruntimeEngine
