"""Results as named numpy arrays, for .npz files.

Sequences are [batch][step][unit], states [layer·direction][batch][unit]; NaN stands beyond an item's length in a
layer's quantities. The spec is kept beside them as JSON text.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnspect.judging.verdict import GateResolution, Point
from rnnspect.tracing.trace import as_numpy
from rnnspect.views.documents import spec_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from rnnspect.causes.probing import Probe
    from rnnspect.judging.verdict import Verdict
    from rnnspect.network.parameters import Shapes
    from rnnspect.tracing.run import Run
    from rnnspect.tracing.trace import Trace

_OF_A_TYPE = {"str": "U", "int": "i8", "float": "f8"}


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


def verdict_arrays(verdict: Verdict) -> dict[str, Any]:
    """`worst` and `first` as a `Point` or none, `resolution` as every `GateResolution`."""
    return {
        "worst": _rows(Point, [verdict.worst] if verdict.worst else []),
        "first": _rows(Point, [verdict.first] if verdict.first else []),
        "resolution": _rows(GateResolution, verdict.resolution),
    }


def shapes_arrays(shapes: Shapes) -> dict[str, Any]:
    """`parameters` (name, rows, columns, count, bytes) and `gates` (parameter, gate, start, stop)."""
    parameters = [(one.name, *(*one.shape, 1)[:2], one.count, one.bytes) for one in shapes.parameters]
    gates = [(one.name, gate.name, gate.start, gate.stop) for one in shapes.parameters for gate in one.gates]
    sizes = dict.fromkeys(("rows", "columns", "count", "bytes"), "i8")
    return {
        "parameters": _structured(parameters, {"name": "U"} | sizes),
        "gates": _structured(gates, {"parameter": "U", "gate": "U", "start": "i8", "stop": "i8"}),
    }


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


def _rows(kind: type[Point | GateResolution], rows: Sequence[Point | GateResolution]) -> Any:
    """The fields of a class, a column each."""
    columns = {field.name: _OF_A_TYPE[str(field.type)] for field in fields(kind)}
    return _structured([tuple(getattr(row, name) for name in columns) for row in rows], columns)


def _structured(rows: Sequence[tuple[Any, ...]], columns: dict[str, str]) -> Any:
    """Text as wide as the longest of its column: numpy keeps no other, and objects would be pickled."""
    wide = [max((len(str(row[at])) for row in rows), default=1) for at in range(len(columns))]
    dtype = [
        (name, f"U{size}" if kind == "U" else kind) for (name, kind), size in zip(columns.items(), wide, strict=True)
    ]
    return np.array(rows, dtype)


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
