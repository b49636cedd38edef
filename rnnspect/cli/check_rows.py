"""What a check says of each source and engine that it was asked about: a row each."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.cli import live, onnx_model
from rnnspect.cli.live import Row
from rnnspect.cli.output import Output, note_what_is_not_finite, say
from rnnspect.cli.progress import SoFar, progress_bar
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import EngineError, InputError, RnnspectError
from rnnspect.files.stored import is_onnx
from rnnspect.judging.verdict import Skipped, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rnnspect.cli.given import Given
    from rnnspect.judging.declared import Declared
    from rnnspect.tracing.prepare import Prepared


@dataclass(frozen=True)
class Job:
    """What is done with every source."""

    given: Given
    engines: tuple[str, ...]
    """Those that were chosen; none for what the source itself says."""
    every: bool
    """Whether they are all that there are: one that cannot run a source is left out."""
    several: bool
    """Whether there is more than one row: then an error is one."""
    recorded: Path | None
    is_probe: bool
    """Whether the source is a probe."""
    held_to: Declared | None
    output: Output


def rows_of(source: str, job: Job) -> Iterator[Row]:
    """Raises what is wrong with a source where it is the only one."""
    label = source or "the notebook's example"
    try:
        if (rows := _inside(source, job)) is not None:
            yield from rows
            return
        usual, prepare = _run_of(source, job)
    except RnnspectError as error:
        if not job.several:
            raise
        yield _failed(label, error)
        return
    for name in job.engines or [usual]:
        try:
            verdict = _checked(prepare, name, job)
        except RnnspectError as error:
            if not job.several:
                raise
            left_out = job.every and isinstance(error, EngineError)
            yield _failed(f"{label} ({name})", error, left_out)
        else:
            yield Row(label, verdict, verdict.exit_status)


def _inside(source: str, job: Job) -> list[Row] | None:
    """A row for each call inside of a model, which runs itself; None for what is no model."""
    if job.is_probe:
        return None
    if names_code(source):
        _refuse_beside(job, "a live model runs itself")
        return live.rows(source, job.given.describe(), job.held_to, job.output)
    if source.endswith(".py"):
        raise live.unnamed(source)
    if is_onnx(Path(source)):
        _refuse_beside(job, "a model of ONNX is run by onnxruntime")
        return onnx_model.rows(source, job.given.options, job.held_to, job.output)
    return None


def _run_of(source: str, job: Job) -> tuple[str, Callable[[], Prepared]]:
    """The engine that runs a probe or a spec unless another is named, and what makes the run."""
    if job.is_probe:
        return "torch", functools.partial(_probed, Path(source))
    described = job.given.describe(Path(source) if source else None)
    described.note(job.output)

    def prepared() -> Prepared:
        from rnnspect.network import memory
        from rnnspect.tracing.prepare import prepare

        needs = memory.check_needs if job.recorded else memory.run_needs
        return prepare(described.spec, where=described.where, require_memory=needs)

    return described.engine, prepared


def _refuse_beside(job: Job, found: str) -> None:
    if beside := "--recorded" if job.recorded else "--engine" if job.engines else "":
        raise InputError(found, allowed=f"{beside} beside a spec", where=beside)


def _failed(source: str, error: RnnspectError, left_out: bool = False) -> Row:
    said = "; ".join(map(str, error.problems))
    return Row(source, Skipped(said), 0) if left_out else Row(source, said, error.exit_status)


def _checked(prepare: Callable[[], Prepared], engine: str, job: Job) -> Verdict:
    from rnnspect import engines
    from rnnspect.checking.check import check_prepared, check_recorded
    from rnnspect.cli.recordings import read_recorded

    prepared = prepare()
    if engine != "torch":
        prepared = replace(prepared, engine=engines.find(engine, "--engine"))
    note_what_is_not_finite(prepared.sequence, job.output)
    spec = prepared.spec
    steps = prepared.sequence.steps * spec.num_layers * spec.num_directions
    with progress_bar("checking every step", steps, job.output.quiet) as advance:
        so_far = SoFar(advance)
        try:
            if job.recorded is None:
                return check_prepared(prepared, job.held_to, so_far)
            given, place = read_recorded(str(job.recorded))
            return check_recorded(prepared, given, job.held_to, so_far, place)
        except KeyboardInterrupt:
            say(f"stopped {so_far}")
            raise


def _probed(probe: Path) -> Prepared:
    from rnnspect.checking.probe_file import read_probe

    return read_probe(probe)
