"""The forms of a GRU that are taken for one another, and the bias that has no place in some of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.judging.interpretation import Interpretation


def causes(reading: Interpretation) -> Iterator[Cause]:
    if reading.cell.name != "gru":
        return
    if reading.cell.variant:
        yield Cause(
            "gru-reset-after",
            "the GRU resets after the product: n = tanh(W_n x + b_in + r ⊙ (U_n h + b_hn)), as torch and cuDNN do",
            "Set reset: after, or change the engine's form (linear_before_reset = 0, reset_after=False).",
            lambda r: replace(r, cell=CELLS["gru"]),
        )
    else:
        yield Cause(
            "gru-reset-before",
            "the GRU resets before the product: n = tanh(W_n x + b_in + U_n (r ⊙ h) + b_hn), as the first paper does",
            "Export with linear_before_reset = 1 (ONNX), reset_after=True (Keras), or apply r to U_n h + b_hn.",
            lambda r: replace(r, cell=VARIANTS["gru", "reset before"]),
        )
    yield Cause(
        "gru-mix-flipped",
        "the update gate mixes the other way round: h' = z ⊙ n + (1 − z) ⊙ h",
        both_ways(
            "turn the signs of the rows and biases of z, or exchange z and 1 − z in the last line.",
            "turn the signs of the rows and biases of z: they are of a model that mixes so.",
        ),
        lambda r: r.with_rows(lambda packed: _with_block(r, packed, "z", -r.blocks(packed)["z"])),
    )
    if reading.p.bias_hh is None or reading.cell.variant:
        return
    yield Cause(
        "gru-b_hn-dropped",
        "b_hn is left out: the engine has one bias for each gate",
        both_ways(
            "keep the recurrent bias of n apart (linear_before_reset, reset_after, a bias of its own), inside r ⊙ ( ).",
            "they are of a model without b_hn; put zeros there.",
        ),
        lambda r: r.with_parameters(bias_hh=_without_n(r)),
    )
    yield Cause(
        "gru-b_hn-folded",
        "b_hn is added to b_in, outside r ⊙ ( ): the two biases of n were summed as those of r and z may be",
        both_ways(
            "keep the recurrent bias of n apart and inside r ⊙ ( ); only those of r and z add up.",
            "they are of a model without b_hn; add the rows of n of bias_hh to those of bias_ih, and put zeros there.",
        ),
        _folded,
    )


def _with_block(reading: Interpretation, packed: Tensor, gate: str, block: Tensor) -> Tensor:
    return reading.packed(reading.blocks(packed) | {gate: block})


def _without_n(reading: Interpretation) -> Tensor:
    _, b_hh = reading.biases()
    return _with_block(reading, b_hh, "n", torch.zeros_like(reading.blocks(b_hh)["n"]))


def _folded(reading: Interpretation) -> Interpretation:
    b_ih, b_hh = reading.biases()
    summed = reading.blocks(b_ih)["n"] + reading.blocks(b_hh)["n"]
    return reading.with_parameters(bias_ih=_with_block(reading, b_ih, "n", summed), bias_hh=_without_n(reading))
