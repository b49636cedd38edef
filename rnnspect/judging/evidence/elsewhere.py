"""Weights that an engine may have in place of a layer's: those of another layer, or of another checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from rnnspect.judging.assumption import Assumption, At
from rnnspect.network.parameters import LayerParameters, suffix

_NAME = re.compile(r"(.+)_l([0-9]+)(_reverse)?")


@dataclass(frozen=True, eq=False)
class OtherWeights:
    """A network of another checkpoint."""

    name: str
    """Its name in messages."""
    parameters: Mapping[str, Tensor]
    """By PyTorch's names."""


@dataclass(frozen=True, eq=False)
class OtherLayer:
    """Another layer and direction. `weights` are those with the shapes of ours, by the names of `LayerParameters`, in
    float64."""

    place: str
    """layer 1 reverse; layer 0 of old.pt"""
    end: str
    """The end of the names of its parameters: _l1_reverse."""
    checkpoint: str | None
    """The name of the other checkpoint; None for the network itself."""
    weights: Mapping[str, Tensor]

    def called(self, names: tuple[str, ...]) -> str:
        """What it has in place of our parameters, by full names: weight_hh_l1; weight_hh_l1 of old.pt; where the name
        is the same, old.pt."""
        ours = " + ".join(names)
        theirs = " + ".join(name.rpartition("_l")[0] + self.end for name in names)
        if self.checkpoint is None:
            return theirs
        return self.checkpoint if ours == theirs else f"{theirs} of {self.checkpoint}"

    def in_place_of(self, ours: LayerParameters) -> LayerParameters:
        """Our parameters, replaced by the weights that it has."""
        return ours.with_changes(**self.weights)


def other_layers(assumed: Assumption, checkpoints: Iterable[OtherWeights]) -> tuple[OtherLayer, ...]:
    """Every other layer and direction of the network, then those of the checkpoints, that have a weight of the same
    shape as here. Weights of another dtype are rounded to ours."""
    own = {at: {name: p[name] for name in p.names} for at, p in assumed.stack.parameters.items() if at != assumed.at}
    every = [_layer(assumed, at, weights, None) for at, weights in own.items()]
    for one in checkpoints:
        every += [_layer(assumed, at, weights, one.name) for at, weights in layers_of(one)]
    return tuple(one for one in every if any(name.startswith("weight") for name in one.weights))


def layers_of(checkpoint: OtherWeights) -> Iterator[tuple[At, dict[str, Tensor]]]:
    """Each layer and direction with its weights, without the ends of their names."""
    found: dict[At, dict[str, Tensor]] = {}
    for name, of in checkpoint.parameters.items():
        if match := _NAME.fullmatch(name):
            at = int(match[2]), "reverse" if match[3] else "forward"
            found.setdefault(at, {})[match[1]] = of
    yield from found.items()


def _layer(assumed: Assumption, at: At, weights: Mapping[str, Tensor], checkpoint: str | None) -> OtherLayer:
    ours, (layer, direction) = assumed.p, at
    fitting = {
        name: of.detach().cpu().to(ours[name].dtype).double()
        for name, of in weights.items()
        if name in ours.names and of.shape == ours[name].shape
    }
    place = f"layer {layer}" + (" reverse" if direction == "reverse" else "")
    said = place if checkpoint is None else f"{place} of {checkpoint}"
    return OtherLayer(said, suffix(*at), checkpoint, fitting)
