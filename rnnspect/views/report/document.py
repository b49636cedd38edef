"""A report as JSON. Arrays are base64 of little-endian numbers; the page unpacks them when they are looked at."""

from __future__ import annotations

import base64
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnspect.arithmetic.expression import Evaluation, Expression
from rnnspect.network.equations import written_equations
from rnnspect.reporting.data import LayerReport, Report, RunReport
from rnnspect.reporting.deriving import written
from rnnspect.reporting.downsampling import Picture
from rnnspect.views import documents
from rnnspect.views.check import answer, lines_of
from rnnspect.views.expression import Piece, filled, levels, multiplied, words

Array = npt.NDArray[np.float64]

_NAME = attrgetter("name")
_LEVELS = 2**16 - 1
EMPTY = 8
"""Flag of a cell that has no finite number."""


def report_document(report: Report) -> dict[str, Any]:
    """The first run stands at the top, others `beside` it. Where every step is kept (`whole`), the page derives what is
    shown of each quantity: its `maps` have no pictures."""
    spec = report.spec
    shapes = documents.shapes_document(report.shapes)
    return {
        "format": "rnnspect.report",
        "version": 2,
        "spec": documents.spec_document(spec),
        "shapes": shapes,
        "gates": list(spec.cell_type.gates),
        "written": {name: written(spec, name) for name in spec.cell_type.quantities},
        **_run(report, report.runs[0]),
        "beside": [_run(report, run) for run in report.runs[1:]],
        "steps": report.steps,
        "items": report.items,
        "item": report.item,
        "length": report.length,
        "whole": report.whole,
        "kept": None if report.whole else list(report.layers[0].kept.steps),
        "x": exactly(report.layers[0].kept.given["x"]) if report.whole else None,
        "weights": {name: picture_document(picture, exact=True) for name, picture in report.weights.items()},
        "command": report.command,
    }


def _run(report: Report, run: RunReport) -> dict[str, Any]:
    return {
        "name": run.name,
        "verdict": _verdict(run),
        "engine": documents.engine_document(run.verdict.engine),
        "recorded": run.recorded,
        "layers": [_layer(report, run, layer) for layer in run.layers],
    }


def _verdict(run: RunReport) -> dict[str, Any]:
    verdict = run.verdict
    checked = documents.check_document(verdict)
    kept = ["verdict", "first", "worst", "causes", "indistinguishable", "identities", "notes"]
    kept += ["resolution", "checked", "arithmetic", "pattern", "reason"]
    said = {"summary": answer(verdict, run.subject), "lines": list(lines_of(verdict))}
    return {name: checked[name] for name in kept} | said


def _layer(report: Report, run: RunReport, layer: LayerReport) -> dict[str, Any]:
    row = report.spec.row(layer.layer, layer.direction)
    return {
        "layer": layer.layer,
        "direction": layer.direction,
        "equations": list(written_equations(report.spec, layer.direction)),
        "place": [row, report.item] if report.batched else [row],
        "maps": [
            {"quantity": quantity, "shown": shown, "picture": picture and picture_document(picture)}
            for (quantity, shown), picture in layer.maps.items()
        ],
        "curves": [{"name": name, "picture": picture_document(picture)} for name, picture in layer.curves.items()],
        "saturated": layer.saturated,
        "derivable": _derivable(layer, report),
        "kept": _kept(report, run, layer),
    }


def _kept(report: Report, run: RunReport, layer: LayerReport) -> dict[str, Any]:
    """What the layer was given and gave at the kept steps, (steps, units). Of what it was given, null is what the file
    holds elsewhere: x is that of the network or h of the layers below, and h is that of the step before, after h0."""
    kept = layer.kept
    elsewhere = _elsewhere(report, run, layer) if report.whole else {}
    same = {name: np.array_equal(kept.given[name], values, equal_nan=True) for name, values in elsewhere.items()}
    first = -1 if layer.direction == "reverse" else 0
    return {
        "given": {name: None if same.get(name) else exactly(values) for name, values in kept.given.items()},
        "h0": exactly(kept.given["h"][first]) if same.get("h") else None,
        "gave": {name: exactly(values) for name, values in kept.gave.items()},
        "bound": None if kept.bound is None else _about(kept.bound),
    }


def _elsewhere(report: Report, run: RunReport, layer: LayerReport) -> dict[str, Array]:
    """What the page takes as x and as h of the step before, where it has every step."""
    below = [one.kept.gave["h"] for one in run.layers if one.layer == layer.layer - 1]
    given, gave = layer.kept.given["h"], layer.kept.gave["h"]
    reverse = layer.direction == "reverse"
    before = np.concatenate([gave[1:], given[-1:]] if reverse else [given[:1], gave[:-1]])
    return {"x": np.concatenate(below, 1) if below else report.layers[0].kept.given["x"], "h": before}


def _derivable(layer: LayerReport, report: Report) -> dict[str, Any]:
    """The equations, as one list of expressions in which each stands after its operands, which are named by their place
    in the list; how each quantity is written; and the input projection, where there is no picture of it. Where the file
    does not hold every weight, a sum has `values` (steps, units) and a parameter `values` (units)."""
    derivable, hidden = layer.derivable, report.spec.hidden_size
    equations, parameters = derivable.equations, derivable.parameters
    steps = [] if report.whole else [layer.kept.at(place) for place in range(len(layer.kept.steps))]
    evaluated = [Evaluation(equations, parameters, one) for one in steps]
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
            document["values"] = _array(np.array([step.sums(one, hidden) for step in evaluated]), "<f8")
        if one.kind == "parameter" and not report.weights[one.name].exact:
            document["values"] = _array(np.array([evaluated[0].value(one, unit) for unit in range(hidden)]), "<f8")
        return document

    made = {
        name: {
            "at": place(one),
            "units": report.spec.output_size if name == "h" else hidden,
            "words": placed(words(one, _NAME)),
            "levels": placed(list(levels(one))),
        }
        for name, one in equations.items()
    }
    projection = None
    if report.whole:  # else there is a picture of it
        projection = {"at": place(derivable.projection), "units": hidden * len(report.spec.cell_type.gates)}
    return {"expressions": list(map(exported, places)), "equations": made, "projection": projection}


def picture_document(picture: Picture, exact: bool = False) -> dict[str, Any]:
    """A picture of every number as these numbers, in float32 unless they have to be `exact`. Any other as two integers
    n of two bytes for each cell, which stand for the lowest and the highest number as `origin` + n · `step`, rounded
    outwards: no number is outside."""
    sizes: dict[str, Any] = {name: getattr(picture, name) for name in ("steps", "units", "per_step", "per_unit")}
    if picture.exact:
        return sizes | {"values": exactly(picture.low) if exact else _array(picture.low, "<f4")}
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


def exactly(values: Array) -> dict[str, Any]:
    """As float32 where that holds every number, else as float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
    return _array(values, "<f4" if np.array_equal(narrow, values, equal_nan=True) else "<f8")


def _about(bound: Array) -> dict[str, Any]:
    """To seven digits, as float32; as float64 where one is beyond its range."""
    small, large = bound[bound > 0].min(initial=1), bound[np.isfinite(bound)].max(initial=0)
    return _array(bound, "<f4" if small >= 2.0**-126 and large < 2.0**127 else "<f8")


def _array(values: npt.NDArray[Any], dtype: str) -> dict[str, Any]:
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite on the page
        data = np.ascontiguousarray(values, dtype)
    return {"type": dtype[1:], "shape": list(values.shape), "data": base64.b64encode(data.tobytes()).decode("ascii")}
