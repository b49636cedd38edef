"""Parameters of a 100-million-parameter stack packed for other frameworks, and read back, beside a copy of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from benchmarks.measure import Row, alternated
from rnnspect.network.parameters import LayerParameters
from rnnspect.weights import layouts
from rnnspect.weights.layouts.packing import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rnnspect.weights.layouts import Layout

LAYERS, WIDTH, ROUNDS, LIMIT = 3, 2048, 5, 3.0
NAMES = ("onnx", "keras", "flax-linen", "openvino", "haiku")


def rows() -> Iterator[Row]:
    torch.manual_seed(0)
    stack = [_layer() for _ in range(LAYERS)]
    for name in NAMES:
        layout = layouts.find(name)
        packed = [pack(layout, "lstm", p) for p in stack]
        copy, there, back = alternated(
            ROUNDS, partial(_copy, stack), partial(_pack, layout, stack), partial(_unpack, layout, packed)
        )
        del packed
        what = f"LSTM of {LAYERS} layers, {WIDTH} → {WIDTH}, 100 M parameters"
        yield Row(f"{what}, to {name}", "a copy of its arrays", LIMIT, there / copy)
        yield Row(f"{what}, from {name}", "a copy of its arrays", LIMIT, back / copy)


def _layer() -> LayerParameters:
    rows = 4 * WIDTH
    return LayerParameters(
        torch.randn(rows, WIDTH), torch.randn(rows, WIDTH), torch.randn(rows), torch.randn(rows), None
    )


def _copy(stack: list[LayerParameters]) -> list[Tensor]:
    return [
        tensor.clone()
        for p in stack
        for tensor in (p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh)
        if tensor is not None
    ]


def _pack(layout: Layout, stack: list[LayerParameters]) -> list[object]:
    return [pack(layout, "lstm", p) for p in stack]


def _unpack(layout: Layout, packed: list[dict[str, Tensor]]) -> list[object]:
    return [unpack(layout, "lstm", arrays) for arrays in packed]
