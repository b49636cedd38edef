"""Results as numpy arrays, as .npz files hold them.

Sequences are [batch][step][unit], states [layer·direction][batch][unit]; NaN stands beyond an item's length in a
layer's quantities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.spec import Spec

_COLUMN = {"str": "U", "int": "i8", "float": "f8"}


def array(tensor: Tensor) -> Any:
    """The same numbers, in the same memory; bfloat16, which numpy lacks, as float32, which is exact."""
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).detach().numpy()


def as_numpy(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Each as `array`."""
    return {name: array(tensor) for name, tensor in tensors.items()}


def input_arrays(spec: Spec, x: Tensor, h0: Tensor, c0: Tensor | None, lengths: Sequence[int] | None) -> dict[str, Any]:
    """What a run was given: x, h0, c0 and lengths where there are any, and the spec as JSON text."""
    kept = {"spec": np.array(json.dumps(spec.model_dump(mode="json")))}
    kept |= as_numpy({"x": x, "h0": h0} if c0 is None else {"x": x, "h0": h0, "c0": c0})
    return kept if lengths is None else kept | {"lengths": np.array(lengths)}


def records(kind: type, rows: Sequence[Any]) -> Any:
    """A structured array of instances of a dataclass whose fields are str, int and float: a column for each field."""
    columns = {field.name: _COLUMN[str(field.type)] for field in fields(kind)}
    return structured(columns, [tuple(getattr(row, name) for name in columns) for row in rows])


def structured(columns: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> Any:
    """A structured array; `columns` gives each column's numpy type by its name.

    A column of text ("U") is as wide as its longest: numpy has text of fixed width only, and objects would be pickled.
    """
    widths = [max((len(str(row[at])) for row in rows), default=1) for at in range(len(columns))]
    dtype = [
        (name, f"U{width}" if kind == "U" else kind)
        for (name, kind), width in zip(columns.items(), widths, strict=True)
    ]
    return np.array(rows, dtype)
