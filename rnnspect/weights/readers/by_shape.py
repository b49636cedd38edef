"""Recurrent layers among tensors whose names nobody knows: by their shapes, 3H × I, 3H × H, 3H and 3H, or transposed,
and by what their names have in common. Loads no framework.

The gates are taken in PyTorch's order, which no shape shows; a note says so.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from rnnspect.cells import CELLS
from rnnspect.files.reading import Stored, Tensors
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.gate_norms import is_norm
from rnnspect.weights.readers.interface import Module, StoredParameters, Told, dtype_of
from rnnspect.weights.readers.pytorch import UNTOLD

_SAID = (
    ("ih", "hh"), ("i2h", "h2h"), ("x2h", "h2h"), ("x", "h"), ("wx", "wh"), ("wi", "wh"), ("xh", "hh"), ("ux", "uh"),
    ("input", "hidden"), ("input", "recurrent"), ("inp", "rec"), ("in", "rec"), ("w", "u"), ("w", "r"), ("u", "w"),
    ("w", "recurrent"), ("bi", "bh"), ("bx", "bh"), ("kernel", "recurrent"), ("i", "h"),
)  # fmt: skip
"""How names tell what reads x from what reads h."""
_GATED = {len(cell.gates): cell.name for cell in CELLS.values() if cell.torch_name and len(cell.gates) > 1}
"""Cells by how many gates they have. A plain RNN looks like any two dense layers."""


@dataclass(frozen=True)
class LayerByShape:
    """Four arrays, or two without biases, that are one layer."""

    cell: str
    names: Mapping[str, str]
    """By PyTorch's name (weight_ih_l0) the name in the file."""
    transposed: bool
    """Whether the weights are (I, G·H) and (H, G·H)."""

    @property
    def prefix(self) -> str:
        """What the names begin with in common, without the last parts that begin alike."""
        ours, theirs = (re.split(r"([^0-9A-Za-z]+)", self.names[name]) for name in ("weight_ih_l0", "weight_hh_l0"))
        same = next(at for at, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
        stem = "".join(ours[:same]).rstrip("_./:")
        return re.sub(r"(?:^|[_./:])(?:w|weight|weights|kernel)\Z", "", stem, flags=re.IGNORECASE)


def modules_of(tensors: Tensors, path: str, flags: Mapping[str, Any]) -> dict[str, Module]:
    """Every LSTM and GRU that shapes show, by what its names begin with, or by the name of its W_hh where those of
    several begin alike; none where nothing is plain."""
    begin_so = Counter(layer.prefix for layer in _plain(_layers(tensors.stored, None)))
    found = {
        layer.prefix if begin_so[layer.prefix] <= 1 else layer.names["weight_hh_l0"]: layer
        for layer in _plain(_layers(tensors.stored, flags.get("cell")))
    }
    return {
        name: Module(
            functools.partial(_tell, layer, tensors.stored, f"{path}:{name}" if name else path, flags),
            functools.partial(_read, layer, tensors),
            takes=len(layer.names),
        )
        for name, layer in found.items()
    }


def _plain(layers: list[LayerByShape]) -> list[LayerByShape]:
    """Without those that take an array for another than its name says: 12 × 3 and 12 × 4 may be a GRU or an LSTM."""
    said = [one for one in layers if _belong(one.names["weight_ih_l0"], one.names["weight_hh_l0"], by_shape=False)]
    taken = {name for one in said for name in one.names.values()}
    return [one for one in layers if one in said or taken.isdisjoint(one.names.values())]


def one_bias(stored: Mapping[str, Stored], flags: Mapping[str, Any]) -> str | None:
    """What to save where the only arrays are two weights of an LSTM or GRU and one bias beside them; else None."""
    vectors = [name for name, one in stored.items() if len(one.shape) == 1]
    weights = {name: one for name, one in stored.items() if name not in vectors}
    layers = _layers(weights, flags.get("cell"))
    if len(layers) > 1:  # 12 × 3 and 12 × 4 may be a GRU or an LSTM: the names tell, W as a rule what reads x
        named = {(one.names["weight_ih_l0"], one.names["weight_hh_l0"]): one for one in layers}
        layers = [one for pair, one in named.items() if _belong(*pair, by_shape=False) and pair != ("U", "W")]
    if any(map(is_norm, vectors)) or len(vectors) != 1 or len(weights) != 2 or len(layers) != 1:
        return None
    (layer,), (bias,) = layers, vectors
    rows = weights[layer.names["weight_hh_l0"]].shape[layer.transposed]
    if stored[bias].shape != (rows,):
        return None
    saved = "; ".join(f"{known} = {there}{'.T' * layer.transposed}" for known, there in layer.names.items())
    gates = " ".join(CELLS[layer.cell].gates)
    return f"save {saved}; bias_ih_l0 = {bias}; bias_hh_l0 = 0 * {bias}, with the gates in PyTorch's order, {gates}"


def _layers(stored: Mapping[str, Stored], asked: str | None) -> list[LayerByShape]:
    matrices = {name: one.shape for name, one in stored.items() if len(one.shape) == 2 and 0 not in one.shape}
    found = []
    for hh, (gates, cell), transposed in product(matrices, _GATED.items(), (False, True)):
        rows, units = matrices[hh][::-1] if transposed else matrices[hh]
        if rows != gates * units or asked not in (None, cell):
            continue
        inputs = [
            name
            for name, shape in matrices.items()
            if name != hh and shape[transposed] == rows and _belong(name, hh, shape[not transposed] != units)
        ]
        if len(inputs) != 1:
            continue
        names = {"weight_ih_l0": inputs[0], "weight_hh_l0": hh}
        if (biases := _biases(stored, names, rows)) is not None:
            found.append(LayerByShape(cell, names | biases, transposed))
    return found


def _belong(ih: str, hh: str, by_shape: bool) -> bool:
    """Whether two names differ in one part only, which is no number, or in one that says what reads x and what h:
    where both have one shape, only that tells them apart."""
    ours, theirs = (re.findall(r"[0-9A-Za-z]+", name) for name in (ih, hh))
    apart = [(one.lower(), other.lower()) for one, other in zip(ours, theirs, strict=False) if one != other]
    if len(ours) != len(theirs) or len(apart) != 1:
        return False
    (pair,) = apart
    return pair in _SAID or (by_shape and not any(part.isdigit() for part in pair))


def _biases(stored: Mapping[str, Stored], names: Mapping[str, str], rows: int) -> dict[str, str] | None:
    """The biases beside two weights: none, or two told apart as the weights are; None where it is not plain."""
    start = _common(*names.values())
    beside = [name for name, one in stored.items() if one.shape == (rows,) and name.startswith(start)]
    beside = [name for name in beside if not is_norm(name.removeprefix(start))]
    pairs = [(one, other) for one in beside for other in beside if one != other and _belong(one, other, by_shape=False)]
    if not beside:
        return {}
    return dict(zip(("bias_ih_l0", "bias_hh_l0"), pairs[0], strict=True)) if len(pairs) == 1 else None


def _common(one: str, other: str) -> str:
    """The parts that two names begin with in common, but for a last one that says that these are weights."""
    count = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = re.sub(r"[0-9A-Za-z]*\Z", "", one[:count])
    return re.sub(r"(?:w|weight|weights|kernel)[^0-9A-Za-z]*\Z", "", start, flags=re.IGNORECASE)


def _tell(layer: LayerByShape, stored: Mapping[str, Stored], source: str, flags: Mapping[str, Any]) -> Told:
    shapes = {name: stored[there].shape for name, there in layer.names.items()}
    inputs, units = (shapes[name][not layer.transposed] for name in ("weight_ih_l0", "weight_hh_l0"))
    keys: dict[str, Any] = {"cell": layer.cell, "input_size": inputs, "hidden_size": units}
    keys |= {"bias": len(layer.names) == 4, "num_layers": 1, "bidirectional": False, "weights": source}
    keys |= dtype_of((stored[there].dtype for there in layer.names.values()), flags.get("dtype"), source)
    read = ", ".join(f"{known.removesuffix('_l0')} = {there}" for known, there in layer.names.items())
    gates = " ".join(CELLS[layer.cell].gates)
    notes = (f"note: {source} is read by its shapes: {read}; assuming PyTorch's gate order, {gates}",)
    return Told(keys, source, notes=notes, untold=UNTOLD, others=len(stored) - len(layer.names))


def _read(layer: LayerByShape, tensors: Tensors, _spec: Spec) -> StoredParameters:
    found = tensors.renamed(layer.names)
    if layer.transposed:
        found = {known: one.T.contiguous() if one.dim() == 2 else one for known, one in found.items()}
    return StoredParameters(found, dict(layer.names))
