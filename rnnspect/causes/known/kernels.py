"""Kernels that are transposed, or only given another shape."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.judging.interpretation import Interpretation

_NAMES = {"weight_ih": "kernel-transposed", "weight_hh": "recurrent-kernel-transposed"}
_RESHAPED = {
    "as in × out": "out × in, read in their order as in × out (a reshape, not a transpose)",
    "from in × out": "kept in × out, and given the shape out × in by a reshape instead of a transpose",
}


def causes(reading: Interpretation) -> Iterator[Cause]:
    alone: list[tuple[str, ...]] = []
    for which, name in _NAMES.items():
        rows, columns = getattr(reading.p, which).shape
        if rows == columns * len(reading.cell.gates):
            yield Cause(
                name,
                f"each gate's block of {which} is transposed: it is square, so no shape told",
                "Transpose it: PyTorch and ONNX keep out × in, Keras, Flax and TensorFlow in × out.",
                functools.partial(_transposed, which=which),
            )
        if rows != columns:  # a square one that is reshaped is one that is transposed
            alone.append((which,))
    for names in (*alone, tuple(_NAMES)):
        for how, explanation in _RESHAPED.items():
            which = " and ".join(names)
            yield Cause(
                "kernel-reshaped",
                f"the numbers of {which} are {explanation}",
                "Transpose (.T); reshape and view keep the order of the numbers.",
                functools.partial(reshaped, names=names, how=how),
                {"which": which, "how": how},
            )


def _transposed(reading: Interpretation, which: str) -> Interpretation:
    blocks = getattr(reading.p, which).chunk(len(reading.cell.gates))
    return reading.with_parameters(**{which: torch.cat([block.T for block in blocks])})


def reshaped(reading: Interpretation, names: tuple[str, ...], how: str) -> Interpretation:
    """The reading in which these parameters have the same numbers in another order: "as in × out", where what is
    out × in was read as in × out, or "from in × out", where it was kept so and given its shape by a reshape."""
    return reading.with_parameters(**{name: _again(getattr(reading.p, name), how) for name in names})


def _again(w: Tensor, how: str) -> Tensor:
    rows, columns = w.shape
    return w.reshape(columns, rows).T.contiguous() if how == "as in × out" else w.T.reshape(rows, columns)
