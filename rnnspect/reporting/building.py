"""How a report is made: the engine runs once, its run is checked, then computed once more and painted.

One item of the batch is shown. Where every step of it fits into the file, the page derives all numbers itself; else
pictures of them are painted, and some steps are kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.checking.check import Checked, CheckTerms, judge_recorded, judge_recording
from rnnspect.checking.recording import UNSAID, HowRecorded
from rnnspect.errors import InputError
from rnnspect.judging.declared import Declared
from rnnspect.judging.evidence.elsewhere import OtherWeights
from rnnspect.judging.finding import Progress, silent
from rnnspect.judging.stack import assumptions_of
from rnnspect.network.device import plain_defaults
from rnnspect.network.losses import Loss, loss_of
from rnnspect.network.places import check_item
from rnnspect.network.shapes import shapes_of
from rnnspect.reporting.data import Report, RunReport, ShownLoss
from rnnspect.reporting.downsampling import Picture, picture_of
from rnnspect.reporting.gradients.maps import with_gradients
from rnnspect.reporting.heat_maps import painted
from rnnspect.reporting.keeping import CELL, WEIGHTS, Frame, frame_of
from rnnspect.reporting.parameters import bytes_of, parameters_of
from rnnspect.tracing.backward import Manual, by_hand
from rnnspect.tracing.prepare import Prepared


@dataclass(frozen=True)
class Recordings:
    """What somebody's implementation gave, and what it is called."""

    given: Any
    how: HowRecorded = UNSAID
    name: str = "the recording"


@dataclass(frozen=True)
class ReportOptions:
    """What of a run is to be shown, and beside what."""

    item: int | None = None
    """Which item of the batch; None for the one that differs first."""
    steps: tuple[int, ...] | None = None
    """Where not every step fits into the file, those that are kept; None for as many as fit, those about the first
    difference first."""
    beside: tuple[tuple[Prepared, Recordings | None], ...] = ()
    """Other runs of the same network on the same input."""
    loss: Loss | None = None
    """The loss whose gradients are shown as well, if any."""
    loss_asked: str | None = None
    """How the loss was asked for, where that was a word or a file."""
    recover: bool = False
    """Whether the parameters of every engine are recovered, whatever the verdict."""
    checkpoints: tuple[OtherWeights, ...] = ()
    """Others whose weights those may be."""


def with_loss(asked: ReportOptions, loss: Any, prepared: Prepared, where: str) -> ReportOptions:
    """The same with the gradients of a loss, which is said as `loss_of` takes it. Raises what that does."""
    said = os.fspath(loss) if isinstance(loss, str | os.PathLike) else None
    return replace(asked, loss=loss_of(loss, prepared.spec, prepared.sequence, where), loss_asked=said)


def report_prepared(
    prepared: Prepared,
    asked: ReportOptions | None = None,
    recorded: Recordings | None = None,
    declared: Declared | None = None,
    command: str | None = None,
    progress: Progress = silent,
    where: Callable[[str], str] = lambda name: name,
) -> Report:
    """Runs the engine, or takes what was recorded of another one, and judges what it gave and what it is made of.

    `progress` is told of every step when it is judged, and once more, with None, when it is painted; where gradients
    are asked for, of twice the steps of the first run more. `where` gives the name of an argument in messages. Raises
    `InputError` for an item or a step that is not there, and where another run is not of the same numbers.
    """
    spec, sequence, asked = prepared.spec, prepared.sequence, asked or ReportOptions()
    if asked.item is not None:
        check_item(asked.item, sequence.batch, where("batch_index"))
    whose = ((prepared, recorded), *asked.beside)
    judged = [_judged(*one, CheckTerms(declared, progress=progress)) for one in whose]
    if asked.recover:
        judged = [replace(one, verdict=one.with_recovery(progress, asked.checkpoints)) for one in judged]
    _require_same(judged)
    frame = _frame(judged, asked, where)
    names = [one[1].name if one[1] else run.verdict.engine.name for one, run in zip(whose, judged, strict=True)]
    runs = tuple(
        _run(name, run, recording is not None, frame, len(whose), progress)
        for name, run, (_, recording) in zip(names, judged, whose, strict=True)
    )
    loss: ShownLoss | None = None
    if asked.loss is not None:
        manual = by_hand(prepared, asked.loss, lambda steps: progress(None, steps))
        loss = ShownLoss(manual.loss.said, manual.loss_value, asked.loss_asked)
        runs = (_with_gradients(runs[0], manual, frame), *runs[1:])
    return Report(
        spec=spec,
        shapes=shapes_of(spec),
        runs=runs,
        steps=sequence.steps,
        items=sequence.batch,
        item=frame.item,
        length=frame.length,
        batched=sequence.batched,
        whole=frame.whole,
        weights=_weights(judged[0].case.parameters, frame.whole),
        command=command,
        loss=loss,
    )


def _judged(prepared: Prepared, recorded: Recordings | None, terms: CheckTerms) -> Checked:
    if recorded is None:
        return judge_recording(prepared, prepared.run(), terms)
    return judge_recorded(prepared, recorded.given, terms, recorded.how)


def _require_same(judged: Sequence[Checked]) -> None:
    """Raises `InputError` where runs that are to be shown together have other parameters or another input."""
    first, *others = (run.case for run in judged)
    for other in others:
        pairs = [(values, other.parameters[name]) for name, values in first.parameters.items()]
        pairs += [(first.sequence.x, other.sequence.x)]
        if not all(a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs):
            found = "two runs with other parameters or another input"
            raise InputError(found, allowed="a page for each of them: rnnspect report … -o other.html")


def _run(name: str, run: Checked, recorded: bool, frame: Frame, runs: int, progress: Progress) -> RunReport:
    case, verdict = run.case, run.verdict
    with plain_defaults(), torch.inference_mode():
        assumption_of = assumptions_of(case)
        assumptions = {place: assumption_of(*place) for place in case.spec.places}
        layers = tuple(painted(case, one.run, place, frame, progress) for place, one in assumptions.items())
        parameters = parameters_of(list(assumptions.values()), verdict.recovered, runs)
    return RunReport(name, verdict, recorded, layers, parameters)


def _with_gradients(run: RunReport, manual: Manual, frame: Frame) -> RunReport:
    own = manual.prepared
    layers = (with_gradients(layer, one, own, frame) for layer, one in zip(run.layers, manual.layers, strict=True))
    return replace(run, layers=tuple(layers))


def _weights(parameters: Mapping[str, Tensor], whole: bool) -> dict[str, Picture]:
    """Every parameter whole where all fit; else smaller pictures of the larger ones."""
    numbers = {name: values.reshape(len(values), -1).double().numpy() for name, values in parameters.items()}
    whole = whole or sum(values.size for values in numbers.values()) * CELL <= WEIGHTS
    most = WEIGHTS // (CELL * max(1, len(numbers)))
    return {name: picture_of(values, values.size if whole else most) for name, values in numbers.items()}


def _frame(judged: Sequence[Checked], asked: ReportOptions, where: Callable[[str], str]) -> Frame:
    """The item that was asked for, else that of the first difference, and what is kept of it: where not every step
    fits, those about the first difference, or about the number that came nearest to its bound."""
    cases, verdicts = [run.case for run in judged], [run.verdict for run in judged]
    verdict = next((one for one in verdicts if one.first), verdicts[0])
    item = asked.item if asked.item is not None else verdict.first.batch if verdict.first else 0
    length = cases[0].sequence.length(item)
    if asked.steps is not None and not asked.steps:
        raise InputError("no step at all", allowed=f"some of 0 to {length - 1}", where=where("steps"))
    if beyond := [step for step in asked.steps or () if not 0 <= step < length]:
        raise InputError(
            f"no step {beyond[0]} in batch item {item}", allowed=f"0 to {length - 1}", where=where("steps")
        )
    point = verdict.first or verdict.worst
    interesting = point.step if point and point.batch == item else -1
    of_parameters = bytes_of(cases[0].parameters, [one.recovered for one in verdicts])
    with_gradients, not_wrong = asked.loss is not None, verdicts[0].first is None
    return frame_of(cases, item, asked.steps, interesting, with_gradients, not_wrong, of_parameters)
