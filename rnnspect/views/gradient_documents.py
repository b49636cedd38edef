"""Gradients as a versioned JSON document: complete, and stable between releases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rnnspect.views.documents import engine_document, numbers, pair_document, spec_document

if TYPE_CHECKING:
    from rnnspect.tracing.gradients import Gradients, LayerGradient
    from rnnspect.tracing.reach import Reach


def gradients_document(found: Gradients) -> dict[str, Any]:
    """Sequences are [batch][step][unit]; padding is null."""
    lengths = found.lengths
    states = {name: found.given.get(name) for name in ("h0", "c0")}
    return {
        "format": "rnnspect.gradients",
        "version": 1,
        "spec": spec_document(found.spec),
        "sequence": {
            "x": numbers(found.given["x"], lengths),
            **{name: numbers(values) for name, values in states.items()},
            "lengths": lengths and list(lengths),
        },
        "engine": engine_document(found.engine),
        "loss": {"what": found.loss, "value": found.loss_value},
        "output": pair_document(found.output, lengths),
        "upstream": numbers(found.upstream, lengths),
        "layers": [_layer(layer, found) for layer in found.layers],
        "x": pair_document(found.x, lengths),
        "h0": pair_document(found.h0),
        "c0": pair_document(found.c0),
        "parameters": {
            name: {**(pair_document(one.gradient) or {}), "steps": numbers(one.steps)}
            for name, one in found.parameters.items()
        },
        "max_abs_difference": found.max_abs_difference if found.is_compared else None,
        "notes": list(found.notes),
    }


def _layer(layer: LayerGradient, found: Gradients) -> dict[str, Any]:
    return {
        "layer": layer.layer,
        "direction": layer.direction,
        "quantities": {name: numbers(values, found.lengths) for name, values in layer.quantities.items()},
        "pre_activations": {name: numbers(values, found.lengths) for name, values in layer.pre_activations.items()},
        "reach": _reach(layer.reach, found),
    }


def _reach(reach: Reach, found: Gradients) -> dict[str, Any]:
    items = range(found.batch)
    return {
        "norms": {name: [_known(values[item].tolist()) for item in items] for name, values in reach.norms.items()},
        "paths": [
            {
                "name": path.name,
                "ratios": [_known(path.ratios[item].tolist()) for item in items],
                "rate": [path.rate(item) for item in items],
                "blocked": [path.blocked(item) for item in items],
            }
            for path in reach.paths
        ],
        "saturated": dict(reach.saturated),
        "dead": list(reach.dead),
        "time_constants": None if reach.time_constants is None else reach.time_constants.tolist(),
        "spectral_radius": dict(reach.spectral_radius),
    }


def _known(values: list[float]) -> list[float | None]:
    """null where there is no number: beyond an item's length, or where no gradient goes in."""
    return [None if math.isnan(value) else value for value in values]
