from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnspect.cli import completion, recovering
from rnnspect.cli.describing import Described, Given
from rnnspect.cli.options import ARITHMETIC, ENGINES, LOSS, command, formats, network, rarely, shown
from rnnspect.cli.output import Output, checking, loading, note_what_is_not_finite
from rnnspect.cli.recorded import read_recorded
from rnnspect.cli.running import is_live, prepared, with_usual
from rnnspect.cli.values import flag
from rnnspect.errors import InputError
from rnnspect.network.recording import ArrayName
from rnnspect.views.selection import indices

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.judging.rounding import Rounding
    from rnnspect.network.spec import Spec
    from rnnspect.reporting.building import Recordings, ReportOptions
    from rnnspect.tracing.prepare import Prepared

MOST = 2
"""Runs that one page shows."""


@dataclass(frozen=True)
class RunOptions:
    """The options that say whose numbers are shown, and what they are held to."""

    engine: Annotated[
        list[str] | None,
        shown(
            help=f"Engine to show: {ENGINES}; two are shown side by side",
            metavar="ENGINE",
            autocompletion=completion.engines,
        ),
    ] = None
    recorded: Annotated[
        list[Path] | None,
        shown(help="Recorded output to show, as in check; with --engine or a second one, both are shown"),
    ] = None
    recorded_as: Annotated[
        str | None, shown(metavar="HOW", help="How the recorded numbers were rounded, as in check")
    ] = None
    arithmetic: Annotated[str | None, shown(**ARITHMETIC)] = None
    recover: Annotated[Path | None, shown(help="Show and write the recovered weights: theirs.npz")] = None
    other_weights: Annotated[
        list[str] | None,
        rarely(metavar="FILE", help="Another checkpoint: compare recovered weights with it, as in check"),
    ] = None


@dataclass(frozen=True)
class GradientOptions:
    """Whether gradients are shown, and of what."""

    backward: Annotated[bool, shown("--backward", help="Show the gradients of every gate as well")] = False
    loss: Annotated[str | None, shown(**LOSS)] = None

    def needs(self) -> Callable[[Spec, int, int], int]:
        """Estimates the bytes of the run, with its gradients if they are shown."""
        from rnnspect.network import memory

        return memory.gradients_needs if self.backward else memory.run_needs

    def with_engine(self, made: Prepared, described: Described, output: Output) -> Prepared:
        """The run of a page. Where no module of torch.nn computes the network, one with gradients has an engine that
        has them, or the equations alone, as `trace --backward` has."""
        from rnnspect.engines.interface import NoEngine, no_gradients

        if not self.backward or not made.spec.beyond_torch or made.engine.name not in ("torch", NoEngine.name):
            return made
        made = with_usual(made, lambda: described.engine_back(output))
        if isinstance(made.engine, NoEngine):
            output.note(f"note: {no_gradients(made.engine)}")
        return made

    def shown_in(self, asked: ReportOptions, prepared: Prepared) -> ReportOptions:
        """The options of a page, with the loss whose gradients are shown, if they are."""
        from rnnspect.reporting.building import with_loss

        return with_loss(asked, self.loss or "sum", prepared, "--loss") if self.backward else asked


@command("rnnspect report --cell lstm --input randn:50 -o report.html")
def report(
    given: Annotated[Given, network()],
    output: Annotated[Output, formats("html")],
    run: RunOptions,
    gradients: GradientOptions,
    others: Annotated[
        list[Path] | None, typer.Argument(metavar="OTHER", help="Another recorded run, shown beside the first")
    ] = None,
    batch_index: Annotated[int | None, shown(help="Batch item to show; default the first that differs")] = None,
    steps: Annotated[
        str | None,
        shown(metavar="LIST", help="If a run is too long for one file, the steps to include: 0:10,95: (at most 64)"),
    ] = None,
) -> None:
    """A run as one HTML page: heat maps, and how each value was computed."""
    saved, engines, files = _saved(given), run.engine or [], [*(run.recorded or []), *(others or [])]
    count = len(files) + (max(len(engines), 1) if saved is not None else len(engines))
    _refuse(output, count, run, gradients, files)
    with loading():
        from rnnspect.checking.other_checkpoints import checkpoints_of
        from rnnspect.judging import rounding
        from rnnspect.judging.declared import named
        from rnnspect.reporting.building import ReportOptions, report_prepared
        from rnnspect.views.check import summary
        from rnnspect.views.report import as_html

    held_to = named(run.arithmetic, "--arithmetic") if run.arithmetic else None
    rounded = rounding.named(run.recorded_as, "--recorded-as")
    runs: list[tuple[Prepared, Recordings | None]]
    if saved is not None:
        whose: list[str | None] = [*engines] or [None]
        runs, typed = [_saved_run(saved, str(given.path), one) for one in whose], ""
        made = runs[0][0]
    else:
        made, described = prepared(given, output, gradients.needs(), "torch" if engines else None)
        runs = [] if engines or files else [(gradients.with_engine(made, described, output), None)]
        runs += [(made.with_engine(one, "--engine"), None) for one in engines]
        typed = given.as_typed(described.spec)
    runs += [(made, _recorded(path, rounded)) for path in files]
    first, recordings = runs[0]
    chosen = _steps(steps, made.sequence.steps)
    checkpoints = checkpoints_of(run.other_weights, made.spec, recovering.OTHERS)
    recovers = run.recover is not None or bool(checkpoints)
    asked = ReportOptions(batch_index, chosen, tuple(runs[1:]), recover=recovers, checkpoints=checkpoints)
    asked = gradients.shown_in(asked, made)
    note_what_is_not_finite(made.sequence, output)
    typed += f" --engine {shlex.quote(engines[0])}" if engines else ""
    total = 2 * made.steps_of_layers * (len(runs) + gradients.backward)
    with checking(total, output.quiet, what="checking and painting every step") as so_far:
        page = report_prepared(first, asked, recordings, held_to, typed, so_far, flag)
    output.emit(html=lambda: as_html(page))
    recovering.write(run.recover, [page.verdict], output)
    for one in page.runs:
        output.note(summary(one.verdict, one.subject))


def _refuse(output: Output, count: int, run: RunOptions, gradients: GradientOptions, files: list[Path]) -> None:
    """Raises `InputError` for options that do not go together, or with so many runs."""
    if output.path is None and sys.stdout.isatty():
        raise InputError("report needs an output file: -o report.html")
    if count > MOST:
        raise InputError(f"{count} runs in one page", allowed=f"at most {MOST}", where="--recorded or --engine")
    recovering.check_asked(run.recover, count <= 1, run.other_weights)
    if run.recorded_as and not files:
        raise InputError("needs --recorded FILE", where="--recorded-as")
    if gradients.loss is not None and not gradients.backward:
        raise InputError("a loss is for gradients", advice="add --backward", where="--loss")


def _recorded(path: Path, rounded: Rounding | None) -> Recordings:
    from rnnspect.reporting.building import Recordings

    return Recordings(*read_recorded(str(path), rounded), path.name)


def _saved(given: Given) -> Described | None:
    """The spec of a run that `trace` or `run` saved, None if the file is something else. Options cannot change it."""
    from rnnspect.files.npy import saved_spec

    data = None if given.path is None or is_live(given.path) else saved_spec(given.path)
    if data is None:
        return None
    if given.typed:
        beside = flag(next(iter(given.typed)))
        raise InputError("cannot change a saved run", advice="leave it out, or report a spec with it", where=beside)
    from rnnspect.network.spec import Spec

    def where(_keys: tuple[int | str, ...]) -> str:
        return f"{given.path}:spec"

    return Described(Spec.from_data(data | {"device": "cpu"}, where), where)


def _saved_run(described: Described, path: str, engine: str | None) -> tuple[Prepared, Recordings | None]:
    """The run of a file, on the parameters that its spec draws or names."""
    from rnnspect.checking.recording import HowRecorded
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
    named = Path(path).name + (f" ({engine})" if engine else "")
    return prepared, Recordings(arrays, HowRecorded(lambda name: f"{path}:{name}" if name else path), named)


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
    from rnnspect.reporting.keeping import MOST_KEPT

    if text is None:
        return None
    chosen = indices(text, count, "step")
    if len(chosen) > MOST_KEPT:
        raise InputError(f"{len(chosen)} steps", allowed=f"at most {MOST_KEPT}", where="--steps")
    return tuple(chosen)
