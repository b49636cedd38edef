"""Results as named numpy arrays, for .npz files.

Sequences are [batch][step][unit], states [layer·direction][batch][unit]; NaN stands beyond an item's length in a
layer's quantities. The spec is kept beside them as JSON text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnspect.tracing import as_numpy
from rnnspect.views.documents import spec_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.probing import Probe
    from rnnspect.running import Run
    from rnnspect.tracing import Trace


def run_arrays(run: Run, parameters: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """With the parameters by PyTorch's names it is all that an implementation in another language needs."""
    named = {"output": run.output, "h_n": run.h_n, "c_n": run.c_n, "head": run.head}
    own = {name: values.cpu() for name, values in (parameters or {}).items()}
    return _common(run) | {name: as_numpy(values) for name, values in (named | own).items() if values is not None}


def trace_arrays(*traces: Trace) -> dict[str, Any]:
    """Every quantity as l0.forward.i, the engine's as l0.forward.engine.h, and output, h_n … of both.

    Of several engines each has its name in it: l0.forward.engine.keras.h, engine.keras.output.
    """
    kept = _common(traces[0])
    for trace in traces:
        engine = "engine" if len(traces) == 1 else f"engine.{trace.engine.name}"
        for layer in trace.layers:
            place = f"l{layer.layer}.{layer.direction}"
            if trace is traces[0]:
                kept |= {f"{place}.{name}": as_numpy(values) for name, values in layer.quantities.items()}
            kept |= {f"{place}.{engine}.{name}": as_numpy(values) for name, values in layer.engine.items()}
        for name in ("output", "h_n", "c_n", "head"):
            if pair := getattr(trace, name):
                kept |= {f"manual.{name}": as_numpy(pair.manual), f"{engine}.{name}": as_numpy(pair.engine)}
    return kept


def probe_arrays(probe: Probe) -> dict[str, Any]:
    """All that an implementation needs to run it. x is in the layout that the spec asks for."""
    sequence = probe.sequence
    kept = {"spec": np.array(json.dumps(spec_document(probe.spec) | {"lengths": None}))}
    kept |= {name: as_numpy(values) for name, values in probe.parameters.items()}
    x = sequence.x.transpose(0, 1) if probe.spec.batch_first else sequence.x
    kept |= {"x": as_numpy(x.contiguous()), "h0": as_numpy(sequence.h0)}
    if sequence.c0 is not None:
        kept["c0"] = as_numpy(sequence.c0)
    if sequence.lengths is not None:
        kept["lengths"] = np.array(sequence.lengths)
    return kept


def _common(result: Run | Trace) -> dict[str, Any]:
    kept = {
        "spec": np.array(json.dumps(spec_document(result.spec))),
        "x": as_numpy(result.x),
        "h0": as_numpy(result.h0),
    }
    if result.c0 is not None:
        kept["c0"] = as_numpy(result.c0)
    if result.lengths is not None:
        kept["lengths"] = np.array(result.lengths)
    return kept
