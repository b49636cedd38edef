from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.cli.describing import Described
from rnnspect.cli.loading import loading
from rnnspect.cli.options import described, formats, with_groups
from rnnspect.cli.output import Output
from rnnspect.errors import InputError, Problem
from rnnspect.files import writing
from rnnspect.judging.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import typer

_ITS_OWN = ("weights", "head", "input", "batch", "h0", "c0")


def register(app: typer.Typer) -> None:
    app.command("probe", epilog="Example:  rnnspect probe configs/lstm.yaml -o probe.npz")(probe)


@with_groups(described=described, output=formats("table", arrays=True))
def probe(described: Described, output: Output) -> None:
    """Parameters, x and states with which every known mistake gives other numbers: run yours on them, and check that.

    What the spec says of parameters and input is left aside. With lengths, the probe has lengths, its own."""
    if output.path is None or output.path.suffix.lower() != ".npz":
        found = "no file for the arrays" if output.path is None else f"a probe in {output.path}"
        raise InputError(found, allowed="-o probe.npz", where="--output")
    if own := [key for key in _ITS_OWN if key in described.given]:
        raise InputError(Problem(f"{key} of a probe, which has its own", where=f"--{key}") for key in own)
    described.note(output)
    with loading():
        from rnnspect.causes.probing import probe_of
        from rnnspect.views import probe as view

    made, path = probe_of(described.spec), output.path
    output.emit({"table": lambda screen: view.as_table(made, path, screen)}, made.to_numpy)


def check_place(path: Path) -> None:
    """Raises for a file that no probe can be written to, before long work is begun."""
    if path.suffix.lower() != ".npz":
        raise InputError(f"a probe in {path}", allowed="probe.npz", where="--write-probe")
    writing.check_writable(path)


def write_where_needed(path: Path, found: Sequence[object], output: Output) -> None:
    """A probe of the first run that differs and whose cause its numbers do not tell, or a note that there is none."""
    verdicts = [one for one in found if isinstance(one, Verdict) and one.verdict == "differ"]
    untold = [verdict for verdict in verdicts if verdict.indistinguishable or not verdict.causes]
    if not untold:
        why = "one known mistake explains what differs" if verdicts else "nothing differs"
        output.note(f"{path} was not written: {why}")
        return
    from rnnspect.causes.probing import probe_of
    from rnnspect.views.probe import alike_in_words

    made = probe_of(untold[0].spec)
    writing.write_arrays(path, made.to_numpy())
    output.note(
        f"wrote {path}: with its parameters, x and states each known mistake gives other numbers. Run yours on them, "
        f"then: rnnspect check --probe {path} --recorded mine.npz"
    )
    for alike in alike_in_words(made):
        output.note(f"note: {alike}")
