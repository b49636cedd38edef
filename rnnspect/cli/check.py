from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from rnnspect.cli import models, recovering, sweeping
from rnnspect.cli import probe as probing
from rnnspect.cli.backward import checked, usual_engine
from rnnspect.cli.check_options import CheckOptions
from rnnspect.cli.describing import Described, Describing, Given
from rnnspect.cli.models import CheckRow
from rnnspect.cli.next_command import next_command, one_of_several
from rnnspect.cli.options import command, formats, network
from rnnspect.cli.output import Output, SoFar, checking, loading, note_what_is_not_finite, progress_bar
from rnnspect.cli.recorded import read_recorded
from rnnspect.cli.running import note_axes, prepared_of
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import EngineError, InputError, RnnspectError
from rnnspect.judging.verdict import Skipped, Verdict
from rnnspect.network.progress import untold

if TYPE_CHECKING:
    from rnnspect.judging.declared import Declared
    from rnnspect.judging.rounding import Rounding
    from rnnspect.tracing.prepare import Prepared

WORST_FIRST = (4, 1, 2, 3, 0)
"""Exit statuses: of several sources, the one that comes first here is returned."""


@dataclass(frozen=True)
class _Job:
    """What is checked of every source, and how."""

    given: Given
    asked: CheckOptions
    engines: list[str]
    """The names of those that were chosen; empty for the usual engine of each source."""
    held_to: Declared | None
    rounding: Rounding | None
    output: Output
    alone: bool
    """Whether there is one row at most: then what is wrong is raised, and no row."""
    shown: list[Verdict] = field(default_factory=list)
    """The verdict whose first lines are on the screen already, while causes are looked for."""


@command("rnnspect check configs/lstm.yaml --engine torch-cell")
def check(
    given: Annotated[Given, network(source=False)],
    output: Annotated[Output, formats("table", "json", "junit", "svg")],
    asked: CheckOptions,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE…",
            help="Specs in YAML, files of weights, .onnx models, or a live PyTorch model: path/to/model.py:build; "
            "several are a row each",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Whether an implementation computes the equations, and why not.

    Exit status: 0 agree, 1 differ, 2 bad input, 3 cannot tell, 4 a bug in rnnspect."""
    with loading():
        from rnnspect import engines
        from rnnspect.judging import rounding
        from rnnspect.judging.declared import named
        from rnnspect.weights import readers

    if asked.recorded and asked.engine:
        raise InputError("cannot be combined with --engine", advice="pass one of them", where="--recorded")
    if asked.loss and not asked.backward:
        raise InputError("a loss is for gradients", advice="add --backward", where="--loss")
    if asked.recorded_as and not asked.recorded:
        raise InputError("needs --recorded FILE", where="--recorded-as")
    if asked.probe is not None:
        probing.refuse_beside(sources, given, asked.write_probe)
        sources = [str(asked.probe)]
    models.refuse_no_name(sources)
    sweeping.check_asked(asked)
    held_to = named(asked.arithmetic, "--arithmetic") if asked.arithmetic else None
    if asked.sweep:
        with readers.each_file_once():
            return sweeping.swept(given, asked, sources or [""], held_to, output)
    rounded = rounding.named(asked.recorded_as, "--recorded-as")
    chosen = engines.every() if asked.engine == ["all"] else asked.engine or (["torch"] if asked.recorded else [])
    sources = sources or [""]
    rows = len(sources) * max(1, len(chosen)) * max(1, len(asked.recorded or ()))
    job = _Job(given, asked, chosen, held_to, rounded, output, rows == 1)
    probing.check_asked(asked.write_probe, job.alone)
    recovering.check_asked(asked.recover, job.alone, asked.other_weights, asked.backward)
    models.note_no_comparison(sources, job.output)
    with readers.each_file_once():
        found = [row for source in sources for row in models.or_unchecked(list(_rows_of(source, job)), job.output)]
    _emit(found, output, asked.verbose, job.shown != [])
    verdicts = [row.found for row in found if isinstance(row.found, Verdict)]
    recovering.write(asked.recover, verdicts, output)
    if asked.write_probe is not None:
        probing.write_where_needed(asked.write_probe, verdicts, output, given)
    elif asked.probe is None and any(verdict.indistinguishable for verdict in verdicts):
        output.note("note: --write-probe probe.npz writes test data for which these mistakes give different numbers")
    return min((row.status for row in found), key=WORST_FIRST.index)


def _emit(rows: list[CheckRow], output: Output, verbose: bool, shown: bool) -> None:
    """One run in full, without its first lines if these were shown before; several as a row each."""
    from rnnspect.views import check as view
    from rnnspect.views import checks

    found = [(row.source, row.found) for row in rows]
    alone = rows[0].found if len(rows) == 1 and isinstance(rows[0].found, Verdict) else None

    def table(width: int) -> Iterable[RenderableType]:
        if alone is None:
            return checks.rows(found, width)
        begun = () if shown else view.first_lines(alone, rows[0].subject)
        return itertools.chain(begun, view.other_lines(alone, rows[0].subject, rows[0].then, verbose))

    def document() -> Any:
        return [checks.document(*one) for one in found] if alone is None else checks.document(*found[0])

    output.emit(table, document=document, junit=lambda: checks.as_junit(found, [row.subject for row in rows]))
    if output.path is not None:  # the result is in the file, so the answers are told beside it
        for said in checks.in_short(found) if alone is None else [view.summary(alone, rows[0].subject)]:
            output.note(said)


def _rows_of(source: str, job: _Job) -> Iterator[CheckRow]:
    """A row for each engine and recurrent module, or for each call inside of a model. Raises what is wrong where one
    row was asked for."""
    label = source or "(no file)"
    if not source and not job.given.typed.keys() - models.SEQUENCE and not job.asked.probe:
        models.tell_of_no_network(job.output)
    try:
        if (rows := _inside(source, job)) is not None:
            yield from rows
            return
        path = Path(source) if source else None
        every = {"": None} if job.asked.probe else job.given.describe_every(path)
        if job.asked.recorded and len(every) > 1:
            raise one_of_several(label, every)
    except RnnspectError as error:
        yield _failed(label, error, job)
        return
    for name, describing in every.items():
        one = replace(job, alone=job.alone and len(every) == 1)
        yield from _rows_of_module(source, f"{source}:{name}" if len(every) > 1 else label, describing, one)


def _rows_of_module(source: str, label: str, describing: Describing | None, job: _Job) -> Iterator[CheckRow]:
    """A row for each recording, or each engine that runs the network; of a probe, which describes itself, where it is
    None."""
    recordings: list[Path | None] = [*(job.asked.recorded or ())]
    try:
        described = describing.made() if describing else None
        described = described and (described.as_received(job.output) if job.asked.recorded else described)
        label = label if source or described is None else _named(described, job.given)
        engines = job.engines or [usual_engine(source, described, job.asked.backward, job.output)]
    except RnnspectError as error:
        yield _failed(label, error, job)
        return
    own = any(names_code(name) for name in engines)  # which is given an x with a batch, whatever was given
    for note in (described.notes if own else described.notes_of_a_run) if described else ():
        job.output.note(note if job.alone else note.replace(f"{label} ", f"{source} "))
    try:
        prepared = _prepared(source, described, job)  # once: a pipe can be read no second time
        if described:
            note_axes(prepared, job.output)
    except RnnspectError as error:
        yield from (_failed(f"{label} ({name})", error, job) for name in recordings or engines)
        return
    given = replace(job.given, path=Path(source) if source else None)
    for file in recordings or [None]:
        for name in engines:
            said = f"{label} {file}" if len(recordings) > 1 else label
            try:
                made = prepared.with_engine(name, "--engine", needed=file is None)
                verdict = _checked(sweeping.split_of(job.asked, made), job, file)
            except RnnspectError as error:
                # Of all engines those are left out that cannot run a source.
                left_out = job.asked.engine == ["all"] and isinstance(error, EngineError)
                yield _failed(f"{label} ({name})" if file is None else said, error, job, left_out)
            else:
                engine = name if job.engines else None
                then = ""
                if described:
                    then = next_command(verdict, given, described, engine, file, job.asked)
                yield CheckRow(said, verdict, verdict.exit_status, "" if file is None else str(file), then)


def _named(described: Described, given: Given) -> str:
    """A network that no file describes: RNN(5, 2) (defaults)."""
    from rnnspect.network.parameters import recurrent_repr

    shown = recurrent_repr(described.spec.with_changes(batch_first=False))
    return shown if given.typed else f"{shown} (defaults)"


def _inside(source: str, job: _Job) -> list[CheckRow] | None:
    """A row for each call inside of a model, which runs itself; None for what is no model."""
    from rnnspect.network import memory

    if job.asked.probe:
        return None
    if job.asked.backward and names_code(source):
        _refuse_beside(job, "cannot be used with a live model, which runs itself", "check its weights: model.pt")
        made, _ = models.prepared_call(source, job.given, job.output, memory.check_run_needs)
        verdict = _checked(made, job, None)
        return [CheckRow(source, verdict, verdict.exit_status)]
    if names_code(source):
        advice = "save its weights, torch.save(model.state_dict(), 'model.pt'), and check that file"
        _refuse_beside(job, "cannot be used with a live model, which runs itself", advice)
        return models.live_rows(source, job.given, job.held_to, job.asked.explain, job.output)
    if source.endswith(".py"):
        raise models.unnamed(source)
    from rnnspect.weights import readers  # with what validates a spec; --help of all commands needs none

    is_onnx = bool(source) and not job.asked.backward and readers.kind_of(Path(source)) == "onnx"
    if is_onnx and job.asked.recorded:  # what was recorded is held against its weights
        models.refuse_8_bits(source, job.given)
    elif is_onnx:
        written = f"rnnspect convert {source} --to pytorch -o model.safetensors"
        other = f"rnnspect check model.safetensors --engine {source}"
        advice = f"compare it with weights of PyTorch ({written} writes its own): {other}"
        _refuse_beside(job, "cannot be used with an ONNX model, which onnxruntime runs", advice)
        from rnnspect.checking.check import CheckTerms

        terms = CheckTerms(job.held_to, job.asked.explain, SoFar(untold, job.output.quiet))
        return models.onnx_rows(source, job.given.options, terms, job.output)
    return None


def _prepared(source: str, described: Described | None, job: _Job) -> Prepared:
    """The run of a spec, or of the probe in the file `source`, which is described by nothing else."""
    from rnnspect.network import memory

    if described is None:
        return probing.read(Path(source), job.given)
    in_one = any(map(names_code, job.engines))
    back = memory.whole_backward_needs if in_one else memory.check_backward_needs
    going = back if job.asked.backward else memory.check_run_needs
    needs = memory.check_needs if job.asked.recorded else going
    return prepared_of(described, needs)


def _refuse_beside(job: _Job, found: str, advice: str) -> None:
    if beside := "--recorded" if job.asked.recorded else "--engine" if job.engines else "":
        raise InputError(found, advice=advice, where=beside)


def _failed(source: str, error: RnnspectError, job: _Job, left_out: bool = False) -> CheckRow:
    if job.alone:
        raise error
    said = "; ".join(map(str, error.problems))
    return CheckRow(source, Skipped(said), 0) if left_out else CheckRow(source, said, error.exit_status)


def _checked(prepared: Prepared, job: _Job, recorded: Path | None) -> Verdict:
    from rnnspect.checking.check import CheckTerms, check_prepared, judge_recorded, judge_recording
    from rnnspect.checking.drawn_input import is_missing
    from rnnspect.checking.other_checkpoints import checkpoints_of

    note_what_is_not_finite(prepared.sequence, job.output)
    steps, quiet = prepared.steps_of_layers, job.output.quiet
    draw, ran = is_missing(prepared.spec), None
    if draw and job.asked.recovers:
        prepared, draw = recovering.with_drawn_input(prepared, job.output), False
    if recorded is None and not draw and not job.asked.backward:
        with progress_bar(f"running {prepared.engine.name}", steps, quiet) as advance:
            ran = prepared.run(advance)

    def told(verdict: Verdict) -> None:
        from rnnspect.views.check import first_lines

        job.shown.append(verdict)
        job.output.begin(first_lines(verdict, str(recorded or "")))

    others = checkpoints_of(job.asked.other_weights, prepared.spec, recovering.OTHERS)
    with checking(steps, quiet, told if job.alone and job.output.is_shown else None) as so_far:
        terms = CheckTerms(job.held_to, job.asked.explain, so_far)
        if job.asked.backward:
            return checked(prepared, job.asked, terms, recorded, draw)
        if ran is not None:
            judged = judge_recording(prepared, ran, terms)
        elif recorded is None:
            return check_prepared(prepared, terms, draw)
        else:
            given, how = read_recorded(str(recorded), job.rounding)
            judged = judge_recorded(prepared, given, terms, how)
        return judged.with_recovery(so_far, others) if job.asked.recovers else judged.verdict
