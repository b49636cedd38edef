"""No gradient reaches a layer from the one above it: what it gives is detached in between. It shows in a pass that was
seen as a whole; layers that are run one by one are each given the gradient of their output."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption


def causes(seen: Seen) -> Iterator[BackwardCause]:
    if not seen.has_above:
        return
    layer = seen.assumed.layer
    yield BackwardCause(
        "grad-layer-detached",
        f"no gradient comes from layer {layer + 1} to layer {layer}, whose output is detached in between",
        f"Do not detach the output of layer {layer}; if layers are trained one by one, check each by itself.",
        _without,
        {"layer": layer},
    )


def _without(assumed: BackwardAssumption) -> BackwardAssumption:
    return assumed.with_back(upstream=torch.zeros_like(assumed.back.upstream))
