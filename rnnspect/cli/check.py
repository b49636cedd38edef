from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rnnspect.cli.loading import loading
from rnnspect.cli.options import Described, described, output, with_groups
from rnnspect.cli.output import Output, say
from rnnspect.cli.progress import SoFar, progress_bar
from rnnspect.errors import RnnspectError
from rnnspect.views import documents

if TYPE_CHECKING:
    from rnnspect.declared import Declared
    from rnnspect.verdict import Verdict

WORST_FIRST = (4, 1, 2, 3, 0)
"""Of several sources the status that comes first here wins."""
_CHECK = "The check"


def register(app: typer.Typer) -> None:
    app.command("check", epilog="Example:  rnnspect check configs/lstm.yaml --engine torch-cell")(check)


def _each(**flags: Any) -> Callable[[Path | None], Described]:
    """The shared options, to be read for one source after the other."""
    return lambda source: described(source, **flags)


_options = {
    name: parameter.replace(annotation=get_type_hints(described, include_extras=True)[name])
    for name, parameter in list(inspect.signature(described).parameters.items())[1:]
}
_each.__signature__ = inspect.Signature(list(_options.values()))  # type: ignore[attr-defined]
_each.__annotations__ = {name: parameter.annotation for name, parameter in _options.items()}


@with_groups(each=_each, output=output)
def check(
    each: Callable[[Path | None], Described],
    output: Output,
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Specs in YAML; several are one line each.", show_default=False)
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose numbers to check: torch, torch-cell, torch-compile; several, or all.", rich_help_panel=_CHECK
        ),
    ] = None,
    arithmetic: Annotated[
        str | None,
        typer.Option(help="What the engine is held to, where it is not what its dtype says.", rich_help_panel=_CHECK),
    ] = None,
) -> int:
    """Whether an engine computes the equations: agree, differ (exit status 1) or cannot tell (3), with the reason."""
    output.check(("table", "json", "junit"))
    with loading():
        from rnnspect import engines
        from rnnspect.declared import named
        from rnnspect.views import check as view
        from rnnspect.views.junit import as_junit

    held_to = named(arithmetic, "--arithmetic") if arithmetic else None
    chosen = engines.names() if engine == ["all"] else engine or ["torch"]
    given: list[Path | None] = [*sources] if sources else [None]
    several = len(given) * len(chosen) > 1
    rows: list[tuple[str, Verdict | str]] = []
    statuses = []
    for source in given:
        for name in chosen:
            label = "the notebook's example" if source is None else str(source)
            try:
                verdict = _checked(each(source), name, held_to, output)
            except RnnspectError as error:
                if not several:
                    raise
                rows.append((label, f"{name}: {'; '.join(map(str, error.problems))}"))
                statuses.append(error.exit_status)
            else:
                rows.append((label, verdict))
                statuses.append(verdict.exit_status)
    output.emit(
        {
            "table": lambda screen: view.as_lines(rows, screen) if several else view.as_table(_only(rows), screen),
            "json": lambda _screen: documents.as_json(_documents(rows, several)),
            "junit": lambda _screen: as_junit(rows),
        }
    )
    return min(statuses, key=WORST_FIRST.index)


def _checked(described: Described, engine: str, held_to: Declared | None, output: Output) -> Verdict:
    from rnnspect import engines, resources
    from rnnspect.checking import check_prepared
    from rnnspect.cli.notes import note_what_is_not_finite
    from rnnspect.preparing import prepare

    found = engines.find(engine, "--engine")
    prepared = prepare(described.spec, where=described.where, require_memory=resources.run_needs)
    if engine != "torch":
        prepared = replace(prepared, engine=found)
    note_what_is_not_finite(prepared.sequence, output)
    spec = prepared.spec
    steps = prepared.sequence.steps * spec.num_layers * spec.num_directions
    with progress_bar("checking every step", steps, output.quiet) as advance:
        so_far = SoFar(advance)
        try:
            return check_prepared(prepared, held_to, so_far)
        except KeyboardInterrupt:
            say(f"stopped {so_far}")
            raise


def _only(rows: list[tuple[str, Verdict | str]]) -> Verdict:
    verdict = rows[0][1]
    assert not isinstance(verdict, str)
    return verdict


def _documents(rows: list[tuple[str, Verdict | str]], several: bool) -> dict[str, Any] | list[dict[str, Any]]:
    made = [
        {"format": "rnnspect.check", "version": 1, "source": source, "verdict": None, "error": found}
        if isinstance(found, str)
        else documents.check_document(found, source)
        for source, found in rows
    ]
    return made if several else made[0]
