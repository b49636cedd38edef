"""A report as a file that a browser opens, for a spec or a live module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from rnnspect.arguments import Arguments
    from rnnspect.network.spec import Spec
    from rnnspect.reporting.data import Report


def report(
    source: Spec | nn.RNNBase,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    path: str | Path,
    lengths: Any = None,
    recorded: Any = None,
    engine: str = "torch",
    arithmetic: str | None = None,
    batch_index: int | None = None,
    steps: Iterable[int] | None = None,
) -> Report:
    """Writes one HTML file that shows a run, and returns what is in it; its `verdict` is that of `rnnspect.check`.

    The first arguments are those of `rnnspect.check`. `batch_index` is the item that is shown, left out the one that
    differs first. `steps` are those whose derivations are kept; left out, up to 64 of them. The file appears whole or
    not at all.

    Raises what `check` raises, `FileError` where the file cannot be written, and `InputError` for an item or a step
    that is not there.
    """
    from rnnspect.api import prepared_of
    from rnnspect.files import writing
    from rnnspect.judging.declared import named
    from rnnspect.reporting.building import Asked, Recordings, report_prepared
    from rnnspect.views.report import as_html

    writing.check_writable(Path(path))
    made = report_prepared(
        prepared_of(source, engine, x, h0, c0, lengths),
        Asked(batch_index, None if steps is None else tuple(sorted(set(steps)))),
        None if recorded is None else Recordings(recorded),
        named(arithmetic, "arithmetic") if arithmetic else None,
    )
    writing.write_text(Path(path), as_html(made))
    return made


def report_again(arguments: Arguments | None, path: str | Path) -> None:
    """Writes the report of what a result came of.

    Raises `InputError` where there is none, or its numbers have changed since, and what `report` raises.
    """
    from rnnspect.arguments import digest_of
    from rnnspect.tracing.prepare import prepare

    if arguments is None:
        allowed = "one of rnnspect.trace or rnnspect.check, or rnnspect.report(module, x, path=…)"
        raise InputError("this result does not know what it came of", allowed=allowed, where="report")
    now = prepare(arguments.source, **arguments.run)
    if digest_of(now, arguments.judged.get("recorded")) != arguments.digest:
        found = "the parameters, the sequence or the recording have changed since"
        raise InputError(found, allowed="the report of a new trace or check", where="report")
    report(arguments.source, path=path, **arguments.run, **arguments.judged)
