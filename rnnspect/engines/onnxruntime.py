"""ONNX Runtime's operators RNN, LSTM and GRU on the CPU, the whole stack in one model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from onnx import ModelProto
from onnxruntime.capi import onnxruntime_pybind11_state as errors
from torch import Tensor

from rnnspect.engines.interface import check_device, check_dtype, check_spec
from rnnspect.engines.shared.onnx_model import run_network
from rnnspect.errors import EngineError, InputError
from rnnspect.files.onnx_file import read_model
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.weights.writers.onnx import VARIANTS
from rnnspect.weights.writers.shared.onnx_graph import model_of

_FAILURES = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.NotImplemented, errors.RuntimeException)
_ONLY_ERRORS = 3


class OnnxruntimeEngine:
    name = "onnxruntime"
    piece: int | None = 1 << 16

    def check(self, spec: Spec) -> None:
        check_spec(self.name, spec, VARIANTS, projection="ONNX's LSTM has none")
        # It takes float16, and then computes in float32 and rounds what leaves a node: that is neither of the two.
        check_dtype(self.name, spec, ("float32",), "on the CPU, its RNN, LSTM and GRU compute only in float32")

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        self.check(spec)
        check_device(self.name, sequence)
        model = model_of(spec, parameters, sequence.lengths is not None, batch_first=False)
        return run_network(model, spec, parameters, sequence, _info(spec), False, _outputs)


class ConvertedOnnx:
    """A converted .onnx file, run as it is there."""

    name = "onnxruntime"

    def __init__(self, path: Path, spec: Spec) -> None:
        if spec.dtype != "float32":
            raise EngineError(f"onnxruntime's RNN, LSTM and GRU compute only in float32, not in {spec.dtype}")
        self._model = read_model(path)

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        return run_network(self._model, spec, parameters, sequence, _info(spec), spec.batch_first, _outputs)


def _info(spec: Spec) -> EngineInfo:
    return EngineInfo("onnxruntime", onnxruntime.__version__, "cpu", spec.dtype)


def _outputs(model: ModelProto, feed: dict[str, Any]) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_ERRORS
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feed), strict=True))
    except _FAILURES as error:
        raise InputError(f"onnxruntime failed: {str(error).partition(chr(10))[0]}") from error


ENGINE, CONVERTED = OnnxruntimeEngine, ConvertedOnnx
