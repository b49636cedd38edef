"""Gradients that were recorded by the names that a framework has for its arrays, such as Keras' recurrent_kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from rnnspect.checking.recording import as_recorded
from rnnspect.checking.recording_inputs import WhereArray
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts.interface import FORMS, Layout, fitting
from rnnspect.weights.layouts.packing import unpack_gradients

PREFIX = "grad."
_LIKELIEST_FIRST = ("pytorch", "keras", "equinox")
"""Of several layouts with the same names."""


def by_torch_names(
    spec: Spec, arrays: Mapping[str, Any], own: Collection[str], where: WhereArray
) -> tuple[dict[str, Any], list[str]]:
    """The recorded arrays with the gradients of parameters by PyTorch's names, and a note where they had others: those
    of all arrays of a layout, in a network of one layer and direction. weight_ih of nn.LSTMCell, without `_l0`, is such
    a name, too. `own` are PyTorch's."""
    named = {name: given for name, given in arrays.items() if name.startswith(PREFIX)}
    asked = {"output", "h_n", "c_n", "x", "h0", "c0", *own}
    others = [name for name in named if name.removeprefix(PREFIX) not in asked]
    form = form_of(spec)
    if not others or len(spec.places) > 1 or form not in FORMS:
        return dict(arrays), []
    theirs = {name.removeprefix(PREFIX): as_recorded(named[name], where(name)) for name in others}
    layout = next(_fitting(spec, form, theirs), None)
    if layout is None:
        return dict(arrays), []
    found = unpack_gradients(layout, form, theirs).named(*spec.places[0])
    kept = {name: given for name, given in arrays.items() if name not in others}
    note = f"the gradients of {', '.join(theirs)} are read in the layout {layout.name}"
    return kept | {PREFIX + name: values for name, values in found.items()}, [note]


def _fitting(spec: Spec, form: str, theirs: Mapping[str, Tensor]) -> Iterator[Layout]:
    """The layouts of which these are the arrays of a cell of this size, the likeliest first."""
    shapes = {name: tuple(values.shape) for name, values in theirs.items()}
    first = [name for name in (spec.layout, *_LIKELIEST_FIRST) if name]
    for name in dict.fromkeys([*first, *layouts.names()]):
        layout = layouts.find(name)
        sizes = fitting(layout.cells[form], shapes) if form in layout.cells else None
        if sizes and (sizes.input_size, sizes.hidden_size) == (spec.input_size, spec.hidden_size):
            yield layout
