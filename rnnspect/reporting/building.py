"""How a report is made: the engine runs once, its run is checked, then computed once more and painted.

One item of the batch is painted, and the derivations of some steps are kept, so that the file stays small.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.checking.check import judge_recorded, judge_recording
from rnnspect.errors import InputError
from rnnspect.judging.declared import Declared
from rnnspect.judging.finding import Progress, silent
from rnnspect.judging.rounding import Rounding
from rnnspect.judging.stack import runs_of
from rnnspect.judging.verdict import Verdict
from rnnspect.network.device import plain_defaults
from rnnspect.network.parameters import shapes_of
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import Report
from rnnspect.reporting.deriving import check_item
from rnnspect.reporting.downsampling import Picture, picture_of
from rnnspect.reporting.heat_maps import Frame, painted
from rnnspect.tracing.prepare import Prepared

MOST_KEPT = 64
"""Steps whose derivations a report keeps, where nobody asks for other ones."""
_CELL = 4
"""Bytes of a cell of a picture in the file: a float32, or a smallest and a largest number of two bytes each."""
_PICTURES, _DERIVATIONS, _WEIGHTS = 3_500_000, 1_300_000, 500_000
"""Bytes of the file that all pictures, all kept steps and all weights may take, before base64 makes a third more."""


@dataclass(frozen=True)
class ReportOptions:
    """What of a run is to be shown."""

    item: int | None = None
    """Which item of the batch; None for the one that differs first."""
    steps: tuple[int, ...] | None = None
    """The steps whose derivations are kept; None for as many as fit, those about the first difference first."""


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

    `progress` is told of every step when it is judged, and once more, with None, when it is painted. `where` gives the
    name of an argument in messages. Raises `InputError` for an item or a step that is not there.
    """
    spec, sequence, asked = prepared.spec, prepared.sequence, asked or ReportOptions()
    if asked.item is not None:
        check_item(asked.item, sequence.batch, where("batch_index"))
    if recorded is None:
        recording = prepared.run()
        checked = judge_recording(prepared, recording, declared, progress)
    else:
        where_recorded, rounding = recorded.where, recorded.rounding
        checked = judge_recorded(prepared, recorded.given, declared, progress, where_recorded, rounding=rounding)
    case, verdict = checked.case, checked.verdict
    frame = _frame(prepared, verdict, asked, where)
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
    whole = sum(values.size for values in numbers.values()) * _CELL <= _WEIGHTS
    most = _WEIGHTS // (_CELL * len(numbers))
    return {name: picture_of(values, values.size if whole else most) for name, values in numbers.items()}


def _frame(prepared: Prepared, verdict: Verdict, asked: ReportOptions, where: Callable[[str], str]) -> Frame:
    """The item and the steps that were asked for; else those about the first difference, or about the number that
    came nearest to its bound."""
    spec, sequence = prepared.spec, prepared.sequence
    item = asked.item if asked.item is not None else verdict.first.batch if verdict.first else 0
    length = sequence.length(item)
    point = verdict.first or verdict.worst
    interesting = point.step if point and point.batch == item else -1
    kept = kept_steps(length, _kept_at_most(spec), interesting) if asked.steps is None else asked.steps
    if not kept:
        raise InputError("no step at all", allowed=f"some of 0 to {length - 1}", where=where("steps"))
    if beyond := [step for step in kept if not 0 <= step < length]:
        raise InputError(f"no step {beyond[0]} in item {item}", allowed=f"0 to {length - 1}", where=where("steps"))
    # So that all pictures fit: x, its projection, each quantity, and of h the engine's, the difference and the ratio.
    cells = _PICTURES // (_CELL * (len(spec.quantities) + 3) * spec.num_layers * spec.num_directions)
    return Frame(item, length, kept, cells)


def kept_steps(length: int, most: int, interesting: int) -> tuple[int, ...]:
    """All `length` steps, or `most` of them: the first two, the last, an interesting one (-1: none) with the step on
    each side of it, and others evenly between."""
    if length <= most:
        return tuple(range(length))
    about = [interesting, interesting - 1, interesting + 1] if interesting >= 0 else []
    wanted = dict.fromkeys([*about, 0, length - 1, 1])
    kept = [step for step in wanted if 0 <= step < length][:most]
    spread = np.linspace(0, length - 1, most).round().astype(int).tolist()
    others = [step for step in spread if step not in kept]
    free = most - len(kept)
    kept += [others[at * len(others) // free] for at in range(min(free, len(others)))]
    return tuple(sorted(kept))


def _kept_at_most(spec: Spec) -> int:
    """How many steps fit into a file of the usual size. The file holds x and the states of each and, where there is no
    room for the weights, both sums of products of each gate."""
    cell = spec.cell_type
    units = (2 * len(cell.gates) + len(cell.states)) * spec.hidden_size
    numbers = sum(units + spec.layer_input_size(layer) for layer in range(spec.num_layers))
    return max(min(MOST_KEPT, _DERIVATIONS // (8 * numbers * spec.num_directions)), 1)
