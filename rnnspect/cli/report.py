from __future__ import annotations

import functools
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnspect.cli import completion
from rnnspect.cli.describing import Described, Given, read_recorded
from rnnspect.cli.options import ENGINES, command, formats, network
from rnnspect.cli.output import Output, SoFar, loading, note_what_is_not_finite, progress_bar
from rnnspect.cli.running import is_live, prepared
from rnnspect.cli.values import flag
from rnnspect.errors import InputError
from rnnspect.network.recording import ArrayName

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.reporting.building import Recordings
    from rnnspect.tracing.prepare import Prepared

_shown = functools.partial(typer.Option, rich_help_panel="What to show")


@dataclass(frozen=True)
class RunOptions:
    """The options that say whose numbers are shown, and what they are held to."""

    engine: Annotated[
        str | None,
        _shown(help=f"Engine to show: {ENGINES}", metavar="ENGINE", autocompletion=completion.engines),
    ] = None
    recorded: Annotated[
        list[Path] | None, _shown(help="Recorded output to show instead of an engine's, as in check")
    ] = None
    recorded_as: Annotated[
        str | None, _shown(metavar="HOW", help="How the recorded numbers were rounded, as in check")
    ] = None
    arithmetic: Annotated[
        str | None,
        _shown(
            help="Arithmetic to judge by; default: that of the dtype",
            metavar="NAME",
            autocompletion=completion.arithmetics,
        ),
    ] = None


@command("rnnspect report --cell lstm --hidden-size 64 --input randn:50 -o report.html")
def report(
    given: Annotated[Given, network()],
    output: Annotated[Output, formats("html")],
    run: RunOptions,
    batch_index: Annotated[
        int | None,
        _shown(help="Sequence of the batch; default the first that differs"),
    ] = None,
    steps: Annotated[
        str | None,
        _shown(metavar="LIST", help="Steps whose derivations are kept: 0:10,95: (at most 64)"),
    ] = None,
) -> None:
    """A run as one HTML page: heat maps, and how each value was computed."""
    saved = _saved(given)
    _refuse(output, run.engine, run.recorded, saved is not None)
    if run.recorded_as and not run.recorded:
        raise InputError("needs --recorded FILE", where="--recorded-as")
    with loading():
        from rnnspect.judging import rounding
        from rnnspect.judging.declared import named
        from rnnspect.network import memory
        from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
        from rnnspect.views.check import summary
        from rnnspect.views.report import as_html

    held_to = named(run.arithmetic, "--arithmetic") if run.arithmetic else None
    rounded = rounding.named(run.recorded_as, "--recorded-as")
    if saved is not None:
        made, recordings = _saved_run(saved, str(given.path), run.engine)
        typed = ""
    else:
        made, described = prepared(given, output, memory.run_needs, run.engine)
        recordings = Recordings(*read_recorded(str(run.recorded[0])), rounded) if run.recorded else None
        typed = given.as_typed(described.spec)
    asked = ReportOptions(batch_index, _steps(steps, made.sequence.steps))
    note_what_is_not_finite(made.sequence, output)
    typed += f" --engine {shlex.quote(run.engine)}" if run.engine else ""
    with progress_bar("checking and painting every step", 2 * made.steps_of_layers, output.quiet) as advance:
        page = report_prepared(made, asked, recordings, held_to, typed, SoFar(advance), flag)
    output.emit(html=lambda: as_html(page))
    output.note(summary(page.verdict))


def _refuse(output: Output, engine: str | None, recorded: list[Path] | None, is_saved: bool) -> None:
    if recorded and len(recorded) > 1:
        found = f"{len(recorded)} recordings; a page shows one run"
        raise InputError(found, advice="rnnspect check takes several", where="--recorded")
    if output.path is None and sys.stdout.isatty():
        raise InputError("report needs an output file: -o report.html")
    where = "--engine" if engine and recorded else "--recorded" if recorded and is_saved else None
    if where:
        beside = "a saved run" if is_saved else "--recorded"
        raise InputError(f"cannot be combined with {beside}", where=where)


def _saved(given: Given) -> Described | None:
    """The spec of a run that `trace` or `run` saved, None if the file is something else. Options cannot change it."""
    from rnnspect.files.npy import saved_spec

    data = None if given.path is None or is_live(given.path) else saved_spec(given.path)
    if data is None:
        return None
    if given.typed:
        beside = flag(next(iter(given.typed)))
        raise InputError("cannot change a saved run", advice="pass it with a spec", where=beside)
    from rnnspect.network.spec import Spec

    def where(_keys: tuple[int | str, ...]) -> str:
        return f"{given.path}:spec"

    return Described(Spec.from_data(data | {"device": "cpu"}, where), where)


def _saved_run(described: Described, path: str, engine: str | None) -> tuple[Prepared, Recordings | None]:
    """The run of a file, on the parameters that its spec draws or names."""
    from rnnspect.files.arrays import read_arrays
    from rnnspect.network import memory
    from rnnspect.reporting.building import Recordings
    from rnnspect.tracing.prepare import prepare

    arrays, spec = _of_engine(read_arrays(Path(path)), engine, path), described.spec
    for name in ("x", "h0"):
        if name not in arrays or arrays[name].dim() != 3:
            raise InputError(f"no {name} [batch][step][unit]", allowed="what rnnspect trace -o keeps", where=path)
    x, states = arrays["x"], {name: arrays[name] for name in ("h0", "c0") if name in arrays}
    if spec.batch is None and spec.lengths is None and len(x) == 1:  # without a batch axis, as it most likely ran
        x, states = x[0], {name: state[:, 0] for name, state in states.items()}
    elif not spec.batch_first:
        x = x.transpose(0, 1)
    prepared = prepare(spec, x, **states, where=described.where, require_memory=memory.check_needs)
    return prepared, Recordings(arrays, lambda name: f"{path}:{name}" if name else path)


def _of_engine(arrays: dict[str, Tensor], engine: str | None, path: str) -> dict[str, Tensor]:
    """The arrays of one engine in a trace of several, under the names that a trace of that engine alone has."""
    named = {ArrayName.parse(name): values for name, values in arrays.items()}
    several = [name.engine for name in named if name.engine and name.quantity == "output"]
    if engine in several:
        own = {replace(name, engine=None) if name.engine == engine else name: v for name, v in named.items()}
        return {str(name): values for name, values in own.items() if name.engine is None}
    if engine or several:
        found = "a run of several engines" if several else f"{engine!r} is not in this saved run"
        allowed = f"--engine {' or '.join(several)}" if several else "its own engine"
        raise InputError(found, allowed=allowed, where="--engine" if engine else path)
    return arrays


def _steps(text: str | None, count: int) -> tuple[int, ...] | None:
    from rnnspect.reporting.building import MOST_KEPT
    from rnnspect.views.selection import indices

    if text is None:
        return None
    chosen = indices(text, count, "step")
    if len(chosen) > MOST_KEPT:
        raise InputError(f"{len(chosen)} steps", allowed=f"at most {MOST_KEPT}", where="--steps")
    return tuple(chosen)
