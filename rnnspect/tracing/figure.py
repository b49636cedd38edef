"""A trace as a figure of matplotlib: gates and states over time."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from rnnspect.files import free_memory
from rnnspect.network.parameters import recurrent_repr
from rnnspect.network.tensors import differences
from rnnspect.tracing.layers import LayerTrace, by_gate, chosen

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec


_MOST = 2000
"""Steps, and units, that a heat map has at most; a screen has fewer points."""


class _Shown(Figure):  # type: ignore[misc, unused-ignore]
    """A figure that a notebook shows although pyplot, which else sees to that, was never imported."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png")
        return drawn.getvalue()


@dataclass(frozen=True)
class Shot:
    """The item of the batch that is drawn, how many steps it has, and whether the input had a batch axis at all."""

    item: int
    steps: int
    batched: bool


def figure(spec: Spec, layer: LayerTrace, shot: Shot, quantities: Iterable[str] | None) -> Figure:
    """`Trace.plot` of one layer and direction."""
    names = spec.cell_type.quantities if quantities is None else chosen(quantities, spec)
    shown = [(name, values[shot.item, : shot.steps]) for name, values, _ in by_gate(layer, names, spec)]
    columns = 1 if len(shown) < 4 else 2
    rows = math.ceil(len(shown) / columns)
    made = _Shown(figsize=(6.0 * columns, 0.8 + 1.9 * rows), layout="constrained")
    batch = f", batch item {shot.item}" if shot.batched else ""
    made.suptitle(f"{recurrent_repr(spec)}, layer {layer.layer} {layer.direction}{batch}")
    for at, (name, values) in enumerate(shown):
        axes = made.add_subplot(rows, columns, at + 1)
        _draw(made, axes, values, _is_gate(name, spec))
        axes.set_title(name, loc="left")
        axes.set_ylabel(_label("unit", values.shape[1]))
        if at >= len(shown) - columns:
            axes.set_xlabel(_label("step", values.shape[0]))
    return made


def _draw(made: Figure, axes: Any, values: Tensor, is_gate: bool) -> None:
    """White is ½ of a gate between 0 and 1, and 0 of anything else."""
    steps, units = values.shape
    drawn = values[:: _every(steps), :: _every(units)].double()
    finite = drawn[drawn.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if is_gate and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    else:
        high = max(-low, high) or 1.0
        low = -high
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="0.6")
    edges = (-0.5, steps - 0.5, units - 0.5, -0.5)
    drawing = {"extent": edges, "aspect": "auto", "interpolation": "nearest"}
    image = axes.imshow(drawn.T.numpy(), cmap=colours, vmin=low, vmax=high, **drawing)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    made.colorbar(image, ax=axes)


def _is_gate(name: str, spec: Spec) -> bool:
    """Whether a quantity lets a share of something through: no state, and no candidate, which is a tanh."""
    cell = spec.cell_type
    written = next((line for line in cell.equations if line.partition("=")[0].strip() == name), "")
    return name in cell.gates and name not in cell.states and "= tanh(" not in written


def _every(count: int) -> int:
    """1 where all are drawn, 2 where every second one is."""
    return math.ceil(count / _MOST)


def _label(what: str, count: int) -> str:
    return what if _every(count) == 1 else f"{what} (1 of {_every(count)} is drawn)"


_ROW = 120
"""Bytes of a row while the table is made: four integers, two categories and three numbers, twice."""


def frame(
    spec: Spec, layers: Sequence[LayerTrace], lengths: Sequence[int], quantities: Iterable[str] | None
) -> pd.DataFrame:
    """`Trace.to_pandas`. `lengths` are the steps of each item of the batch."""
    names = spec.quantities if quantities is None else chosen(quantities, spec)
    blocks = [(layer, *block) for layer in layers for block in by_gate(layer, names, spec)]
    rows = sum(sum(lengths) * values.shape[-1] for _, _, values, _ in blocks)
    free_memory.require(rows * _ROW, f"a table of {rows:,} rows", "to_pandas")
    there = np.arange(max(lengths)) < np.array(lengths)[:, None]
    item, step = there.nonzero()
    columns: dict[str, Any] = dict.fromkeys(("layer", "direction", "step", "batch", "quantity", "unit"))
    number = np.dtype("f8" if spec.dtype == "float64" else "f4")
    columns |= {"equations": number, "engine": number, "difference": np.dtype("f8")}
    shown = list(dict.fromkeys(name for _, name, _, _ in blocks))
    kinds = {"direction": np.dtype("i1"), "quantity": np.dtype("i2")}
    made = {name: np.empty(rows, kind or kinds.get(name, np.dtype("i8"))) for name, kind in columns.items()}
    start = 0
    for layer, name, values, engine in blocks:
        units = values.shape[-1]
        at = slice(start, start := start + len(step) * units)
        made["layer"][at] = layer.layer
        made["direction"][at] = spec.directions.index(layer.direction)
        made["step"][at] = np.repeat(step, units)
        made["batch"][at] = np.repeat(item, units)
        made["quantity"][at] = shown.index(name)
        made["unit"][at] = np.tile(np.arange(units), len(step))
        made["equations"][at] = _plain(values, there)
        made["engine"][at] = np.nan if engine is None else _plain(engine, there)
        made["difference"][at] = np.nan if engine is None else _plain(differences(values, engine), there)
    categories = {"direction": list(spec.directions), "quantity": shown}
    named = {name: pd.Categorical.from_codes(made[name], of) for name, of in categories.items()}
    return pd.DataFrame(made | named)


def _plain(values: Tensor, there: Any) -> Any:
    """The values of all steps that are no padding, one after the other."""
    return (values if values.element_size() == 8 else values.float()).numpy()[:, : there.shape[1]][there].ravel()
