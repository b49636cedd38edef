"""Biases that are left out, counted twice or in the wrong place, and the forget bias that is added at run time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.judging.interpretation import Interpretation

_Biases = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From bias_ih and bias_hh as they are to those that the engine runs with."""
_DOUBLED: dict[str, tuple[str, _Biases]] = {
    "bias_ih": ("bias_ih stands in both places", lambda b_ih, _: (b_ih, b_ih)),
    "bias_hh": ("bias_hh stands in both places", lambda _, b_hh: (b_hh, b_hh)),
    "the sum": ("the sum of both biases is given in both places", lambda b_ih, b_hh: (b_ih + b_hh, b_ih + b_hh)),
    "2 bias_ih + bias_hh": ("bias_ih is added twice, beside bias_hh", lambda b_ih, b_hh: (2 * b_ih, b_hh)),
    "bias_ih + 2 bias_hh": ("bias_hh is added twice, beside bias_ih", lambda b_ih, b_hh: (b_ih, 2 * b_hh)),
}
_SUMMED: dict[str, tuple[str, _Biases]] = {
    "the sum, beside bias_hh": (
        "the sum of both biases stands for bias_ih, beside bias_hh",
        lambda b_ih, b_hh: (b_ih + b_hh, b_hh),
    ),
    "the sum, beside bias_ih": (
        "the sum of both biases stands for bias_hh, beside bias_ih",
        lambda b_ih, b_hh: (b_ih, b_ih + b_hh),
    ),
}
"""Where biases are only ever added, these are twice one beside the other."""


def causes(reading: Interpretation) -> Iterator[Cause]:
    if reading.p.bias_ih is not None:
        apart = reading.cell.name == "gru" and not reading.cell.variant  # elsewhere the two are only ever added
        yield from _lost()
        for which, (explanation, change) in (_DOUBLED | (_SUMMED if apart else {})).items():
            yield Cause(
                "bias-doubled",
                explanation,
                both_ways(
                    "give each bias once: the two as they are, or their sum with zeros beside it.",
                    "they count a bias twice; take one away, so that bias_ih + bias_hh is what is meant.",
                ),
                functools.partial(_with_biases, change=change),
                {"which": which},
            )
        if apart:
            yield Cause(
                "bias-misplaced",
                "bias_ih and bias_hh stand in each other's place",
                both_ways("exchange the two.", "exchange the two."),
                functools.partial(_with_biases, change=lambda b_ih, b_hh: (b_hh, b_ih)),
            )
    if "f" in reading.cell.gates:
        yield from _forget_biases()


def _lost() -> Iterator[Cause]:
    for which in ("bias_ih", "bias_hh", "both biases"):
        names = ("bias_ih", "bias_hh") if which == "both biases" else (which,)
        verb = "are" if len(names) > 1 else "is"
        yield Cause(
            "bias-dropped",
            f"{which} {verb} left out",
            both_ways(
                f"load {which}; where the engine has one bias, give it the sum of both.",
                f"the model they are of has no {which.removeprefix('both ')}; put zeros there.",
            ),
            functools.partial(_dropped, names=names),
            {"which": which},
        )


def _forget_biases() -> Iterator[Cause]:
    yield Cause(
        "forget-bias-added",
        "1 is added to the forget gate's bias at run time, as TensorFlow 1's and Haiku's cells do",
        both_ways(
            "take 1 off b_f, or set forget_bias=0.",
            "add 1 to b_f: the framework they are of adds it at run time.",
        ),
        functools.partial(_forget, by=1),
    )
    yield Cause(
        "forget-bias-missing",
        "the parameters hold a forget bias that is 1 too large for the engine: it was stored with what another "
        "framework adds at run time",
        both_ways(
            "add 1 to b_f, or have the engine add it.",
            "take 1 off b_f: it was added to a bias that had it already.",
        ),
        functools.partial(_forget, by=-1),
    )


def _dropped(reading: Interpretation, names: tuple[str, ...]) -> Interpretation:
    return reading.with_parameters(**{name: torch.zeros_like(reading.biases()[0]) for name in names})


def _with_biases(reading: Interpretation, change: _Biases) -> Interpretation:
    bias_ih, bias_hh = change(*reading.biases())
    return reading.with_parameters(bias_ih=bias_ih, bias_hh=bias_hh)


def _forget(reading: Interpretation, by: float) -> Interpretation:
    b_ih, b_hh = reading.biases()
    blocks = reading.blocks(b_ih)
    return reading.with_parameters(bias_ih=reading.packed(blocks | {"f": blocks["f"] + by}), bias_hh=b_hh)
