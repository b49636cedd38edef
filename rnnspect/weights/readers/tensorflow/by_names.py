"""The recurrent cells among the variables of a checkpoint that comes without its graph, by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from rnnspect.files.reading import Stored
from rnnspect.weights import layouts
from rnnspect.weights.layouts import Packing
from rnnspect.weights.readers.tensorflow.cells import DIAGONALS, TensorFlowCell, in_order

_LAYOUTS = ("tf1", "keras", "keras-cudnn")
_EARLY = {"weights": "kernel", "biases": "bias"}
"""Names before TensorFlow 1.2."""
_CELL = re.compile(r"(lstm)|(gru)|(rnn)|cell", re.IGNORECASE)
_FORMS = ("lstm", "gru", "rnn")


def cells_in(stored: Mapping[str, Stored], taken: Collection[str] = ()) -> list[TensorFlowCell]:
    """The cells that names and shapes allow, in the order of the file, without the tensors that are taken already."""
    left = [name for name in stored if name not in taken]
    every = [
        cell
        for layout in _LAYOUTS
        for packing in layouts.find(layout).packings
        for prefix, arrays in _groups(packing, left).items()
        if (cell := _cell(layout, packing, prefix, arrays, stored))
    ]
    found = {frozenset(cell.arrays.values()): cell for cell in reversed(every)}
    return in_order(found, stored)


def _groups(packing: Packing, names: Collection[str]) -> dict[str, dict[str, str]]:
    """By what stands before them the names in the file, by the layout's names."""
    groups: dict[str, dict[str, str]] = {}
    longest = sorted(packing.arrays, key=len, reverse=True)
    for name in names:
        before, _, last = name.removesuffix(":0").rpartition("/")
        usual = f"{before}/{_EARLY.get(last, last)}"
        if known := next((one for one in longest if usual.endswith(f"/{one}")), None):
            groups.setdefault(usual.removesuffix(known).strip("/"), {}).setdefault(known, name)
    return groups


def _cell(
    layout: str, packing: Packing, prefix: str, arrays: dict[str, str], stored: Mapping[str, Stored]
) -> TensorFlowCell | None:
    """A kernel and a bias may be a Dense layer's: only where the name says LSTM, GRU, RNN or cell are they a cell's."""
    if layout == "tf1" and not packing.form.startswith("gru"):
        match = _CELL.search(prefix.rpartition("/")[2])
        said = match and next((form for form, one in zip(_FORMS, match.groups(), strict=True) if one), None)
        if match is None or said not in (None, packing.form):
            return None
    if packing.bias_always and not any(packing.is_bias(name) for name in arrays):
        return None
    diagonals = [f"{prefix}/{name}".strip("/") for name in DIAGONALS]
    peepholes = tuple(diagonals) if packing.form == "lstm" and all(name in stored for name in diagonals) else ()
    functions = ("sigmoid", "tanh", "tanh")[: 3 if packing.form == "lstm" else 2] if layout == "keras-cudnn" else ()
    cell = TensorFlowCell(layout, packing.form, arrays, stored, peepholes, functions)
    return cell if cell.fits else None
