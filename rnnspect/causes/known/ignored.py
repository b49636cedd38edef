"""What a spec asks for beyond torch.nn and an engine passes over: clip, activations, coupled gates, peepholes.

ONNX's operators say all of it in optional attributes and inputs, and a runtime that does not know one need not say so.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.cells.functions import KINDS, Activation, Functions, functions_of
from rnnspect.cells.interface import Cell
from rnnspect.judging.interpretation import Interpretation

_FUNCTIONS = ("sigmoid", "tanh", "squash", "phi")
_ELSE = "Take an engine that knows {}, or build what it says into the model."
_Ignored = tuple[str, str, "Callable[[Interpretation], Interpretation]"]
"""The key of a spec, what is so without it, and the reading without it."""


def causes(reading: Interpretation) -> Iterator[Cause]:
    ignored = list(_asked(reading))
    for key, otherwise, change in ignored:
        yield Cause(_name(key), f"{key} is ignored: {otherwise}", _ELSE.format(key), change, {"which": "all"})
    for several in itertools.chain.from_iterable(
        itertools.combinations(ignored, size) for size in range(2, len(ignored) + 1)
    ):
        keys = " and ".join(key for key, _, _ in several)
        yield Cause(
            _name(several[0][0]),
            f"{keys} are ignored: " + "; ".join(otherwise for _, otherwise, _ in several),
            "Take an engine that knows them, or build what they say into the model.",
            functools.partial(_one_after_the_other, changes=[change for _, _, change in several]),
            {"which": keys},
        )
    yield from _in_part(reading)


def _name(key: str) -> str:
    return f"{key.replace('_', '-')}-ignored"


def _asked(reading: Interpretation) -> Iterator[_Ignored]:
    asked, cell = functions_of(reading.nonlinearity), reading.cell
    if not replace(asked, clip=None).are_usual:  # a relu that is another φ is known without this
        yield "activations", "σ and tanh stand wherever another function was asked for", _usual
    if asked.clip is not None:
        yield "clip", f"what goes into the functions is not limited to ± {asked.clip:g}", _unlimited
    if "coupled" in cell.variant:
        yield "input_forget", "the forget gate has rows of its own, here zeros, and stands at ½", _uncoupled
    if cell.peepholes:
        yield "peepholes", "no gate sees the cell state", _blind


def _in_part(reading: Interpretation) -> Iterator[Cause]:
    """What is known and taken otherwise than it was meant, or never asked for."""
    asked, cell = functions_of(reading.nonlinearity), reading.cell
    if asked.clip is not None and cell.has_cell_state:
        yield Cause(
            "clip-misplaced",
            f"clip = {asked.clip:g} limits the gates and the candidate only: the cell state goes into its function "
            "unlimited, as in onnxruntime",
            "Leave clip out where cell states are larger than it, or take an engine that limits every function's input "
            "as ONNX's text says.",
            lambda r: _with(r, replace(functions_of(r.nonlinearity), clips_squash=False)),
            {"where": "gates alone"},
        )
    usual_numbers: dict[str, Any] = {name: _without_numbers(getattr(asked, name)) for name in _FUNCTIONS}
    if (plain := replace(asked, **usual_numbers)) != asked:
        yield Cause(
            "activations-ignored",
            "activation_alpha and activation_beta are ignored: the functions are those asked for, with ONNX's usual "
            "numbers in them",
            "State the numbers for each function that has some, in the order of activations.",
            functools.partial(_with, functions=plain),
            {"which": "alpha and beta"},
        )
    spec = reading.stack.spec
    forward = functions_of(spec.nonlinearity_of("forward"))
    if reading.direction == "reverse" and spec.bidirectional and forward != asked:
        yield Cause(
            "activations-ignored",
            "the reverse direction has the functions of the forward one: its own, the second half of activations, are "
            "ignored",
            "List the functions of both directions, and check that the engine reads the second half.",
            functools.partial(_with, functions=forward),
            {"which": "the reverse direction's"},
        )
    if cell.name == "lstm" and reading.p.weight_hr is None:
        yield Cause(
            "input-forget-added",
            "the forget gate is 1 − i: its own parameters are not used, as where input_forget = 1 was set",
            "Set input_forget = 0 (ONNX), or uncouple the gates.",
            _coupled,
        )


def _one_after_the_other(
    reading: Interpretation, changes: list[Callable[[Interpretation], Interpretation]]
) -> Interpretation:
    return functools.reduce(lambda made, change: change(made), changes, reading)


def _usual(reading: Interpretation) -> Interpretation:
    asked = functions_of(reading.nonlinearity)
    return _with(reading, Functions(clip=asked.clip, constants=asked.constants))


def _unlimited(reading: Interpretation) -> Interpretation:
    return _with(reading, replace(functions_of(reading.nonlinearity), clip=None))


def _with(reading: Interpretation, functions: Functions) -> Interpretation:
    return replace(reading, nonlinearity=functions)


def _without_numbers(f: Activation) -> Activation:
    return Activation(f.name, **KINDS[f.name].numbers)


def _blind(reading: Interpretation) -> Interpretation:
    coupled = "coupled" in reading.cell.variant
    return replace(reading.with_parameters(weight_ch=None), cell=_lstm(coupled, looking=False))


def _uncoupled(reading: Interpretation) -> Interpretation:
    def with_f(packed: Tensor) -> Tensor:
        i, *others = reading.blocks(packed).values()
        return torch.cat([i, torch.zeros_like(i), *others])

    return _with_gates(reading, with_f, coupled=False)


def _coupled(reading: Interpretation) -> Interpretation:
    def without_f(packed: Tensor) -> Tensor:
        return torch.cat([block for gate, block in reading.blocks(packed).items() if gate != "f"])

    return _with_gates(reading, without_f, coupled=True)


def _with_gates(reading: Interpretation, change: Callable[[Tensor], Tensor], coupled: bool) -> Interpretation:
    """With the rows of those gates, and their peepholes: zero where there were none."""
    looks, weight_ch = reading.cell.peepholes, reading.p.weight_ch
    cell = _lstm(coupled, bool(looks))
    if weight_ch is not None:
        seen = dict(zip(looks, weight_ch.chunk(len(looks)), strict=True))
        weight_ch = torch.cat([seen.get(gate, torch.zeros_like(seen["i"])) for gate in cell.peepholes])
    return replace(reading.with_rows(change).with_parameters(weight_ch=weight_ch), cell=cell)


def _lstm(coupled: bool, looking: bool) -> Cell:
    variant = ", ".join(name for name, has in (("coupled", coupled), ("peepholes", looking)) if has)
    return VARIANTS["lstm", variant] if variant else CELLS["lstm"]
