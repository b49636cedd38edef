"""Biases that are missing, counted twice or swapped, and the forget bias that is added at run time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.judging.assumption import Assumption

_Biases = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From bias_ih and bias_hh to those that the engine runs with."""
_DOUBLED: dict[str, tuple[str, _Biases]] = {
    "bias_ih": ("bias_ih is used for both biases", lambda b_ih, _: (b_ih, b_ih)),
    "bias_hh": ("bias_hh is used for both biases", lambda _, b_hh: (b_hh, b_hh)),
    "the sum": ("the sum of both biases is used for each of them", lambda b_ih, b_hh: (b_ih + b_hh, b_ih + b_hh)),
    "2 bias_ih + bias_hh": ("bias_ih is added twice", lambda b_ih, b_hh: (2 * b_ih, b_hh)),
    "bias_ih + 2 bias_hh": ("bias_hh is added twice", lambda b_ih, b_hh: (b_ih, 2 * b_hh)),
}
_SUMMED: dict[str, tuple[str, _Biases]] = {
    "the sum, beside bias_hh": (
        "the sum of both biases is used as bias_ih, and bias_hh is added as well",
        lambda b_ih, b_hh: (b_ih + b_hh, b_hh),
    ),
    "the sum, beside bias_ih": (
        "the sum of both biases is used as bias_hh, and bias_ih is added as well",
        lambda b_ih, b_hh: (b_ih, b_ih + b_hh),
    ),
    "2 bias_ih + 2 bias_hh": ("both biases are added twice", lambda b_ih, b_hh: (2 * b_ih, 2 * b_hh)),
}
"""One bias twice and the other once, or both twice. Where the two are only ever added, these give the same sums as
those in `_DOUBLED`."""


_ONCE = both_ways(
    "pass each bias once: both as they are, or their sum and zeros.",
    "a bias is counted twice; subtract it once, so that bias_ih + bias_hh is right.",
)
_EACH_IN_ITS_PLACE = both_ways(
    "pass each bias once, in its own place: b_hn is inside r ⊙ ( ), b_in is not; those of r and z may be summed.",
    "take each bias once, from its own place: b_hn is inside r ⊙ ( ), b_in is not.",
)


def causes(assumed: Assumption) -> Iterator[Cause]:
    if assumed.p.bias_ih is not None:
        apart = assumed.cell.name == "gru" and not assumed.cell.variant  # in others both are only ever added
        yield from _lost(apart)
        for which, (explanation, change) in (_DOUBLED | (_SUMMED if apart else {})).items():
            yield Cause(
                "bias-doubled",
                explanation,
                _EACH_IN_ITS_PLACE if apart else _ONCE,
                functools.partial(_with_biases, change=change),
                {"which": which},
            )
        if apart:
            yield Cause(
                "bias-misplaced",
                "bias_ih and bias_hh are swapped",
                both_ways("swap the two.", "swap the two."),
                functools.partial(_with_biases, change=lambda b_ih, b_hh: (b_hh, b_ih)),
            )
            yield Cause(
                "bias-misplaced",
                "the sum of both biases is used as bias_hh, with no bias_ih: b_in is inside r ⊙ ( )",
                _EACH_IN_ITS_PLACE,
                functools.partial(_with_biases, change=lambda b_ih, b_hh: (torch.zeros_like(b_ih), b_ih + b_hh)),
                {"which": "the sum as bias_hh"},
            )
    if "f" in assumed.cell.gates:
        yield from _forget_biases()


def _lost(apart: bool) -> Iterator[Cause]:
    only_one = "pass the sum of both"
    if apart:
        only_one = f"{only_one} for r and z; b_hn needs a place of its own, inside r ⊙ ( )"
    for which in ("bias_ih", "bias_hh", "both biases"):
        names = ("bias_ih", "bias_hh") if which == "both biases" else (which,)
        verb = "are" if len(names) > 1 else "is"
        yield Cause(
            "bias-dropped",
            f"{which} {verb} missing",
            both_ways(
                f"load {which}; if the engine has only one bias, {only_one}.",
                f"the model has no {which.removeprefix('both ')}; use zeros.",
            ),
            functools.partial(_dropped, names=names),
            {"which": which},
        )


def _forget_biases() -> Iterator[Cause]:
    yield Cause(
        "forget-bias-added",
        "1 is added to the forget gate's bias at run time, as in TensorFlow 1 and Haiku",
        both_ways(
            "subtract 1 from b_f, or set forget_bias=0.",
            "add 1 to b_f, because their framework adds it at run time.",
        ),
        functools.partial(_forget, by=1),
    )
    yield Cause(
        "forget-bias-missing",
        "the forget gate's bias in these parameters is 1 larger than the engine's: it includes the 1 that another "
        "framework adds at run time",
        both_ways(
            "add 1 to b_f, or let the engine add it.",
            "subtract 1 from b_f: it was added to a bias that already had it.",
        ),
        functools.partial(_forget, by=-1),
    )


def _dropped(assumed: Assumption, names: tuple[str, ...]) -> Assumption:
    return assumed.with_parameters(**{name: torch.zeros_like(assumed.biases()[0]) for name in names})


def _with_biases(assumed: Assumption, change: _Biases) -> Assumption:
    bias_ih, bias_hh = change(*assumed.biases())
    return assumed.with_parameters(bias_ih=bias_ih, bias_hh=bias_hh)


def _forget(assumed: Assumption, by: float) -> Assumption:
    b_ih, b_hh = assumed.biases()
    blocks = assumed.blocks(b_ih)
    return assumed.with_parameters(bias_ih=assumed.packed(blocks | {"f": blocks["f"] + by}), bias_hh=b_hh)
