"""Results as versioned JSON documents: complete, and stable between releases.

Sequences are [batch][step][unit], states [layer·direction][batch][unit]; padding is null; NaN and infinities are
strings.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.arithmetic.expression import Expression
    from rnnspect.judging.verdict import Point, Verdict
    from rnnspect.network.parameters import Axes, Shapes
    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.spec import Spec
    from rnnspect.reporting.derivation import Derivation
    from rnnspect.tracing.run import Run
    from rnnspect.tracing.trace import Pair, Trace


def as_json(document: dict[str, Any] | list[dict[str, Any]]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def shapes_document(shapes: Shapes) -> dict[str, Any]:
    return {
        "format": "rnnspect.shapes",
        "version": 1,
        "spec": spec_document(shapes.spec),
        "module": shapes.module,
        "parameters": [
            {
                "name": parameter.name,
                "shape": list(parameter.shape),
                "reads": parameter.reads,
                "gates": [{"name": gate.name, "start": gate.start, "stop": gate.stop} for gate in parameter.gates],
                "count": parameter.count,
                "bytes": parameter.bytes,
            }
            for parameter in shapes.parameters
        ],
        "total": shapes.total,
        "bytes": shapes.bytes,
        "input": _axes(shapes.input),
        "output": _axes(shapes.output),
        "h_n": _axes(shapes.h_n),
        "c_n": _axes(shapes.c_n),
        "head": _axes(shapes.head),
    }


def run_document(run: Run) -> dict[str, Any]:
    return {
        "format": "rnnspect.run",
        "version": 1,
        "spec": spec_document(run.spec),
        "sequence": _sequence(run),
        "engine": engine_document(run.engine),
        "output": numbers(run.output, run.lengths),
        "h_n": numbers(run.h_n),
        "c_n": None if run.c_n is None else numbers(run.c_n),
        "head": None if run.head is None else numbers(run.head),
        "stack_difference": _number(run.stack_difference),
    }


def trace_document(trace: Trace) -> dict[str, Any]:
    return {
        "format": "rnnspect.trace",
        "version": 1,
        "spec": spec_document(trace.spec),
        "sequence": _sequence(trace),
        "engine": engine_document(trace.engine),
        "layers": [
            {
                "layer": layer.layer,
                "direction": layer.direction,
                "quantities": {name: numbers(values, trace.lengths) for name, values in layer.quantities.items()},
                "engine": {name: numbers(values, trace.lengths) for name, values in layer.engine.items()},
                "max_abs_difference": _number(layer.max_abs_difference),
            }
            for layer in trace.layers
        ],
        "output": _pair(trace.output, trace.lengths),
        "h_n": _pair(trace.h_n),
        "c_n": _pair(trace.c_n),
        "head": _pair(trace.head),
        "max_abs_difference": _number(trace.max_abs_difference),
        "stack_difference": _number(trace.stack_difference),
        "notes": list(trace.notes),
    }


def derivation_document(derivation: Derivation) -> dict[str, Any]:
    """Every product of every sum; what a quantity names of the same step and unit has an equation of its own."""
    at = derivation.at
    return {
        "format": "rnnspect.derivation",
        "version": 1,
        "spec": spec_document(derivation.spec),
        "engine": engine_document(derivation.engine),
        "arithmetic": derivation.arithmetic,
        "point": {
            "ratio": _number(derivation.ratio),
            **vars(at),
            "manual": _number(derivation.value),
            "engine": _number(derivation.engine_value),
            "bound": _number(derivation.bound),
        },
        "difference": _number(derivation.difference),
        "taken": dict(derivation.taken),
        "equations": [
            {"address": one.address, "equation": one.written, **_made(derivation, one.expression, at.unit)}
            for one in derivation.equations
        ],
        "in_turn": [vars(one) for one in derivation.in_turn],
        "notes": list(derivation.notes),
    }


def _made(derivation: Derivation, one: Expression, unit: int) -> dict[str, Any]:
    """A value, and the operation that made it."""
    from rnnspect.arithmetic.expression import largest_first  # with torch, which most documents do without

    value: dict[str, Any] = {"value": _number(derivation.evaluation.value(one, unit))}
    if one.kind == "sum":
        weights, _, products = derivation.evaluation.factors(one, unit)
        listed = [
            {
                "weight": {"address": f"{one.name}[{one.row + unit}, {k}]", "value": _number(float(weights[k]))},
                "operand": _operand(derivation, one.of[0], k),
                "value": _number(float(products[k])),
            }
            for k in largest_first(products)
        ]
        return value | {"operation": "sum of products", "products": listed}
    if not one.of:
        return value
    numbers = {} if one.kind in ("+", "−", "·") else {"numbers": list(one.numbers)}
    operands = [_operand(derivation, operand, unit) for operand in one.of]
    return value | {"operation": one.kind} | numbers | {"operands": operands}


def _operand(derivation: Derivation, one: Expression, unit: int) -> dict[str, Any]:
    """What has an address is not taken apart again."""
    if one.kind in ("given", "quantity", "parameter"):
        value = _number(derivation.evaluation.value(one, unit))
        return {"address": derivation.names.address(one, unit), "value": value}
    return _made(derivation, one, unit)


def spec_document(spec: Spec) -> dict[str, Any]:
    """Every key, every default filled in."""
    return spec.model_dump(mode="json")


def numbers(values: Tensor, lengths: tuple[int, ...] | None = None) -> list[Any]:
    """Nested lists; with lengths, the steps of each item beyond its own are null."""
    lists: list[Any] = values.tolist()
    if lengths is not None:
        steps = values.shape[1]
        lists = [[*item[:length], *[None] * (steps - length)] for item, length in zip(lists, lengths, strict=True)]
    return lists if bool(values.isfinite().all()) else _spelled(lists)


def _spelled(values: Any) -> Any:
    return [_spelled(item) for item in values] if isinstance(values, list) else _number(values)


def _number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _sequence(result: Run | Trace) -> dict[str, Any]:
    return {
        "x": numbers(result.x, result.lengths),
        "h0": numbers(result.h0),
        "c0": None if result.c0 is None else numbers(result.c0),
        "lengths": None if result.lengths is None else list(result.lengths),
    }


def engine_document(engine: EngineInfo) -> dict[str, Any]:
    return {
        "name": engine.name,
        "version": engine.version,
        "device": engine.device,
        "dtype": engine.dtype,
        "precision": engine.precision,
    }


def _pair(pair: Pair | None, lengths: tuple[int, ...] | None = None) -> dict[str, Any] | None:
    if pair is None:
        return None
    return {"manual": numbers(pair.manual, lengths), "engine": numbers(pair.engine, lengths)}


def _axes(axes: Axes | None) -> dict[str, Any] | None:
    return None if axes is None else {"shape": list(axes.shape), "axes": list(axes.names)}


def check_document(verdict: Verdict, source: str | None = None) -> dict[str, Any]:
    resolution: dict[str, dict[str, Any]] = {}
    for line in verdict.resolution:
        resolution.setdefault(f"layer {line.layer} {line.direction}", {})[line.gate] = {
            "finest": _number(line.finest),
            "median": _number(line.median),
            "coarsest": _number(line.coarsest),
            "coarsest_unit": line.coarsest_unit,
            "limit": verdict.telling,
            "coarse_units": line.coarse_units,
        }
    return {
        "format": "rnnspect.check",
        "version": 1,
        "source": source,
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "arithmetic": verdict.arithmetic,
        "worst": _point(verdict.worst),
        "first": _point(verdict.first),
        "pattern": verdict.pattern,
        "causes": [
            {
                "name": cause.name,
                "family": cause.family,
                "parameters": cause.parameters,
                "explanation": cause.explanation,
                "fix": cause.fix,
                "worst_ratio_before": _number(cause.worst_ratio_before),
                "worst_ratio_after": _number(cause.worst_ratio_after),
                "scope": list(cause.scope),
                "left": list(cause.left),
                "together": list(cause.together),
            }
            for cause in verdict.causes
        ],
        "indistinguishable": [list(names) for names in verdict.indistinguishable],
        "identities": [
            {"name": one.name, "holds": one.holds, "evidence": one.evidence, "usual": one.usual}
            for one in verdict.identities
        ],
        "resolution": resolution,
        "observed": list(verdict.observed),
        "estimated": list(verdict.estimated),
        "checked": {"steps": verdict.steps, "values": verdict.values, "explained": verdict.explained},
        "notes": list(verdict.notes),
        "spec": spec_document(verdict.spec),
        "engine": engine_document(verdict.engine),
    }


def _point(point: Point | None) -> dict[str, Any] | None:
    if point is None:
        return None
    return {
        "ratio": _number(point.ratio),
        "layer": point.layer,
        "direction": point.direction,
        "step": None if point.step < 0 else point.step,
        "batch": point.batch,
        "unit": point.unit,
        "quantity": point.quantity,
        "manual": _number(point.manual),
        "engine": _number(point.engine),
        "bound": _number(point.bound),
    }
