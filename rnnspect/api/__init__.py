"""The library: the same answers as the commands, for a spec or a live module. Loads torch when it is called."""

from __future__ import annotations

from rnnspect.api.asserting import assert_agrees
from rnnspect.api.deriving import derive
from rnnspect.api.page import report
from rnnspect.api.proving import check
from rnnspect.api.seeing import gradients, shapes, trace
from rnnspect.api.sweeping import sweep
from rnnspect.checking.live.calls import Call, CallVerdict
from rnnspect.checking.live.watch import WatchedCalls, watch
from rnnspect.checking.sweep.result import Sweep
from rnnspect.errors import (
    DeviceError,
    EngineError,
    FileError,
    InputError,
    PackageError,
    ResourceError,
    RnnspectError,
    SequenceError,
    SpecError,
    WeightsError,
)
from rnnspect.judging.verdict import Explanation, GateResolution, Identity, Point, Verdict
from rnnspect.network import shown
from rnnspect.network.shapes import ModelShapes, Shapes
from rnnspect.network.spec import Spec
from rnnspect.network.spec_keys import Head
from rnnspect.reporting.data import Derivation, Report
from rnnspect.reporting.gradients.data import GradientDerivation
from rnnspect.tracing.gradient_reach_found import GradientPath, Reach
from rnnspect.tracing.gradients import Gradients, LayerGradient, ParameterGradient
from rnnspect.tracing.layers import LayerTrace
from rnnspect.tracing.trace import Pair, Trace

__all__ = [
    "Call", "CallVerdict", "Derivation", "DeviceError", "EngineError", "Explanation", "FileError", "GateResolution",
    "GradientDerivation", "GradientPath", "Gradients", "Head", "Identity", "InputError", "LayerGradient", "LayerTrace",
    "ModelShapes", "PackageError", "Pair", "ParameterGradient", "Point", "Reach", "Report", "ResourceError",
    "RnnspectError", "SequenceError", "Shapes", "Spec", "SpecError", "Sweep", "Trace", "Verdict", "WatchedCalls",
    "WeightsError", "assert_agrees", "check", "derive", "gradients", "report", "shapes", "sweep", "trace", "watch",
]  # fmt: skip


def _views() -> shown.Views:
    from rnnspect.views import notebook

    return notebook


shown.views = _views
