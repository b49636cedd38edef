"""A report as JSON. Arrays are packed; the page unpacks them when they are looked at."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np

from rnnspect.arithmetic.chain_rule import names_of_pre_activations
from rnnspect.arithmetic.evaluation import Evaluation, Floats
from rnnspect.arithmetic.expression import POOLED, Expression, blocks_of
from rnnspect.network.equations import written_equations
from rnnspect.reporting.data import LayerReport, Report, RunReport
from rnnspect.reporting.deriving import written
from rnnspect.reporting.downsampling import Picture
from rnnspect.reporting.gradients.maps import GRADIENT
from rnnspect.views import documents, reach
from rnnspect.views.check import answer, lines_of
from rnnspect.views.expression import TextPiece, filled, levels, multiplied, over, pooled, words
from rnnspect.views.report.parameters import parameters_document
from rnnspect.views.report.pictures import about, array, exactly, picture_document, wide_picture_document

_NAME = attrgetter("source.name")


def report_document(report: Report) -> dict[str, Any]:
    """The first run stands at the top, others `beside` it. Where every step is kept (`whole`), the page derives what is
    shown of each quantity: its `maps` have no pictures."""
    spec = report.spec
    shapes = documents.shapes_document(report.shapes)
    return {
        "format": "rnnspect.report",
        "version": 3,
        "spec": documents.spec_document(spec),
        "shapes": shapes,
        "gates": list(spec.cell_type.gates),
        "pre_activations": list(names_of_pre_activations(spec.cell_type)),
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
        "loss": None if report.loss is None else vars(report.loss),
    }


def _run(report: Report, run: RunReport) -> dict[str, Any]:
    return {
        "name": run.name,
        "verdict": _verdict(run),
        "engine": documents.engine_document(run.verdict.engine),
        "recorded": run.recorded,
        "layers": [_layer(report, run, layer) for layer in run.layers],
        "parameters": parameters_document(run),
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
            {"quantity": quantity, "shown": shown, "picture": picture and _packed(picture, shown)}
            for (quantity, shown), picture in layer.maps.items()
        ],
        "curves": [{"name": name, "picture": picture_document(picture)} for name, picture in layer.curves.items()],
        "reach": _reach(report, layer),
        "saturated": layer.saturated,
        "derivable": _derivable(layer, report),
        "kept": _kept(report, run, layer),
    }


def _packed(picture: Picture, shown: str) -> dict[str, Any]:
    return wide_picture_document(picture) if shown == GRADIENT else picture_document(picture)


def _reach(report: Report, layer: LayerReport) -> dict[str, Any] | None:
    """How far the gradient reaches, where gradients are shown: in a sentence, what of the run decides it in a line
    each, and curves."""
    if layer.reach is None:
        return None
    gradient = layer.reach.gradient

    def curves(pictures: dict[str, Picture]) -> list[dict[str, Any]]:
        return [{"name": name, "picture": wide_picture_document(picture)} for name, picture in pictures.items()]

    return {
        "sentence": reach.sentence(gradient, report.item, report.length),
        "reasons": list(reach.reasons(gradient.reach)),
        "norms": curves(layer.reach.norms),
        "factors": curves(layer.reach.factors),
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
        "bound": None if kept.bound is None else about(kept.bound),
    }


def _elsewhere(report: Report, run: RunReport, layer: LayerReport) -> dict[str, Floats]:
    """What the page takes as x and as h of the step before, where it has every step."""
    below = [one.kept.gave["h"] for one in run.layers if one.layer == layer.layer - 1]
    given, gave = layer.kept.given["h"], layer.kept.gave["h"]
    reverse = layer.direction == "reverse"
    before = np.concatenate([gave[1:], given[-1:]] if reverse else [given[:1], gave[:-1]])
    return {"x": np.concatenate(below, 1) if below else report.layers[0].kept.given["x"], "h": before}


def _derivable(layer: LayerReport, report: Report) -> dict[str, Any]:
    """The equations, as one list of expressions in which each stands after its operands, which are named by their place
    in the list; how each quantity is written; the input projection, where there is no picture of it; and where the page
    derives their gradients, the pre-activations and these `gradients`. Where the file does not hold every weight, a sum
    has `values` (steps, units) and a parameter `values` (units)."""
    derivable = layer.derivable
    equations, parameters = derivable.equations, derivable.parameters
    steps = [] if report.whole else [layer.kept.at(place) for place in range(len(layer.kept.steps))]
    evaluated = [Evaluation(equations, parameters, one) for one in steps]
    places: dict[Expression, int] = {}

    def place(one: Expression) -> int:
        for part in one.of:
            place(part)
        return places.setdefault(one, len(places))

    def placed(piece: TextPiece) -> Any:
        if isinstance(piece, list):
            return list(map(placed, piece))
        return piece if isinstance(piece, str) else places[piece]

    def exported(one: Expression) -> dict[str, Any]:
        own = {"kind": one.kind, "name": one.name, "row": one.row, "numbers": one.numbers, "units": one.units}
        document = own | {"of": [places[part] for part in one.of]}
        if one.kind == "sum":
            document |= {"vector": filled(multiplied(one), _NAME), "each": placed(multiplied(one))}
        if one.kind in POOLED:
            document["said"] = f"{pooled(one, _NAME)} over {over(one)} units"
        if one.kind == "sum" and not report.weights[one.name].exact:
            document["values"] = array(np.array([step.sums(one, one.units) for step in evaluated]), "<f8")
        if one.kind == "parameter" and not report.weights[one.name].exact:
            document["values"] = array(np.array([evaluated[0].value(one, unit) for unit in range(one.units)]), "<f8")
        return document

    def equation(one: Expression, units: int, name: str = "") -> dict[str, Any]:
        at = place(one)
        if one.kind == "packed":
            blocks = [
                equation(block, block.units) | {"written": written(report.spec, report.spec.block(name, start)[0])}
                for start, block in blocks_of(one)
            ]
            return {"at": at, "units": units, "blocks": blocks}
        return {"at": at, "units": units, "words": placed(words(one, _NAME)), "levels": placed(list(levels(one)))}

    made = {"equations": {name: equation(one, report.spec.units(name), name) for name, one in equations.items()}}
    if (chain := derivable.chain) is not None:
        sizes = dict(zip(chain.values, report.spec.gate_sizes, strict=True))
        made["pre_activations"] = {name: equation(one, sizes[name]) for name, one in chain.values.items()}
        made["gradients"] = {name: equation(chain.gradients[name], sizes[name]) for name in chain.values}
    projection = None
    if report.whole:  # else there is a picture of it
        projection = {"at": place(derivable.projection), "units": sum(report.spec.gate_sizes)}
    return {"expressions": list(map(exported, places)), **made, "projection": projection}
