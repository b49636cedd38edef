"""OpenVINO's RNNSequence, LSTMSequence and GRUSequence on the CPU, one for each layer and direction."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.engines.interface import check_device, check_dtype, check_spec
from rnnspect.engines.shared.layers import Place, Returned, run_layers
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec, form_of

_TELEMETRY = "openvino_telemetry"

# OpenVINO reports its import to its makers, unless the package that does so cannot be imported.
if _hidden := _TELEMETRY not in sys.modules:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
try:
    import openvino
    from openvino import opset5 as ops
finally:
    if _hidden:
        del sys.modules[_TELEMETRY]

_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
"""Without this setting it computes in bfloat16 where the processor can."""


class OpenvinoEngine:
    name = "openvino"
    piece: int | None = 1 << 16

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        check_spec(self.name, spec, ("reset", "reverse"), projection="LSTMSequence has none")
        check_dtype(self.name, spec, ("float32",), "its CPU plugin always computes in float32")
        check_device(self.name, sequence)
        version = openvino.__version__.partition("-")[0]
        info = EngineInfo(self.name, version, "cpu", spec.dtype, _PRECISION)
        return run_layers(spec, parameters, sequence, info, _run_one, "openvino")


def _run_one(place: Place, x: Tensor) -> Returned:
    """Its arrays are batch-major, with an axis of directions, which has size 1 here."""
    spec = place.spec
    given = [x.transpose(0, 1), *(initial[:, None] for initial in place.state)]
    inputs = [ops.parameter(list(array.shape), np.float32) for array in given]
    counts = ops.constant(np.array(place.lengths or [x.shape[0]] * x.shape[1], np.int32))
    packed = {name: ops.constant(array.numpy()[None]) for name, array in place.arrays.items()}
    options: dict[str, Any] = {"hidden_size": spec.hidden_size, "direction": place.direction}
    if spec.cell == "gru":
        options["linear_before_reset"] = form_of(spec) == "gru"
    if spec.cell == "rnn":
        options["activations"] = [spec.nonlinearity]
    operator = {"rnn": ops.rnn_sequence, "lstm": ops.lstm_sequence, "gru": ops.gru_sequence}[spec.cell]
    node = operator(*inputs, counts, packed["W"], packed["R"], packed["B"], **options)
    model = openvino.Model(node.outputs(), inputs, "layer")
    result = openvino.compile_model(model, "CPU", _PRECISION)([np.ascontiguousarray(array.numpy()) for array in given])
    output, *final = (torch.from_numpy(np.array(result[index]))[:, 0] for index in range(1 + len(place.state)))
    return output.transpose(0, 1), tuple(final)


ENGINE = OpenvinoEngine
