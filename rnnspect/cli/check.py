from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read when the options are made
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnspect.cli import probe as probing
from rnnspect.cli.check_rows import Job, rows_of
from rnnspect.cli.given import Given, flag
from rnnspect.cli.options import ENGINES, command, formats, network
from rnnspect.cli.output import Output
from rnnspect.cli.progress import loading
from rnnspect.errors import InputError, Problem
from rnnspect.judging.verdict import Skipped, Verdict

if TYPE_CHECKING:
    from rnnspect.cli.live import Row
    from rnnspect.judging.declared import Declared
    from rnnspect.views.rendering import Screen

WORST_FIRST = (4, 1, 2, 3, 0)
"""Of several sources the status that comes first here wins."""
_CHECK = "The check"


@dataclass(frozen=True)
class Asked:
    """The options that say what is checked, and how."""

    engine: Annotated[
        list[str] | None,
        typer.Option(help=f"Whose numbers: {ENGINES}; several, or all that can.", rich_help_panel=_CHECK),
    ] = None
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="What somebody's implementation gave, in place of an engine: the output in a .npy, .csv, .pt … file, "
            "or output, h_n, c_n and l0.forward.i … in a .npz or .safetensors; mine.npz:output is one array of it.",
            rich_help_panel=_CHECK,
        ),
    ] = None
    probe: Annotated[
        Path | None,
        typer.Option(
            help="What rnnspect probe wrote, in place of a spec and its numbers; beside --recorded, or for an engine.",
            rich_help_panel=_CHECK,
        ),
    ] = None
    write_probe: Annotated[
        Path | None,
        typer.Option(
            help="Where it differs and no cause, or more than one, explains it: the probe.npz to write, which tells.",
            rich_help_panel=_CHECK,
        ),
    ] = None
    arithmetic: Annotated[
        str | None,
        typer.Option(help="What the run is held to, where it is not what its dtype says.", rich_help_panel=_CHECK),
    ] = None
    explain: Annotated[
        float | None,
        typer.Option(
            help="Seconds to look for the known mistakes that explain a run that differs: 10 if not said; 0 does not.",
            min=0,
            metavar="SECONDS",
            rich_help_panel=_CHECK,
        ),
    ] = None


@command("rnnspect check configs/lstm.yaml --engine torch-cell")
def check(
    given: Annotated[Given, network(source=False)],
    output: Annotated[Output, formats("table", "json", "junit", "svg")],
    asked: Asked,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Specs in YAML, checkpoints, models in .onnx, or a live model as path/to/model.py:build; several are "
            "a line each. A live model takes --input, and --device moves it; of a generated input --batch and "
            "--input-size say the sizes, and --seed draws it.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Whether an engine computes the equations: agree, differ (exit status 1) or cannot tell (3), with the reason."""
    with loading():
        from rnnspect.causes.search.clock import at_most
        from rnnspect.judging.declared import named

    if asked.recorded and asked.engine:
        raise InputError("an engine beside a recorded run", allowed="--engine or --recorded", where="--recorded")
    if asked.probe is not None:
        _refuse_beside_probe(sources, given, asked.write_probe)
        sources = [str(asked.probe)]
    held_to = named(asked.arithmetic, "--arithmetic") if asked.arithmetic else None
    job = _job(given, asked, len(sources or [""]), held_to, output)
    if asked.write_probe is not None:
        if job.several:
            raise InputError("one probe for several runs", allowed="one source and engine", where="--write-probe")
        probing.check_place(asked.write_probe)
    with at_most(asked.explain):
        rows = [row for source in sources or [""] for row in rows_of(source, job)]
    _emit(rows, output)
    verdicts = [row.found for row in rows if isinstance(row.found, Verdict)]
    if asked.write_probe is not None:
        probing.write_where_needed(asked.write_probe, verdicts, output)
    elif asked.probe is None and any(verdict.indistinguishable for verdict in verdicts):
        output.note("note: --write-probe probe.npz writes a run whose numbers tell these mistakes apart")
    return min((row.status for row in rows), key=WORST_FIRST.index)


def _job(given: Given, asked: Asked, sources: int, held_to: Declared | None, output: Output) -> Job:
    from rnnspect import engines

    every = asked.engine == ["all"]
    chosen = engines.names() if every else asked.engine or ([] if asked.recorded is None else ["torch"])
    several = sources * max(1, len(chosen)) > 1
    return Job(given, tuple(chosen), every, several, asked.recorded, asked.probe is not None, held_to, output)


def _refuse_beside_probe(sources: list[str] | None, given: Given, write_probe: Path | None) -> None:
    """A probe says all that a spec and its options would."""
    beside = [*(sources or []), *map(flag, given.typed), *(["--write-probe"] if write_probe else [])]
    if beside:
        raise InputError(
            Problem("beside a probe", "--probe alone, with its own numbers", where=name) for name in beside
        )


def _emit(rows: list[Row], output: Output) -> None:
    """One run in full, several as a line each."""
    from rnnspect.views import check as view
    from rnnspect.views import documents
    from rnnspect.views.junit import as_junit

    found = [(row.source, row.found) for row in rows]
    alone = rows[0].found if len(rows) == 1 and isinstance(rows[0].found, Verdict) else None

    def table(screen: Screen) -> str:
        return view.as_table(alone, screen, rows[0].source * rows[0].inside) if alone else view.as_lines(found, screen)

    def json(_screen: Screen) -> str:
        made = [_document(source, one) for source, one in found]
        return documents.as_json(made[0] if alone else made)

    output.emit({"table": table, "json": json, "junit": lambda _screen: as_junit(found), "svg": table})


def _document(source: str, found: Verdict | Skipped | str) -> dict[str, Any]:
    from rnnspect.views import documents

    if isinstance(found, Verdict):
        return documents.check_document(found, source)
    why = {"skipped": found.reason} if isinstance(found, Skipped) else {"error": found}
    return {"format": "rnnspect.check", "version": 1, "source": source, "verdict": None} | why
