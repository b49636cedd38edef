"""How a report is made: the engine runs once, its run is checked, then computed once more and painted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.checking.check import judge_recorded, judge_recording
from rnnspect.judging.declared import Declared
from rnnspect.judging.finding import Progress, silent
from rnnspect.judging.rounding import Rounding
from rnnspect.judging.stack import runs_of
from rnnspect.network.device import plain_defaults
from rnnspect.network.parameters import shapes_of
from rnnspect.reporting.data import Report
from rnnspect.reporting.deriving import check_item
from rnnspect.reporting.downsampling import Picture, picture_of
from rnnspect.reporting.heat_maps import painted
from rnnspect.reporting.kept_steps import CELL, ReportOptions, frame_of
from rnnspect.tracing.prepare import Prepared

_WEIGHTS = 500_000
"""Bytes of the file that all weights may take, before base64 makes a third more of them."""


@dataclass(frozen=True)
class Recordings:
    """What somebody's implementation gave, where an array of it is, by its name, and how its numbers were rounded,
    where somebody says so."""

    given: Any
    where: Callable[[str | None], str] = lambda _name: "recorded"
    rounding: Rounding | None = None


def report_prepared(
    prepared: Prepared,
    asked: ReportOptions | None = None,
    recorded: Recordings | None = None,
    declared: Declared | None = None,
    command: str | None = None,
    progress: Progress = silent,
    where: Callable[[str], str] = lambda name: name,
) -> Report:
    """Runs the engine, or takes what was recorded of another one, and judges and paints what it gave.

    `progress` is told of every step when it is judged, and once more, with None, when it is painted. `where` says how
    an argument is called in messages. Raises `InputError` for an item or a step that is not there.
    """
    spec, sequence, asked = prepared.spec, prepared.sequence, asked or ReportOptions()
    if asked.item is not None:
        check_item(asked.item, sequence.batch, where("batch_index"))
    if recorded is None:
        recording = prepared.engine.run(spec, prepared.parameters, sequence)
        checked = judge_recording(prepared, recording, declared, progress)
    else:
        where_recorded, rounding = recorded.where, recorded.rounding
        checked = judge_recorded(prepared, recorded.given, declared, progress, where_recorded, rounding=rounding)
    case, verdict = checked.case, checked.verdict
    frame = frame_of(prepared, verdict, asked, where)
    with plain_defaults(), torch.inference_mode():
        runs = runs_of(case)
        layers = tuple(
            painted(case, runs(*place), place, frame, progress)
            for place in itertools.product(range(spec.num_layers), spec.directions)
        )
    return Report(
        spec=spec,
        shapes=shapes_of(spec),
        verdict=verdict,
        steps=sequence.steps,
        items=sequence.batch,
        item=frame.item,
        length=frame.length,
        batched=sequence.batched,
        layers=layers,
        weights=_weights(case.parameters),
        command=command,
        recorded=recorded is not None,
    )


def _weights(parameters: Mapping[str, Tensor]) -> dict[str, Picture]:
    """Every parameter whole where all fit; else smaller pictures of the larger ones."""
    numbers = {name: values.reshape(len(values), -1).double().numpy() for name, values in parameters.items()}
    whole = sum(values.size for values in numbers.values()) * CELL <= _WEIGHTS
    most = _WEIGHTS // (CELL * len(numbers))
    return {name: picture_of(values, values.size if whole else most) for name, values in numbers.items()}
