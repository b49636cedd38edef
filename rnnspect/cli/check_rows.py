"""What a check says of each source and engine that it was asked about: a row each."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.cli import live, onnx_model
from rnnspect.cli.live import Row
from rnnspect.cli.output import Output, say
from rnnspect.cli.progress import SoFar, progress_bar
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import EngineError, InputError, RnnspectError
from rnnspect.files.stored import is_onnx
from rnnspect.judging.verdict import Skipped, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rnnspect.cli.describing import Described
    from rnnspect.judging.declared import Declared
    from rnnspect.tracing.prepare import Prepared


@dataclass(frozen=True)
class Asked:
    """What is asked of every source."""

    each: functools.partial[Described]
    """The shared options, to be read for one source after the other."""
    engines: tuple[str, ...]
    """Those that were chosen; none for what the source itself says."""
    every: bool
    """Whether they are all that there are: one that cannot run a source is left out."""
    several: bool
    """Whether there is more than one row: then an error is one."""
    recorded: Path | None
    is_probe: bool
    held_to: Declared | None
    explain: float | None
    """Seconds to look for known mistakes in each run that differs; None for the usual ones."""
    output: Output


def rows_of(source: str, asked: Asked) -> Iterator[Row]:
    """Raises what is wrong with a source where it is the only one."""
    label = source or "the notebook's example"
    try:
        if asked.is_probe:
            usual, prepare = "torch", functools.partial(_probed, Path(source))
        elif names_code(source):
            _refuse_beside(asked, "a live model runs itself")
            yield from live.rows(source, asked.each(None), asked.held_to, asked.explain, asked.output)
            return
        elif source.endswith(".py"):
            raise live.unnamed(source)
        elif is_onnx(Path(source)):
            _refuse_beside(asked, "a model of ONNX is run by onnxruntime")
            yield from onnx_model.rows(source, asked.each.keywords, asked.held_to, asked.explain, asked.output)
            return
        else:
            described = asked.each(Path(source) if source else None)
            described.note(asked.output)
            usual, prepare = described.engine, functools.partial(_prepared, described, asked.recorded)
    except RnnspectError as error:
        if not asked.several:
            raise
        yield _failed(label, error)
        return
    for name in asked.engines or [usual]:
        try:
            verdict = _checked(prepare, name, asked)
        except RnnspectError as error:
            if not asked.several:
                raise
            left_out = asked.every and isinstance(error, EngineError)
            yield _failed(f"{label} ({name})", error, left_out)
        else:
            yield Row(label, verdict, verdict.exit_status)


def _refuse_beside(asked: Asked, found: str) -> None:
    if beside := "--recorded" if asked.recorded else "--engine" if asked.engines else "":
        raise InputError(found, allowed=f"{beside} beside a spec", where=beside)


def _failed(source: str, error: RnnspectError, left_out: bool = False) -> Row:
    said = "; ".join(map(str, error.problems))
    return Row(source, Skipped(said), 0) if left_out else Row(source, said, error.exit_status)


def _checked(prepare: Callable[[], Prepared], engine: str, asked: Asked) -> Verdict:
    from rnnspect import engines
    from rnnspect.checking.check import check_prepared, check_recorded
    from rnnspect.cli.notes import note_what_is_not_finite
    from rnnspect.cli.recordings import read_recorded

    prepared = prepare()
    if engine != "torch":
        prepared = replace(prepared, engine=engines.find(engine, "--engine"))
    note_what_is_not_finite(prepared.sequence, asked.output)
    spec = prepared.spec
    steps = prepared.sequence.steps * spec.num_layers * spec.num_directions
    with progress_bar("checking every step", steps, asked.output.quiet) as advance:
        so_far = SoFar(advance)
        try:
            if asked.recorded is None:
                return check_prepared(prepared, asked.held_to, so_far, asked.explain)
            given, place = read_recorded(str(asked.recorded))
            return check_recorded(prepared, given, asked.held_to, so_far, place, asked.explain)
        except KeyboardInterrupt:
            say(f"stopped {so_far}")
            raise


def _prepared(described: Described, recorded: Path | None) -> Prepared:
    from rnnspect.network import memory
    from rnnspect.tracing.prepare import prepare

    needs = memory.check_needs if recorded else memory.run_needs
    return prepare(described.spec, where=described.where, require_memory=needs)


def _probed(probe: Path) -> Prepared:
    from rnnspect.checking.probe_file import read_probe

    return read_probe(probe)
