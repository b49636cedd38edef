"""Gradients that were recorded by the names that a framework has for its arrays, such as Keras' recurrent_kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from rnnspect.checking.recording import as_recorded
from rnnspect.checking.recording_inputs import WhereArray
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts.interface import FORMS, Layout
from rnnspect.weights.layouts.packing import pack, unpack_gradients

PREFIX = "grad."
_LIKELIEST_FIRST = ("pytorch", "keras", "equinox")
"""Of several layouts with the same names."""


def by_torch_names(
    spec: Spec, arrays: Mapping[str, Any], own: Mapping[str, Tensor], where: WhereArray
) -> tuple[dict[str, Any], list[str]]:
    """The recorded arrays with the gradients of parameters by PyTorch's names, and a note where they had others: those
    of arrays of a layout, in a network of one layer and direction. weight_ih of nn.LSTMCell, without `_l0`, is such a
    name, too. `own` are the parameters by PyTorch's."""
    named = {name: given for name, given in arrays.items() if name.startswith(PREFIX)}
    asked = {"output", "h_n", "c_n", "x", "h0", "c0", *own}
    others = [name for name in named if name.removeprefix(PREFIX) not in asked]
    form = form_of(spec)
    if not others or len(spec.places) > 1 or form not in FORMS:
        return dict(arrays), []
    theirs = {name.removeprefix(PREFIX): as_recorded(named[name], where(name)) for name in others}
    unknown = {name: torch.full_like(value, torch.nan) for name, value in own.items()}
    layout, every = next(_fitting(spec, form, theirs, unknown), (None, {}))
    if layout is None:
        return dict(arrays), []
    zeros = {name: torch.zeros_like(values) for name, values in theirs.items()}
    known = unpack_gradients(layout, form, every | zeros).named(*spec.places[0])
    every = unpack_gradients(layout, form, every | theirs).named(*spec.places[0])
    found = {name: every[name] for name, values in known.items() if not bool(values.isnan().any())}
    kept = {name: given for name, given in arrays.items() if name not in others}
    note = f"the gradients of {', '.join(theirs)} are read in the layout {layout.name}"
    return kept | {PREFIX + name: values for name, values in found.items()}, [note]


def _fitting(
    spec: Spec, form: str, theirs: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
) -> Iterator[tuple[Layout, dict[str, Tensor]]]:
    """The layouts that have arrays of these names and shapes in a cell of this size, the likeliest first; with all
    arrays in which a layout holds the parameters."""
    first = [name for name in (spec.layout, *_LIKELIEST_FIRST) if name]
    for name in dict.fromkeys([*first, *layouts.names()]):
        layout = layouts.find(name)
        if form in layout.cells:
            every = pack(layout, form, LayerParameters.of(parameters, *spec.places[0], spec))
            if all(name in every and every[name].shape == values.shape for name, values in theirs.items()):
                yield layout, every
