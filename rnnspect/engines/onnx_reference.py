"""onnx.reference, the operators of the ONNX package itself in numpy: slow, and of each operator a part only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from rnnspect.engines._limits import cannot, check_device, check_dtype, check_spec
from rnnspect.engines._onnx_graph import feed_of, graph_of, recording_of
from rnnspect.engines.interface import EngineInfo, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.sequence import Sequence
    from rnnspect.spec import Spec

_DTYPES = ("float16", "float32", "float64")


class OnnxReferenceEngine:
    """What it would pass over without a word is refused: sequence_lens; and its RNN knows Tanh and Affine alone."""

    name = "onnx-reference"

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        check_spec(self.name, spec, ("reset", "reverse"), projection="ONNX's LSTM has none")
        if spec.nonlinearity == "relu":
            raise cannot(self.name, "nonlinearity: relu", "onnx.reference's RNN knows only Tanh and Affine")
        if sequence.valid() is not None:
            raise cannot(self.name, "lengths", "onnx.reference ignores sequence_lens", "no lengths, or another engine")
        check_dtype(self.name, spec, _DTYPES, "numpy has no such numbers")
        check_device(self.name, sequence)
        model, notes = graph_of(spec, parameters, lengths=False)
        evaluator = ReferenceEvaluator(model)
        feed = feed_of(spec, sequence)
        feed.pop("sequence_lens", None)  # all are whole
        with np.errstate(all="ignore"):  # its 1 / (1 + exp(-x)) overflows on the way to 0
            given = dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))
        info = EngineInfo(self.name, onnx.__version__, "cpu", spec.dtype)
        # It stacks what it gives from reversed views, which torch does not take.
        solid = {name: np.ascontiguousarray(array) for name, array in given.items()}
        return recording_of(spec, parameters, sequence, info, solid, notes)


ENGINE = OnnxReferenceEngine
