"""ONNX Runtime's operators RNN, LSTM and GRU on the CPU, the whole stack in one graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from rnnspect.engines._onnx_graph import VARIANTS, feed_of, graph_of, recording_of
from rnnspect.engines.shared.limits import check_device, check_dtype, check_spec
from rnnspect.errors import InputError
from rnnspect.network.recording import EngineInfo, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

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


ENGINE = OnnxruntimeEngine
