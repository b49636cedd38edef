"""Kernels that are transposed, or only given another shape."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from rnnspect.causes.interface import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rnnspect.judging.reading import Reading

_NAMES = {"weight_ih": "kernel-transposed", "weight_hh": "recurrent-kernel-transposed"}


def causes(reading: Reading) -> Iterator[Cause]:
    for which, name in _NAMES.items():
        rows, columns = getattr(reading.p, which).shape
        if rows == columns * len(reading.cell.gates):
            yield Cause(
                name,
                f"each gate's block of {which} is transposed: it is square, so no shape told",
                "Transpose it: PyTorch and ONNX keep out × in, Keras, Flax and TensorFlow in × out.",
                functools.partial(_transposed, which=which),
            )
        if rows == columns:
            continue  # to transpose it and to reshape it are the same
        for how, explanation in (
            ("as in × out", "its numbers, out × in, are taken in their order as in × out (a reshape, not a transpose)"),
            ("from in × out", "it was kept in × out, and given its shape by a reshape instead of a transpose"),
        ):
            yield Cause(
                "kernel-reshaped",
                f"{which}: {explanation}",
                "Transpose (.T); reshape and view keep the order of the numbers.",
                functools.partial(_reshaped, which=which, how=how),
                {"which": which, "how": how},
            )


def _transposed(reading: Reading, which: str) -> Reading:
    blocks = getattr(reading.p, which).chunk(len(reading.cell.gates))
    return reading.with_parameters(**{which: torch.cat([block.T for block in blocks])})


def _reshaped(reading: Reading, which: str, how: str) -> Reading:
    w: Tensor = getattr(reading.p, which)
    rows, columns = w.shape
    other = w.reshape(columns, rows).T.contiguous() if how == "as in × out" else w.T.reshape(rows, columns)
    return reading.with_parameters(**{which: other})
