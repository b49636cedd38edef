"""Mistakes between the layers of a stack: a wrong input from the layer below, or another layer's parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.causes.known.directions import turned
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.layer_inputs import StepReader, beside

_NAME = "layer-input-wrong"
_Change = Callable[[Assumption], Assumption]
_HALVES: dict[str, tuple[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]]] = {
    "halves exchanged": ("the two directions of {below} swapped", lambda forward, reverse: (reverse, forward)),
    "forward twice": (
        "the forward direction of {below} twice, in place of both",
        lambda forward, _: (forward, forward),
    ),
    "reverse twice": (
        "the reverse direction of {below} twice, in place of both",
        lambda _, reverse: (reverse, reverse),
    ),
    "forward alone": (
        "zeros in place of the reverse direction of {below}",
        lambda forward, reverse: (forward, torch.zeros_like(reverse)),
    ),
    "reverse alone": (
        "zeros in place of the forward direction of {below}",
        lambda forward, reverse: (torch.zeros_like(forward), reverse),
    ),
}


def causes(assumed: Assumption) -> Iterator[Cause]:
    if assumed.layer:
        whole = f"the whole output of layer {assumed.layer - 1} at each step, forward half first"
        fix = f"Pass layer {assumed.layer} {whole}."
        for received, explanation, change in _inputs(assumed):
            yield Cause(_NAME, explanation, fix, change, {"input": received})
    stack = assumed.stack
    for layer in range(stack.spec.num_layers):
        other = stack.parameters[layer, assumed.direction]
        if layer != assumed.layer and other.weight_ih.shape == assumed.p.weight_ih.shape:
            between = " and ".join(map(str, sorted((layer, assumed.layer))))
            yield Cause(
                _NAME,
                f"layers {between} are swapped: layer {assumed.layer} uses the parameters of layer {layer}",
                both_ways(*[f"swap the parameters of layers {between}."] * 2),
                functools.partial(_with_parameters_of, layer=layer),
                {"exchanged": between},
            )


def _inputs(assumed: Assumption) -> Iterator[tuple[str, str, _Change]]:
    """What a layer may receive in place of the output of the layer below: words for it, an explanation, and the
    change."""
    layer, stack = assumed.layer, assumed.stack
    if stack.x.shape[2] == assumed.p.weight_ih.shape[1]:
        explanation = f"layer {layer} gets x as its input, like the lowest layer"
        yield "x", explanation, lambda r: r.with_run(x=r.stack.x, error=None)
    for other in range(layer - 1):
        explanation = f"layer {layer} gets the output of layer {other} as its input, skipping the layers between"
        yield f"layer {other}", explanation, functools.partial(_from_layer, layer=other)
    if not stack.spec.bidirectional:
        return
    gets, below = f"layer {layer} gets", f"layer {layer - 1}"
    for what, (received, halves) in _HALVES.items():
        yield what, f"{gets} {received.format(below=below)}", functools.partial(_with_halves, halves=halves)
    turned_round = "in the order in which it was computed, last step first"
    yield "reverse not realigned", f"{gets} the reverse direction of {below} {turned_round}", _turned


def _from_layer(assumed: Assumption, layer: int) -> Assumption:
    stack = assumed.stack
    below = beside([stack.h[layer, direction] for direction in stack.spec.directions])
    return assumed.with_run(x=below, error=None)


def _with_halves(assumed: Assumption, halves: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Assumption:
    return assumed.with_run(x=_Halves(assumed.run.x, halves))


def _turned(assumed: Assumption) -> Assumption:
    forward, reverse = assumed.run.x[:].chunk(2, -1)
    return assumed.with_run(x=torch.cat([forward, turned(reverse, assumed.run.lengths)], -1))


def _with_parameters_of(assumed: Assumption, layer: int) -> Assumption:
    return replace(assumed, p=assumed.stack.parameters[layer, assumed.direction])


class _Halves:
    """The steps of a layer's output with something else in place of its two halves, computed when they are read."""

    def __init__(self, x: StepReader, halves: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        self._x, self._halves, self.shape, self.dtype = x, halves, x.shape, x.dtype

    def __getitem__(self, at: Any) -> Tensor:
        return torch.cat(self._halves(*self._x[at].chunk(2, -1)), -1)
