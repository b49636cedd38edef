"""The two forms of a GRU, and the bias b_hn that one of them does not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.judging.assumption import Assumption


def causes(assumed: Assumption) -> Iterator[Cause]:
    if assumed.cell.name != "gru":
        return
    if assumed.cell.variant:
        yield Cause(
            "gru-reset-after",
            "the reset gate is applied after the matrix product, as in PyTorch and cuDNN: "
            "n = tanh(W_n x + b_in + r ⊙ (U_n h + b_hn))",
            "Set reset: after in the spec, or in the engine linear_before_reset = 0 (ONNX), reset_after=False (Keras).",
            lambda r: replace(r, cell=CELLS["gru"]),
        )
    else:
        yield Cause(
            "gru-reset-before",
            "the reset gate is applied before the matrix product, as in the original paper: "
            "n = tanh(W_n x + b_in + U_n (r ⊙ h) + b_hn)",
            "Use linear_before_reset = 1 (ONNX) or reset_after=True (Keras), or multiply U_n h + b_hn by r.",
            lambda r: replace(r, cell=VARIANTS["gru", "reset before"]),
        )
    yield Cause(
        "gru-mix-flipped",
        "z and 1 − z are swapped: h' = z ⊙ n + (1 − z) ⊙ h",
        both_ways(
            "negate the rows and biases of z, or swap z and 1 − z in the last equation.",
            "negate the rows and biases of z.",
        ),
        lambda r: r.with_rows(lambda packed: _with_block(r, packed, "z", -r.blocks(packed)["z"])),
    )
    if assumed.p.bias_hh is None or assumed.cell.variant:
        return
    yield Cause(
        "gru-b_hn-dropped",
        "b_hn is missing: the engine has only one bias per gate",
        both_ways(
            "keep b_hn separate, inside r ⊙ ( ): linear_before_reset = 1 (ONNX), reset_after=True (Keras).",
            "the model has no b_hn; set it to zeros.",
        ),
        lambda r: r.with_parameters(bias_hh=_without_n(r)),
    )
    yield Cause(
        "gru-b_hn-folded",
        "b_hn is added to b_in, outside r ⊙ ( ): only the biases of r and z may be summed",
        both_ways(
            "keep b_hn separate and inside r ⊙ ( ); sum only the biases of r and z.",
            "the model has no b_hn; add the n rows of bias_hh to those of bias_ih, then set them to zeros.",
        ),
        _folded,
    )


def _with_block(assumed: Assumption, packed: Tensor, gate: str, block: Tensor) -> Tensor:
    return assumed.packed(assumed.blocks(packed) | {gate: block})


def _without_n(assumed: Assumption) -> Tensor:
    _, b_hh = assumed.biases()
    return _with_block(assumed, b_hh, "n", torch.zeros_like(assumed.blocks(b_hh)["n"]))


def _folded(assumed: Assumption) -> Assumption:
    b_ih, b_hh = assumed.biases()
    summed = assumed.blocks(b_ih)["n"] + assumed.blocks(b_hh)["n"]
    return assumed.with_parameters(bias_ih=_with_block(assumed, b_ih, "n", summed), bias_hh=_without_n(assumed))
