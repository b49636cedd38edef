from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rnnspect.cli.describing import Given
from rnnspect.cli.options import command, formats, network
from rnnspect.cli.output import Output, loading
from rnnspect.cli.values import flag
from rnnspect.engines.own.loading import load_cell
from rnnspect.errors import InputError, Problem
from rnnspect.files import writing
from rnnspect.judging.verdict import Verdict

if TYPE_CHECKING:
    from rnnspect.tracing.prepare import Prepared

_ITS_OWN = ("weights", "head", "input", "batch", "h0", "c0")
"""Keys that a probe sets itself, so that it has no options for them."""


@command("rnnspect probe configs/lstm.yaml -o probe.npz")
def probe(
    given: Annotated[Given, network(leave_out=_ITS_OWN)], output: Annotated[Output, formats("table", arrays=True)]
) -> None:
    """Test data for which known mistakes give different numbers.

    Run your implementation on it, then: rnnspect check --probe probe.npz --recorded mine.npz. Parameters and input of
    the spec are not used; the probe has its own."""
    path = output.path
    if path is None:
        raise InputError("probe needs an output file: -o probe.npz")
    if not output.is_arrays:
        raise InputError(f"cannot write a probe as {path}", advice="use a name that ends in .npz", where="--output")
    described = given.describe(output)
    with loading():
        from rnnspect.causes.probing import probe_of
        from rnnspect.views import probe as view

    made = probe_of(described.spec)
    output.emit(lambda _width: view.parts(made, path, check_command(path, given)), made.to_numpy)


def read(path: Path, given: Given) -> Prepared:
    """The run of a probe. Raises what `read_probe` and `load_cell` raise."""
    from rnnspect.checking.probe_file import read_probe

    return read_probe(path, load_cell(given.own_cell) if given.own_cell else None)


def check_command(path: Path, given: Given) -> str:
    """What to type once an implementation was run on the probe in a file."""
    from rnnspect.views import text

    cell = f" --cell {shlex.quote(given.own_cell)}" if given.own_cell else ""
    return f"rnnspect check --probe {text.printable(str(path))}{cell} --recorded mine.npz"


def refuse_beside(sources: list[str] | None, given: Given, write_probe: Path | None) -> None:
    """Raises `InputError` for a spec or its options beside a probe, which holds all that they would say; but for a cell
    of the user's own, whose lines no file holds."""
    typed = [flag(name) for name in given.typed if name != "cell" or not given.own_cell]
    beside = [*(sources or []), *typed, *(["--write-probe"] if write_probe else [])]
    if beside:
        raise InputError(
            Problem("cannot be combined with --probe, which has its own network and input", where=name)
            for name in beside
        )


def check_asked(path: Path | None, alone: bool) -> None:
    """Raises for a file that no probe can be written to, and for several runs, before long work is begun."""
    if path is None:
        return
    if not alone:
        advice = "pass one source, with one engine or recording"
        raise InputError("writes a probe for one run, not several", advice=advice, where="--write-probe")
    if path.suffix.lower() != ".npz":
        raise InputError(
            f"cannot write a probe as {path}", advice="use a name that ends in .npz", where="--write-probe"
        )
    writing.check_writable(path)


def write_where_needed(path: Path, verdicts: Sequence[Verdict], output: Output, given: Given) -> None:
    """Writes a probe of the first run that differs and whose cause its numbers do not tell; notes if there is none."""
    differing = [verdict for verdict in verdicts if verdict.verdict == "differ"]
    untold = [verdict for verdict in differing if verdict.indistinguishable or not verdict.causes]
    if not untold:
        why = "one known mistake explains the differences" if differing else "nothing differs"
        output.note(f"{path} was not written: {why}")
        return
    from rnnspect.causes.probing import probe_of
    from rnnspect.views.probe import alike_in_words

    made = probe_of(untold[0].spec)
    writing.write_arrays(path, made.to_numpy())
    output.note(
        f"wrote {path}: test data for which these mistakes give different numbers. Run your implementation on it, "
        f"then: {check_command(path, given)}"
    )
    for alike in alike_in_words(made):
        output.note(f"note: {alike}")
