"""A trace as a table of pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rnnspect.files import free_memory
from rnnspect.network.tensors import differences
from rnnspect.tracing.layers import LayerTrace, by_gate, chosen

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.spec import Spec

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
