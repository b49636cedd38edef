"""What a spec asks for beyond torch.nn and an engine passes over: clip, activations, coupled gates, peepholes.

ONNX's operators say all of it in optional attributes and inputs, and a runtime that does not know one need not say so.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from rnnspect.causes.interface import Cause
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.cells.functions import KINDS, Activation, Functions, functions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rnnspect.cells.interface import Cell
    from rnnspect.judging.reading import Reading

_FUNCTIONS = ("sigmoid", "tanh", "squash", "phi")


def causes(reading: Reading) -> Iterator[Cause]:
    asked = functions_of(reading.nonlinearity)
    if asked.clip is not None:
        yield from _clip(reading, asked.clip)
    yield from _activations(reading, asked)
    if reading.cell.name == "lstm" and reading.p.weight_hr is None:
        yield from _gates(reading)


def _clip(reading: Reading, clip: float) -> Iterator[Cause]:
    yield Cause(
        "clip-ignored",
        f"clip = {clip:g} is ignored: what goes into the functions is not limited",
        "Take an engine that clips, or limit the input of each function to ± clip where the model is built.",
        lambda r: _with(r, replace(functions_of(r.nonlinearity), clip=None)),
    )
    if reading.cell.has_cell_state:
        yield Cause(
            "clip-misplaced",
            f"clip = {clip:g} limits the gates and the candidate only: the cell state goes into its tanh unlimited, as "
            "in onnxruntime",
            "Leave clip out where cell states are larger than it, or take an engine that limits every function's input "
            "as ONNX's text says.",
            lambda r: _with(r, replace(functions_of(r.nonlinearity), clips_squash=False)),
            {"where": "gates alone"},
        )


def _activations(reading: Reading, asked: Functions) -> Iterator[Cause]:
    usual = Functions(clip=asked.clip)
    if replace(asked, clip=None).are_usual:  # a relu that is another φ is known without this
        return
    yield Cause(
        "activations-ignored",
        "activations is ignored: σ and tanh stand wherever another function was asked for",
        "Take an engine that knows them (onnxruntime does), or train with σ and tanh.",
        functools.partial(_with, functions=usual),
        {"which": "all"},
    )
    usual_numbers: dict[str, Any] = {name: _without_numbers(getattr(asked, name)) for name in _FUNCTIONS}
    plain = replace(asked, **usual_numbers)
    if plain != asked:
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


def _without_numbers(f: Activation) -> Activation:
    return Activation(f.name, **KINDS[f.name].numbers)


def _gates(reading: Reading) -> Iterator[Cause]:
    cell = reading.cell
    coupled, looking = "coupled" in cell.variant, bool(cell.peepholes)
    if coupled:
        yield Cause(
            "input-forget-ignored",
            "input_forget is ignored: the forget gate has rows of its own, here zeros, and stands at ½",
            "Take an engine that knows input_forget, or couple the gates where the model is built: f = 1 − i.",
            _uncoupled,
        )
    else:
        yield Cause(
            "input-forget-added",
            "the forget gate is 1 − i: its own parameters are not used, as where input_forget = 1 was set",
            "Set input_forget = 0 (ONNX), or uncouple the gates.",
            _coupled,
        )
    if looking:
        yield Cause(
            "peepholes-ignored",
            "the peepholes are ignored: no gate sees the cell state",
            "Hand over P (ONNX) or the peephole weights, or take an engine that has them.",
            lambda r: replace(r.with_parameters(weight_ch=None), cell=_lstm(coupled, False)),
        )


def _lstm(coupled: bool, looking: bool) -> Cell:
    variant = ", ".join(name for name, has in (("coupled", coupled), ("peepholes", looking)) if has)
    return VARIANTS["lstm", variant] if variant else CELLS["lstm"]


def _uncoupled(reading: Reading) -> Reading:
    def with_f(packed: Tensor) -> Tensor:
        i, *others = reading.blocks(packed).values()
        return torch.cat([i, torch.zeros_like(i), *others])

    return _with_gates(reading.with_rows(with_f), reading.p.weight_ch, _lstm(False, bool(reading.cell.peepholes)))


def _coupled(reading: Reading) -> Reading:
    def without_f(packed: Tensor) -> Tensor:
        return torch.cat([block for gate, block in reading.blocks(packed).items() if gate != "f"])

    return _with_gates(reading.with_rows(without_f), reading.p.weight_ch, _lstm(True, bool(reading.cell.peepholes)))


def _with_gates(reading: Reading, weight_ch: Tensor | None, cell: Cell) -> Reading:
    """With the peepholes of that cell's gates: zero where there were none."""
    if weight_ch is not None:
        seen = dict(zip(reading.cell.peepholes, weight_ch.chunk(len(reading.cell.peepholes)), strict=True))
        weight_ch = torch.cat([seen.get(gate, torch.zeros_like(seen["i"])) for gate in cell.peepholes])
    return replace(reading.with_parameters(weight_ch=weight_ch), cell=cell)


def _with(reading: Reading, functions: Functions) -> Reading:
    return replace(reading, nonlinearity=functions)
