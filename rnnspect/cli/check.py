from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnspect.cli import probe as probing
from rnnspect.cli.check_rows import Asked, rows_of
from rnnspect.cli.describing import Described
from rnnspect.cli.loading import loading
from rnnspect.cli.options import ENGINES, described, formats, parameters_of, with_groups
from rnnspect.cli.output import Output
from rnnspect.errors import InputError, Problem
from rnnspect.judging.verdict import Skipped, Verdict
from rnnspect.views import documents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnspect.views.rendering import Screen


WORST_FIRST = (4, 1, 2, 3, 0)
"""Of several sources the status that comes first here wins."""
_CHECK = "The check"


def register(app: typer.Typer) -> None:
    app.command("check", epilog="Example:  rnnspect check configs/lstm.yaml --engine torch-cell")(check)


def _each(**flags: Any) -> functools.partial[Described]:
    """The shared options, to be read for one source after the other."""
    return functools.partial(described, **flags)


_options = list(parameters_of(described).values())[1:]
_each.__signature__ = inspect.Signature(_options)  # type: ignore[attr-defined]
_each.__annotations__ = {parameter.name: parameter.annotation for parameter in _options}


@with_groups(each=_each, output=formats("table", "json", "junit", "svg"))
def check(
    each: functools.partial[Described],
    output: Output,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Specs in YAML, checkpoints, models in .onnx, or a live model as path/to/model.py:build; several are "
            "a line each. A live model takes --input, and --device moves it; of a generated input --batch and "
            "--input-size say the sizes, and --seed draws it.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help=f"Whose numbers: {ENGINES}; several, or all that can.", rich_help_panel=_CHECK),
    ] = None,
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="What somebody's implementation gave, in place of an engine: the output in a .npy, .csv, .pt … file, "
            "or output, h_n, c_n and l0.forward.i … in a .npz or .safetensors; mine.npz:output is one array of it.",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(
            help="What rnnspect probe wrote, in place of a spec and its numbers; beside --recorded, or for an engine.",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    write_probe: Annotated[
        Path | None,
        typer.Option(
            help="Where it differs and no cause, or more than one, explains it: the probe.npz to write, which tells.",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    arithmetic: Annotated[
        str | None,
        typer.Option(help="What the run is held to, where it is not what its dtype says.", rich_help_panel=_CHECK),
    ] = None,
    explain: Annotated[
        float | None,
        typer.Option(
            help="Seconds to look for the known mistakes that explain a run that differs: 10 if not said; 0 does not.",
            min=0,
            metavar="SECONDS",
            rich_help_panel=_CHECK,
        ),
    ] = None,
) -> int:
    """Whether an engine computes the equations: agree, differ (exit status 1) or cannot tell (3), with the reason."""
    with loading():
        from rnnspect import engines
        from rnnspect.judging.declared import named
        from rnnspect.views import check as view
        from rnnspect.views.junit import as_junit

    if recorded and engine:
        raise InputError("an engine beside a recorded run", allowed="--engine or --recorded", where="--recorded")
    if probe is not None:
        _refuse_beside_probe(sources, each.keywords, write_probe)
        sources = [str(probe)]
    held_to = named(arithmetic, "--arithmetic") if arithmetic else None
    every = engine == ["all"]
    chosen = engines.names() if every else engine or ([] if recorded is None else ["torch"])
    several = len(sources or [""]) * max(1, len(chosen)) > 1
    if write_probe is not None:
        if several:
            raise InputError("one probe for several runs", allowed="one source and engine", where="--write-probe")
        probing.check_place(write_probe)
    asked = Asked(each, tuple(chosen), every, several, recorded, probe is not None, held_to, explain, output)
    rows = [row for source in sources or [""] for row in rows_of(source, asked)]
    found = [(row.source, row.found) for row in rows]
    alone = rows[0].found if len(rows) == 1 and isinstance(rows[0].found, Verdict) else None
    inside = rows[0].source if rows[0].inside else ""

    def table(screen: Screen) -> str:
        return view.as_table(alone, screen, inside) if alone else view.as_lines(found, screen)

    output.emit(
        {
            "table": table,
            "json": lambda _screen: documents.as_json(_documents(found, alone is None)),
            "junit": lambda _screen: as_junit(found),
            "svg": table,
        }
    )
    if write_probe is not None:
        probing.write_where_needed(write_probe, [row.found for row in rows], output)
    elif probe is None and any(isinstance(row.found, Verdict) and row.found.indistinguishable for row in rows):
        output.note("note: --write-probe probe.npz writes a run whose numbers tell these mistakes apart")
    return min((row.status for row in rows), key=WORST_FIRST.index)


def _refuse_beside_probe(sources: list[str] | None, options: Mapping[str, Any], write_probe: Path | None) -> None:
    """A probe says all that a spec and its options would."""
    beside = [*(sources or []), *(f"--{key.replace('_', '-')}" for key, said in options.items() if said is not None)]
    beside += ["--write-probe"] if write_probe else []
    if beside:
        raise InputError(
            Problem("beside a probe", "--probe alone, with its own numbers", where=name) for name in beside
        )


def _documents(rows: list[tuple[str, Verdict | Skipped | str]], several: bool) -> dict[str, Any] | list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for source, found in rows:
        if isinstance(found, str | Skipped):
            why = {"skipped": found.reason} if isinstance(found, Skipped) else {"error": found}
            made.append({"format": "rnnspect.check", "version": 1, "source": source, "verdict": None} | why)
        else:
            made.append(documents.check_document(found, source))
    return made if several else made[0]
