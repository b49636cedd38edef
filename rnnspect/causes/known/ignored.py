"""What a spec asks for beyond torch.nn and an engine passes over: clip, activations, coupled gates, peepholes.

ONNX's operators say all of it in optional attributes and inputs, and a runtime that does not know one need not say so.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.cells.functions import KINDS, Activation, Functions, functions_of
from rnnspect.judging.interpretation import Interpretation

_Change = Callable[[Interpretation], Interpretation]
_Ignored = tuple[str, str, _Change]
"""The key of a spec, what is so without it, and the reading without it."""


def causes(reading: Interpretation) -> Iterator[Cause]:
    ignored = list(_asked(reading))
    for key, otherwise, change in ignored:
        fix = f"Take an engine that knows {key}, or build what it says into the model."
        yield Cause(_name(key), f"{key} is ignored: {otherwise}", fix, change, {"which": "all"})
    for size in range(2, len(ignored) + 1):
        for several in itertools.combinations(ignored, size):
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
    asked, cell = reading.functions, reading.cell
    if not replace(asked, clip=None, constants=()).are_usual:  # a relu that is another φ is known without this
        usual = "σ and tanh stand wherever another function was asked for"
        yield "activations", usual, _with_usual_functions
    if asked.clip is not None:
        unlimited = f"what goes into the functions is not limited to ± {asked.clip:g}"
        yield "clip", unlimited, lambda r: r.with_functions(clip=None)
    if "coupled" in cell.variant:
        uncoupled = "the forget gate has rows of its own, here zeros, and stands at ½"
        yield "input_forget", uncoupled, lambda r: _as_lstm(r, coupled=False, peepholes=bool(r.cell.peepholes))
    if cell.peepholes:
        yield (
            "peepholes",
            "no gate sees the cell state",
            lambda r: _as_lstm(r, coupled="coupled" in r.cell.variant, peepholes=False),
        )


def _in_part(reading: Interpretation) -> Iterator[Cause]:
    """What is known and taken otherwise than it was meant, or never asked for."""
    asked, cell = reading.functions, reading.cell
    if asked.clip is not None and cell.has_cell_state:
        yield Cause(
            "clip-misplaced",
            f"clip = {asked.clip:g} limits the gates and the candidate only: the cell state goes into its function "
            "unlimited, as in onnxruntime",
            "Leave clip out where cell states are larger than it, or take an engine that limits every function's input "
            "as ONNX's text says.",
            lambda r: r.with_functions(clips_squash=False),
            {"where": "gates alone"},
        )
    usual_numbers: dict[str, Any] = {
        name: _without_numbers(getattr(asked, name)) for name in ("sigmoid", "tanh", "squash", "phi")
    }
    if (plain := replace(asked, **usual_numbers)) != asked:
        yield Cause(
            "activations-ignored",
            "activation_alpha and activation_beta are ignored: the functions are those asked for, with ONNX's usual "
            "numbers in them",
            "State the numbers for each function that has some, in the order of activations.",
            functools.partial(replace, nonlinearity=plain),
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
            functools.partial(replace, nonlinearity=forward),
            {"which": "the reverse direction's"},
        )
    if cell.name == "lstm" and reading.p.weight_hr is None:
        yield Cause(
            "input-forget-added",
            "the forget gate is 1 − i: its own parameters are not used, as where input_forget = 1 was set",
            "Set input_forget = 0 (ONNX), or uncouple the gates.",
            lambda r: _as_lstm(r, coupled=True, peepholes=bool(r.cell.peepholes)),
        )


def _one_after_the_other(reading: Interpretation, changes: list[_Change]) -> Interpretation:
    return functools.reduce(lambda made, change: change(made), changes, reading)


def _with_usual_functions(reading: Interpretation) -> Interpretation:
    asked = reading.functions
    return replace(reading, nonlinearity=Functions(clip=asked.clip, constants=asked.constants))


def _without_numbers(f: Activation) -> Activation:
    return Activation(f.name, **KINDS[f.name].numbers)


def _as_lstm(reading: Interpretation, coupled: bool, peepholes: bool) -> Interpretation:
    """With the equations of that LSTM, on the parameters that both have; zeros for those of a gate that is new."""
    variant = ", ".join(name for name, has in (("coupled", coupled), ("peepholes", peepholes)) if has)
    cell, before = VARIANTS["lstm", variant] if variant else CELLS["lstm"], reading.cell
    weight_ch = reading.p.weight_ch if peepholes else None
    if weight_ch is not None:
        weight_ch = _rows_of(cell.peepholes, weight_ch, before.peepholes)
    made = reading.with_rows(lambda packed: _rows_of(cell.gates, packed, before.gates))
    return replace(made.with_parameters(weight_ch=weight_ch), cell=cell)


def _rows_of(gates: Sequence[str], packed: Tensor, before: Sequence[str]) -> Tensor:
    """The blocks of these gates, of a parameter that is packed with the gates `before`."""
    blocks = dict(zip(before, packed.chunk(len(before)), strict=True))
    return torch.cat([blocks.get(gate, torch.zeros_like(blocks["i"])) for gate in gates])
