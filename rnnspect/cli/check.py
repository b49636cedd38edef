from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnspect.cli import live, onnx_model
from rnnspect.cli.describing import Described
from rnnspect.cli.live import Row
from rnnspect.cli.loading import loading
from rnnspect.cli.options import ENGINES, described, formats, parameters_of, with_groups
from rnnspect.cli.output import Output, say
from rnnspect.cli.progress import SoFar, progress_bar
from rnnspect.errors import EngineError, InputError, RnnspectError
from rnnspect.files.stored import is_onnx
from rnnspect.models import names_code
from rnnspect.verdict import Skipped, Verdict
from rnnspect.views import documents

if TYPE_CHECKING:
    from rnnspect.declared import Declared

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


@with_groups(each=_each, output=formats("table", "json", "junit"))
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
    arithmetic: Annotated[
        str | None,
        typer.Option(help="What the run is held to, where it is not what its dtype says.", rich_help_panel=_CHECK),
    ] = None,
) -> int:
    """Whether an engine computes the equations: agree, differ (exit status 1) or cannot tell (3), with the reason."""
    with loading():
        from rnnspect import engines
        from rnnspect.declared import named
        from rnnspect.views import check as view
        from rnnspect.views.junit import as_junit

    if recorded and engine:
        raise InputError("an engine beside a recorded run", allowed="--engine or --recorded", where="--recorded")
    held_to = named(arithmetic, "--arithmetic") if arithmetic else None
    every = engine == ["all"]
    chosen = engines.names() if every else engine or ["torch"]
    rows: list[Row] = []
    several = len(sources or [""]) * len(chosen) > 1
    for source in sources or [""]:
        label = source or "the notebook's example"
        try:
            if names_code(source):
                if recorded or engine:
                    beside = "--recorded" if recorded else "--engine"
                    raise InputError("a live model runs itself", allowed=f"{beside} beside a spec", where=beside)
                rows += live.rows(source, each(None), held_to, output)
                continue
            if source.endswith(".py"):
                raise live.unnamed(source)
            if is_onnx(Path(source)):
                if beside := "--recorded" if recorded else "--engine" if engine else "":
                    raise InputError(
                        "a model of ONNX is run by onnxruntime", allowed=f"{beside} beside a spec", where=beside
                    )
                rows += onnx_model.rows(source, each.keywords, held_to, output)
                continue
            described = each(Path(source) if source else None)
            described.note(output)
        except RnnspectError as error:
            if not several:
                raise
            rows.append(_failed(label, error))
            continue
        for name in chosen if engine or recorded else [described.engine]:
            try:
                verdict = _checked(described, name, recorded, held_to, output)
            except RnnspectError as error:
                if not several:
                    raise
                left_out = every and isinstance(error, EngineError)
                rows.append(_failed(f"{label} ({name})", error, left_out))
            else:
                rows.append(Row(label, verdict, verdict.exit_status))
    found = [(row.source, row.found) for row in rows]
    alone = rows[0].found if len(rows) == 1 and isinstance(rows[0].found, Verdict) else None
    inside = rows[0].source if rows[0].inside else ""
    output.emit(
        {
            "table": lambda screen: view.as_table(alone, screen, inside) if alone else view.as_lines(found, screen),
            "json": lambda _screen: documents.as_json(_documents(found, alone is None)),
            "junit": lambda _screen: as_junit(found),
        }
    )
    return min((row.status for row in rows), key=WORST_FIRST.index)


def _failed(source: str, error: RnnspectError, left_out: bool = False) -> Row:
    said = "; ".join(map(str, error.problems))
    return Row(source, Skipped(said), 0) if left_out else Row(source, said, error.exit_status)


def _checked(
    described: Described, engine: str, recorded: Path | None, held_to: Declared | None, output: Output
) -> Verdict:
    from rnnspect import engines, resources
    from rnnspect.checking import check_prepared, check_recorded
    from rnnspect.cli.notes import note_what_is_not_finite
    from rnnspect.cli.recordings import read_recorded
    from rnnspect.preparing import prepare

    needs = resources.check_needs if recorded else resources.run_needs
    prepared = prepare(described.spec, where=described.where, require_memory=needs)
    if engine != "torch":
        prepared = replace(prepared, engine=engines.find(engine, "--engine"))
    note_what_is_not_finite(prepared.sequence, output)
    spec = prepared.spec
    steps = prepared.sequence.steps * spec.num_layers * spec.num_directions
    with progress_bar("checking every step", steps, output.quiet) as advance:
        so_far = SoFar(advance)
        try:
            if recorded is None:
                return check_prepared(prepared, held_to, so_far)
            given, place = read_recorded(str(recorded))
            return check_recorded(prepared, given, held_to, so_far, place)
        except KeyboardInterrupt:
            say(f"stopped {so_far}")
            raise


def _documents(rows: list[tuple[str, Verdict | Skipped | str]], several: bool) -> dict[str, Any] | list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for source, found in rows:
        if isinstance(found, str | Skipped):
            why = {"skipped": found.reason} if isinstance(found, Skipped) else {"error": found}
            made.append({"format": "rnnspect.check", "version": 1, "source": source, "verdict": None} | why)
        else:
            made.append(documents.check_document(found, source))
    return made if several else made[0]
