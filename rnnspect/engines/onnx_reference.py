"""onnx.reference, the operators of the ONNX package itself in numpy: slow, and each operator only in part.

It is also given settings that it silently ignores (sequence_lens, clip, input_forget; activations in LSTM and GRU): a
check has to find out that it did not compute what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from rnnspect.cells.functions import functions_of
from rnnspect.engines.interface import cannot, check_device, check_dtype, check_spec
from rnnspect.engines.shared.onnx_model import run_network
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.weights.writers.onnx import VARIANTS
from rnnspect.weights.writers.shared.onnx_graph import model_of

_DTYPES = ("float16", "float32", "float64")


class OnnxReferenceEngine:
    name = "onnx-reference"

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        check_spec(self.name, spec, VARIANTS, projection="ONNX's LSTM has none")
        _check_functions(self.name, spec)
        check_dtype(self.name, spec, _DTYPES, "numpy has no such dtype")
        check_device(self.name, sequence)
        model = model_of(spec, parameters, sequence.lengths is not None, batch_first=False)
        info = EngineInfo(self.name, onnx.__version__, "cpu", spec.dtype)
        return run_network(model, spec, parameters, sequence, info, False, self._outputs)

    def _outputs(self, model: onnx.ModelProto, feed: dict[str, Any]) -> dict[str, Any]:
        try:
            evaluator = ReferenceEvaluator(model)
        except RuntimeError as error:
            raise cannot(self.name, "this spec", f"onnx.reference reports: {error}") from error
        with np.errstate(all="ignore"):  # its 1 / (1 + exp(-x)) overflows on the way to 0
            return dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))


def _check_functions(engine: str, spec: Spec) -> None:
    """Only its RNN looks at the functions, and raises for most of them."""
    if spec.cell != "rnn":
        return
    for direction in spec.directions:
        if (phi := functions_of(spec.nonlinearity_of(direction)).phi).name not in ("tanh", "affine"):
            key = f"activations: [{phi}]" if spec.activations else f"nonlinearity: {phi}"
            raise cannot(engine, key, "onnx.reference's RNN knows only Tanh and Affine")


ENGINE = OnnxReferenceEngine
