"""Biases that are left out, counted twice or in the wrong place, and the forget bias that is added at run time."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

from rnnspect.causes.interface import Cause
from rnnspect.judging.interpretation import Interpretation


def causes(reading: Interpretation) -> Iterator[Cause]:
    if reading.p.bias_ih is not None:
        yield from _lost_or_doubled()
        if reading.cell.name == "gru" and not reading.cell.variant:  # elsewhere the two are only ever added
            yield Cause(
                "bias-misplaced",
                "bias_ih and bias_hh stand in each other's place",
                "Exchange the two.",
                lambda r: r.with_parameters(bias_ih=r.biases()[1], bias_hh=r.biases()[0]),
            )
    if "f" in reading.cell.gates:
        for sign, name, explanation, fix in (
            (
                1,
                "forget-bias-added",
                "1 is added to the forget gate's bias at run time, as TensorFlow 1's and Haiku's cells do",
                "Take 1 off b_f before handing it over, or set forget_bias=0.",
            ),
            (
                -1,
                "forget-bias-missing",
                "the parameters hold a forget bias that is 1 too large for the engine: it was stored with what another "
                "framework adds at run time",
                "Add 1 to b_f, or have the engine add it.",
            ),
        ):
            yield Cause(name, explanation, fix, functools.partial(_forget, by=sign))


def _lost_or_doubled() -> Iterator[Cause]:
    for which in ("bias_ih", "bias_hh", "both biases"):
        names = ("bias_ih", "bias_hh") if which == "both biases" else (which,)
        verb = "are" if len(names) > 1 else "is"
        yield Cause(
            "bias-dropped",
            f"{which} {verb} left out",
            f"Load {which}; where the engine has one bias, give it the sum of both.",
            functools.partial(_dropped, names=names),
            {"which": which},
        )
    for which in ("bias_ih", "bias_hh"):
        other = "bias_hh" if which == "bias_ih" else "bias_ih"
        yield Cause(
            "bias-doubled",
            f"{which} is counted twice, in its own place and in that of {other}",
            f"Hand {other} over where {which} stands a second time.",
            functools.partial(_counted_twice, which=which, other=other),
            {"which": which},
        )
    yield Cause(
        "bias-doubled",
        "the sum of both biases is given in both places",
        "Give the sum once and zeros beside it, or the two biases as they are.",
        _sum_twice,
        {"which": "the sum"},
    )


def _dropped(reading: Interpretation, names: tuple[str, ...]) -> Interpretation:
    return reading.with_parameters(**{name: torch.zeros_like(reading.biases()[0]) for name in names})


def _counted_twice(reading: Interpretation, which: str, other: str) -> Interpretation:
    return reading.with_parameters(**{other: getattr(reading.p, which)})


def _sum_twice(reading: Interpretation) -> Interpretation:
    b_ih, b_hh = reading.biases()
    return reading.with_parameters(bias_ih=b_ih + b_hh, bias_hh=b_ih + b_hh)


def _forget(reading: Interpretation, by: float) -> Interpretation:
    b_ih, b_hh = reading.biases()
    blocks = reading.blocks(b_ih)
    return reading.with_parameters(bias_ih=reading.packed(blocks | {"f": blocks["f"] + by}), bias_hh=b_hh)
