"""Dropout between layers, found from the input of a layer: it is 0, or 1/(1 − p) times the output of the layer
below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.checking.recording_inputs import WhereArray
from rnnspect.errors import SequenceError, listed
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase, outputs_of
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.network.gradients import input_name, input_names

_NEAR = 1e-3
"""How near a measured 1/(1 − p) has to be to that of a p with two digits, or of the spec's p."""
_LARGE = 0.1
"""As a share of the largest number of a layer's output: p is measured on larger numbers."""
_ROUNDINGS = 4.0


def with_dropout(
    case: ResultsCase, where: WhereArray = lambda _name: "given", kept: Mapping[str, RecordedPrecision] | None = None
) -> tuple[ResultsCase, tuple[str, ...]]:
    """The case with the dropout that acted between its layers, and what is said of it. `kept` says how exactly their
    inputs were recorded.

    Raises `SequenceError` where the inputs of some layers only are there, and where one of them is not what the layer
    below gives, with dropout or without.
    """
    inputs = case.given.inputs
    if not inputs:
        return case, ()
    missing = [name for name, layer in input_names(case.spec).items() if layer not in inputs]
    if missing:
        found = f"{listed(input_name(layer) for layer in inputs)} without {listed(missing)}"
        raise SequenceError(found, allowed="the input of each layer but the lowest, or of none", where=where(None))
    notes = []
    for layer, given in sorted(inputs.items()):
        own, bound = outputs_of(case, layer - 1)
        error = (kept or {}).get(input_name(layer), EXACT).error(given)
        factor = _factor(case, layer, (own, bound + error), where(input_name(layer)))
        if factor is None:
            continue
        unread = (given == 0) & ~(own.abs() > bound)
        case = replace(case, dropped={**case.dropped, layer: factor}, undecided={**case.undecided, layer: unread})
        zeros = float((factor == 0).double().mean())
        p = 1 - 1 / float(factor.max()) if bool(factor.any()) else None  # else all was dropped
        with_p = f", with p = {p:.4g}" if p else ""
        said = f"dropout acted on the input of layer {layer}{with_p}: {100 * zeros:.0f} % of it is zero"
        said += ", and the rest is not divided by 1 − p" if p == 0 else ""
        notes.append(f"{said}; the mask was read from {input_name(layer)}")
    return case, tuple(notes)


def _factor(case: ResultsCase, layer: int, told: WithError, where: str) -> Tensor | None:
    """0 or 1/(1 − p), as the input of the layer is to the output of the one below, (T, B, D·P); None where it is the
    same."""
    own, bound = told
    values, unit = case.given.inputs[layer].double(), case.declared.roundoff.stored
    valid = case.sequence.valid()
    inside = torch.ones(own.shape[:2]).bool() if valid is None else valid
    kept = (values != 0) & inside.unsqueeze(-1)
    size = own.abs() * kept
    large = values.isfinite() & (size > _LARGE * size.max())
    scale = _scale(float((values / own)[large].median()), case.spec.dropout) if bool(large.any()) else 1.0
    off = (values - scale * own).abs() - scale * bound - values.abs() * (_ROUNDINGS * unit)
    wrong = (kept & ~(off <= 0) & own.isfinite()).nonzero()
    if len(wrong):
        at = tuple(int(n) for n in wrong[0])
        found = (
            f"{input_name(layer)} is {float(values[at]):.6g} at step {at[0]}, batch item {at[1]}, unit {at[2]}, "
            f"where layer {layer - 1} gives {float(own[at]):.6g}"
        )
        raise SequenceError(found, allowed="0, or that number divided by 1 − p, with one p for all", where=where)
    dropped = (values == 0) & (own.abs() > bound) & inside.unsqueeze(-1)
    if scale == 1 and not bool(dropped.any()):
        return None
    return torch.full_like(own, scale).masked_fill_(dropped, 0)


def _scale(measured: float, said: float) -> float:
    """1/(1 − p) for the p that was meant, from a measured one."""
    if not measured > 0:
        return measured
    near = [p for p in (0.0, said, round(1 - 1 / measured, 2)) if p < 1 and abs(measured * (1 - p) - 1) < _NEAR]
    return 1 / (1 - near[0]) if near else measured
