"""Results as versioned JSON documents: complete, and stable between releases.

Sequences are [batch][step][unit], states [layer·direction][batch][unit]; padding is null; NaN and infinities are
strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from rnnspect.views import json_text

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.arithmetic.evaluation import Evaluation
    from rnnspect.arithmetic.expression import Expression
    from rnnspect.judging.recovery import Recovery
    from rnnspect.judging.verdict import Point, Verdict
    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.shapes import Axes, ModelShapes, Shapes
    from rnnspect.network.spec import Spec
    from rnnspect.reporting.data import Derivation
    from rnnspect.tracing.trace import EngineRun, Pair, Run, Trace

_STATES = ("h_n", "c_n", "head")
_POINT = ("ratio", "layer", "direction", "step", "batch", "unit", "quantity", "manual", "engine", "bound")


def as_json(document: dict[str, Any] | list[dict[str, Any]], hidden: json_text.Hidden = json_text.escaped) -> str:
    """One line. Numbers that are not finite, which JSON lacks, are the strings "NaN", "Infinity" and "-Infinity"; what
    is invisible in a text, and may be obeyed, is escaped, or as `hidden` writes it."""
    try:
        return "".join(json_text.pieces(document, hidden)) + "\n"
    except ValueError:
        return "".join(json_text.pieces(json_text.finite(document), hidden)) + "\n"


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
                "gates": [dict(vars(gate)) for gate in parameter.gates],
                "count": parameter.count,
                "bytes": parameter.bytes,
            }
            for parameter in shapes.parameters
        ],
        "total": shapes.total,
        "bytes": shapes.bytes,
        "multiply_adds": shapes.multiply_adds,
        **{name: _axes(getattr(shapes, name)) for name in ("input", "output", *_STATES)},
    }


def model_document(model: ModelShapes) -> dict[str, Any]:
    return {
        "format": "rnnspect.model",
        "version": 1,
        "modules": [vars(part) for part in model.parts],
        "recurrent": [shapes_document(one) | {"name": name} for name, one in model.recurrent.items()],
    }


def run_document(run: Run) -> dict[str, Any]:
    return {
        "format": "rnnspect.run",
        "version": 1,
        **_given(run),
        "output": numbers(run.output, run.lengths),
        **{name: numbers(getattr(run, name)) for name in _STATES},
        "stack_difference": run.stack_difference,
        "notes": list(run.notes),
    }


def trace_document(trace: Trace) -> dict[str, Any]:
    return {
        "format": "rnnspect.trace",
        "version": 1,
        **_given(trace),
        "layers": [
            {
                "layer": layer.layer,
                "direction": layer.direction,
                "quantities": {name: numbers(values, trace.lengths) for name, values in layer.quantities.items()},
                "engine": {name: numbers(values, trace.lengths) for name, values in layer.engine.items()},
                "max_abs_difference": layer.max_abs_difference,
            }
            for layer in trace.layers
        ],
        "output": pair_document(trace.output, trace.lengths),
        **{name: pair_document(getattr(trace, name)) for name in _STATES},
        "max_abs_difference": trace.max_abs_difference,
        "stack_difference": trace.stack_difference,
        "notes": list(trace.notes),
    }


def check_document(verdict: Verdict, source: str | None = None) -> dict[str, Any]:
    resolution: dict[str, dict[str, Any]] = {}
    for line in verdict.resolution:
        resolution.setdefault(f"layer {line.layer} {line.direction}", {})[line.gate] = {
            "finest": line.finest,
            "median": line.median,
            "coarsest": line.coarsest,
            "coarsest_unit": line.coarsest_unit,
            "limit": verdict.telling,
            "coarse_units": line.coarse_units,
        }
    return {
        "format": "rnnspect.check",
        "version": 1,
        "source": source,
        "verdict": verdict.verdict,
        "backward": verdict.backward,
        "reason": verdict.reason,
        "arithmetic": verdict.arithmetic,
        "worst": _point(verdict.worst),
        "first": _point(verdict.first),
        "pattern": verdict.pattern,
        "found_by": verdict.found_by,
        "suspects": [vars(suspect) | {"certain": suspect.certain} for suspect in verdict.suspects],
        "recovered": _recovered(verdict.recovered),
        "causes": [vars(cause) for cause in verdict.causes],
        "indistinguishable": verdict.indistinguishable,
        "identities": [vars(identity) for identity in verdict.identities],
        "resolution": resolution,
        "observed": verdict.observed,
        "estimated": verdict.estimated,
        "checked": {"steps": verdict.steps, "values": verdict.values, "explained": verdict.cleared},
        "notes": verdict.notes,
        "spec": spec_document(verdict.spec),
        "engine": engine_document(verdict.engine),
    }


def _recovered(found: Recovery | None) -> dict[str, Any] | None:
    """Without the parameters, which are written to a file of their own."""
    if found is None:
        return None
    layers = [vars(one) | {"likenesses": [vars(like) for like in one.likenesses]} for one in found.layers]
    return {"layers": layers, "left_out": found.left_out, "compared": found.compared}


def derivation_document(derivation: Derivation) -> dict[str, Any]:
    """Every product of every sum; what a quantity names of the same step and unit has an equation of its own."""
    return {
        "format": "rnnspect.derivation",
        "version": 1,
        "spec": spec_document(derivation.spec),
        "engine": engine_document(derivation.engine),
        "arithmetic": derivation.arithmetic,
        "point": {
            "ratio": derivation.ratio,
            **vars(derivation.at),
            "manual": derivation.value,
            "engine": derivation.engine_value,
            "bound": derivation.bound,
        },
        "difference": derivation.difference,
        "taken": dict(derivation.taken),
        "equations": [
            {
                "address": one.address,
                "equation": one.written,
                **made(derivation.evaluation, derivation.names, one.expression, one.unit),
            }
            for one in derivation.equations
        ],
        "in_turn": [vars(one) for one in derivation.in_turn],
        "notes": derivation.notes,
    }


class Naming(Protocol):
    """The names of the numbers in an equation."""

    def vector(self, one: Expression) -> str: ...

    def address(self, one: Expression, unit: int | str) -> str: ...


def made(evaluation: Evaluation, names: Naming, one: Expression, unit: int) -> dict[str, Any]:
    """A value, and the operation that made it."""
    from rnnspect.arithmetic.evaluation import largest_first  # with torch, which most documents do without
    from rnnspect.arithmetic.expression import POOLED, SUMS

    one, unit = one.place(unit)
    value: dict[str, Any] = {"value": evaluation.value(one, unit)}
    if one.kind in SUMS:
        weights, _, products = evaluation.factors(one, unit)
        listed = [
            {
                "weight": {
                    "address": f"{one.name}[{one.row + (unit if one.kind == 'sum' else k)}, "
                    f"{k if one.kind == 'sum' else unit}]",
                    "value": float(weights[k]),
                },
                "operand": _operand(evaluation, names, one.of[0], k),
                "value": float(products[k]),
            }
            for k in largest_first(products)
        ]
        return value | {"operation": "sum of products", "products": listed}
    if one.kind in POOLED:
        return value | {"operation": one.kind, "numbers": list(one.numbers[1:]), "values": evaluation.pooled(one, unit)}
    if not one.of:
        return value | _named(names, one, unit)
    numbers = {} if one.kind in ("+", "−", "·") else {"numbers": list(one.numbers)}
    operands = [_operand(evaluation, names, operand, unit) for operand in one.of]
    return value | {"operation": one.kind} | numbers | {"operands": operands}


def _operand(evaluation: Evaluation, names: Naming, one: Expression, unit: int) -> dict[str, Any]:
    """What has an address is not taken apart again."""
    one, unit = one.place(unit)
    if not one.of:
        return _named(names, one, unit) | {"value": evaluation.value(one, unit)}
    return made(evaluation, names, one, unit)


def _named(names: Naming, one: Expression, unit: int) -> dict[str, Any]:
    return {} if one.kind == "number" else {"address": names.address(one, unit)}


def spec_document(spec: Spec) -> dict[str, Any]:
    """Every key, every default filled in."""
    return spec.model_dump(mode="json")


def engine_document(engine: EngineInfo) -> dict[str, Any]:
    return dict(vars(engine))


def numbers(values: Tensor | None, lengths: tuple[int, ...] | None = None) -> Any:
    """Nested lists; with lengths, the steps of each item beyond its own are null."""
    if values is None:
        return None
    lists = _lists(values)
    if lengths is not None:
        steps = values.shape[1]
        lists = [[*item[:length], *[None] * (steps - length)] for item, length in zip(lists, lengths, strict=True)]
    return lists


def _lists(values: Tensor) -> list[Any]:
    """As `tolist`, by calls that are short."""
    if values.dim() < 2 or values.numel() <= json_text.TOGETHER:
        return values.tolist()
    rows = json_text.TOGETHER // max(1, values[0].numel())
    if not rows:
        return list(map(_lists, values))
    return [row for piece in values.split(rows) for row in piece.tolist()]  # type: ignore[no-untyped-call]


def _given(result: EngineRun) -> dict[str, Any]:
    return {
        "spec": spec_document(result.spec),
        "sequence": {
            "x": numbers(result.x, result.lengths),
            "h0": numbers(result.h0),
            "c0": numbers(result.c0),
            "lengths": result.lengths and list(result.lengths),
        },
        "engine": engine_document(result.engine),
    }


def pair_document(pair: Pair | None, lengths: tuple[int, ...] | None = None) -> dict[str, Any] | None:
    if pair is None:
        return None
    theirs = None if pair.engine is None else numbers(pair.engine, lengths)
    return {"manual": numbers(pair.manual, lengths), "engine": theirs}


def _axes(axes: Axes | None) -> dict[str, Any] | None:
    return None if axes is None else {"shape": list(axes.shape), "axes": list(axes.names)}


def _point(point: Point | None) -> dict[str, Any] | None:
    """A final state has no step."""
    if point is None:
        return None
    return {name: getattr(point, name) for name in _POINT} | {"step": None if point.step < 0 else point.step}
