"""Settings beyond torch.nn that an engine ignores: clip, activations, coupled gates, peepholes.

In ONNX they are optional attributes and inputs, and a runtime may ignore one without saying so.
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
from rnnspect.judging.assumption import Assumption

_Change = Callable[[Assumption], Assumption]
_Ignored = tuple[str, str, _Change]
"""The key of a spec, what the engine does without it, and the assumption without it."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    ignored = list(_asked(assumed))
    for key, otherwise, change in ignored:
        fix = f"Use an engine that supports {key}, or build it into the model."
        ignored_so = f"{key} {'are' if key.endswith('s') else 'is'} ignored: {otherwise}"
        yield Cause(_name(key), ignored_so, fix, change, {"which": "all"})
    for size in range(2, len(ignored) + 1):
        for several in itertools.combinations(ignored, size):
            keys = " and ".join(key for key, _, _ in several)
            yield Cause(
                _name(several[0][0]),
                f"{keys} are ignored: " + "; ".join(otherwise for _, otherwise, _ in several),
                "Use an engine that supports them, or build them into the model.",
                functools.partial(_one_after_the_other, changes=[change for _, _, change in several]),
                {"which": keys},
            )
    yield from _in_part(assumed)


def _name(key: str) -> str:
    return f"{key.replace('_', '-')}-ignored"


def _asked(assumed: Assumption) -> Iterator[_Ignored]:
    asked, cell = assumed.functions, assumed.cell
    if not replace(asked, clip=None, constants=()).are_usual:  # `activations` other than those torch.nn has
        usual = "sigmoid and tanh are used instead"
        yield "activations", usual, _with_usual_functions
    if asked.clip is not None:
        unlimited = f"the inputs of the functions are not clipped to ±{asked.clip:g}"
        yield "clip", unlimited, lambda r: r.with_functions(clip=None)
    if "coupled" in cell.variant:
        uncoupled = "the forget gate has its own parameters, here zeros, and stays at ½"
        yield "input_forget", uncoupled, lambda r: _as_lstm(r, coupled=False, peepholes=bool(r.cell.peepholes))
    if cell.peepholes and cell.name == "lstm":
        yield (
            "peepholes",
            "no gate sees the cell state",
            lambda r: _as_lstm(r, coupled="coupled" in r.cell.variant, peepholes=False),
        )


def _in_part(assumed: Assumption) -> Iterator[Cause]:
    """The setting is known, but applied in another way than meant, or only in part."""
    asked, cell = assumed.functions, assumed.cell
    if asked.clip is not None and cell.has_cell_state:
        yield Cause(
            "clip-misplaced",
            f"clip = {asked.clip:g} is applied only to the gates and the candidate: the cell state enters its function "
            "unclipped, as in onnxruntime",
            "Do not use clip where cell states exceed it, or use an engine that clips the input of every function, as "
            "ONNX specifies.",
            lambda r: r.with_functions(clips_squash=False),
            {"where": "gates alone"},
        )
    usual_numbers: dict[str, Any] = {
        name: _without_numbers(getattr(asked, name)) for name in ("sigmoid", "tanh", "squash", "phi")
    }
    if (plain := replace(asked, **usual_numbers)) != asked:
        yield Cause(
            "activations-ignored",
            "activation_alpha and activation_beta are ignored: the functions are used with ONNX's default numbers",
            "Give the numbers of every function that has some, in the order of activations.",
            functools.partial(replace, nonlinearity=plain),
            {"which": "alpha and beta"},
        )
    spec = assumed.stack.spec
    forward = functions_of(spec.nonlinearity_of("forward"))
    if assumed.direction == "reverse" and spec.bidirectional and forward != asked:
        yield Cause(
            "activations-ignored",
            "the reverse direction uses the forward direction's functions: the second half of activations is ignored",
            "List the functions of both directions, and check that the engine reads the second half.",
            functools.partial(replace, nonlinearity=forward),
            {"which": "the reverse direction's"},
        )
    if cell.name == "lstm" and assumed.p.weight_hr is None:
        yield Cause(
            "input-forget-added",
            "the forget gate is 1 − i, as with input_forget = 1: its own parameters are not used",
            "Set input_forget = 0 (ONNX), or uncouple the gates.",
            lambda r: _as_lstm(r, coupled=True, peepholes=bool(r.cell.peepholes)),
        )


def _one_after_the_other(assumed: Assumption, changes: list[_Change]) -> Assumption:
    return functools.reduce(lambda made, change: change(made), changes, assumed)


def _with_usual_functions(assumed: Assumption) -> Assumption:
    asked = assumed.functions
    return replace(assumed, nonlinearity=Functions(clip=asked.clip, constants=asked.constants))


def _without_numbers(f: Activation) -> Activation:
    return Activation(f.name, **KINDS[f.name].numbers)


def _as_lstm(assumed: Assumption, coupled: bool, peepholes: bool) -> Assumption:
    """The assumption with the equations of that LSTM, and the parameters that both have; parameters of a gate that is
    new are zero."""
    variant = ", ".join(name for name, has in (("coupled", coupled), ("peepholes", peepholes)) if has)
    cell, before = VARIANTS["lstm", variant] if variant else CELLS["lstm"], assumed.cell
    weight_ch = assumed.p.weight_ch if peepholes else None
    if weight_ch is not None:
        weight_ch = _rows_of(cell.peepholes, weight_ch, before.peepholes)
    made = assumed.with_rows(lambda packed: _rows_of(cell.gates, packed, before.gates))
    return replace(made.with_parameters(weight_ch=weight_ch), cell=cell)


def _rows_of(gates: Sequence[str], packed: Tensor, before: Sequence[str]) -> Tensor:
    """The rows of these gates in a parameter that is packed in the order `before`."""
    blocks = dict(zip(before, packed.chunk(len(before)), strict=True))
    return torch.cat([blocks.get(gate, torch.zeros_like(blocks["i"])) for gate in gates])
