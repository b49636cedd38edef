"""A report as JSON. Arrays are base64 of little-endian numbers; the page unpacks them when they are looked at."""

from __future__ import annotations

import base64
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnspect.arithmetic.expression import Evaluation, Expression
from rnnspect.judging.verdict import Verdict
from rnnspect.reporting.data import Derivable, LayerReport, Report
from rnnspect.reporting.deriving import written
from rnnspect.reporting.downsampling import Picture
from rnnspect.views import documents
from rnnspect.views.check import numbers_of, summary
from rnnspect.views.expression import Piece, filled, levels, multiplied, words

_NAME = attrgetter("name")
_LEVELS = 2**16 - 1
EMPTY = 8
"""Flag of a cell that has no finite number."""


def report_document(report: Report) -> dict[str, Any]:
    spec = report.spec
    shapes = documents.shapes_document(report.shapes)
    width = "<f8" if spec.dtype == "float64" else "<f4"
    return {
        "format": "rnnspect.report",
        "version": 1,
        "spec": documents.spec_document(spec),
        "shapes": shapes,
        "gates": list(spec.cell_type.gates),
        "equations": list(spec.cell_type.equations),
        "written": {name: written(spec, name) for name in spec.cell_type.quantities},
        "verdict": _verdict(report.verdict),
        "engine": documents.engine_document(report.verdict.engine),
        "steps": report.steps,
        "items": report.items,
        "item": report.item,
        "length": report.length,
        "layers": [_layer(report, layer) for layer in report.layers],
        "weights": {name: picture_document(picture, width) for name, picture in report.weights.items()},
        "command": report.command,
        "recorded": report.recorded,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    checked = documents.check_document(verdict)
    kept = ["verdict", "first", "worst", "causes", "indistinguishable", "identities", "notes"]
    kept += ["resolution", "checked", "arithmetic", "pattern", "reason"]
    return {name: checked[name] for name in kept} | {"summary": summary(verdict), "lines": list(numbers_of(verdict))}


def _layer(report: Report, layer: LayerReport) -> dict[str, Any]:
    row = report.spec.row(layer.layer, layer.direction)
    return {
        "layer": layer.layer,
        "direction": layer.direction,
        "place": [row, report.item] if report.batched else [row],
        "maps": [
            {"quantity": quantity, "shown": shown, "picture": picture_document(picture)}
            for (quantity, shown), picture in layer.maps.items()
        ],
        "curves": [{"name": name, "picture": picture_document(picture)} for name, picture in layer.curves.items()],
        "saturated": layer.saturated,
        "derivable": _derivable(layer.derivable, report),
        "beside": layer.beside and {name: _array(values, "<f8") for name, values in vars(layer.beside).items()},
    }


def _derivable(derivable: Derivable, report: Report) -> dict[str, Any]:
    """The equations, as one list of expressions in which each stands after its operands, which are named by their place
    in the list; what is given at the kept steps, (steps, units); and how each quantity is written. Where the file does
    not hold every weight, a sum has `values` (steps, units) and a parameter `values` (units)."""
    given, hidden = list(derivable.given.values()), report.spec.hidden_size
    steps = [Evaluation(derivable.equations, derivable.parameters, one) for one in given]
    places: dict[Expression, int] = {}

    def place(one: Expression) -> int:
        for part in one.of:
            place(part)
        return places.setdefault(one, len(places))

    def placed(piece: Piece) -> Any:
        if isinstance(piece, list):
            return list(map(placed, piece))
        return piece if isinstance(piece, str) else places[piece]

    def exported(one: Expression) -> dict[str, Any]:
        document = vars(one) | {"of": [places[part] for part in one.of]}
        if one.kind == "sum":
            document |= {"vector": filled(multiplied(one), _NAME), "each": placed(multiplied(one))}
        if one.kind == "sum" and not report.weights[one.name].exact:
            document["values"] = _array(np.array([step.sums(one, hidden) for step in steps]), "<f8")
        if one.kind == "parameter" and not report.weights[one.name].exact:
            document["values"] = _array(np.array([steps[0].value(one, unit) for unit in range(hidden)]), "<f8")
        return document

    equations = {
        name: {"at": place(one), "words": placed(words(one, _NAME)), "levels": placed(list(levels(one)))}
        for name, one in derivable.equations.items()
    }
    return {
        "steps": list(derivable.given),
        "given": {name: _array(np.stack([one[name] for one in given]), "<f8") for name in given[0]},
        "expressions": list(map(exported, places)),
        "equations": equations,
    }


def picture_document(picture: Picture, width: str = "<f4") -> dict[str, Any]:
    """An exact picture as its numbers, of type `width`. Any other as two integers n of two bytes for each cell, which
    stand for the lowest and the highest number as `origin` + n · `step`, rounded outwards: no number is outside."""
    sizes: dict[str, Any] = {name: getattr(picture, name) for name in ("steps", "units", "per_step", "per_unit")}
    if picture.exact:
        return sizes | {"values": _array(picture.low, width)}
    there = picture.low <= picture.high
    origin = float(picture.low[there].min(initial=np.inf)) if there.any() else 0.0
    top = float(picture.high[there].max(initial=-np.inf)) if there.any() else 0.0
    # A little more than the span over the levels, so that no rounding leaves the highest number outside.
    step = max((top - origin) / _LEVELS * (1 + 2.0**-40), 2.0**-1074) if top > origin else 0.0
    low, high = np.where(there, picture.low, origin), np.where(there, picture.high, origin)
    down = np.clip(np.floor((low - origin) / (step or 1)), 0, _LEVELS)
    up = np.clip(np.ceil((high - origin) / (step or 1)), 0, _LEVELS)
    down -= (origin + down * step > low) & (down > 0)
    up += (origin + up * step < high) & (up < _LEVELS)
    flags = picture.flags | np.where(there, 0, EMPTY).astype(np.uint8)
    made = sizes | {"origin": origin, "step": step, "low": _array(down, "<u2"), "high": _array(up, "<u2")}
    return made | ({"flags": _array(flags, "|u1")} if flags.any() else {})


def _array(values: npt.NDArray[Any], dtype: str) -> dict[str, Any]:
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite on the page
        data = np.ascontiguousarray(values, dtype)
    return {"type": dtype[1:], "shape": list(values.shape), "data": base64.b64encode(data.tobytes()).decode("ascii")}
