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
    from rnnspect.running import Run
    from rnnspect.tracing import Trace


def run_arrays(run: Run) -> dict[str, Any]:
    named = {"output": run.output, "h_n": run.h_n, "c_n": run.c_n, "head": run.head}
    return _common(run) | {name: as_numpy(values) for name, values in named.items() if values is not None}


def trace_arrays(trace: Trace) -> dict[str, Any]:
    """Every quantity as l0.forward.i, the engine's as l0.forward.engine.h, and output, h_n … of both."""
    kept = _common(trace)
    for layer in trace.layers:
        place = f"l{layer.layer}.{layer.direction}"
        kept |= {f"{place}.{name}": as_numpy(values) for name, values in layer.quantities.items()}
        kept |= {f"{place}.engine.{name}": as_numpy(values) for name, values in layer.engine.items()}
    for name in ("output", "h_n", "c_n", "head"):
        if pair := getattr(trace, name):
            kept |= {f"manual.{name}": as_numpy(pair.manual), f"engine.{name}": as_numpy(pair.engine)}
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
