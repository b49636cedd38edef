from __future__ import annotations

import functools
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnspect.cli.describing import Described
from rnnspect.cli.loading import loading
from rnnspect.cli.options import described, formats, with_groups
from rnnspect.cli.output import Output
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import InputError
from rnnspect.files.saved_run import saved_spec

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.reporting.building import Recordings
    from rnnspect.tracing.prepare import Prepared

_WHAT = "What is shown"


def register(app: typer.Typer) -> None:
    app.command(
        "report", epilog="Example:  rnnspect report --cell lstm --hidden-size 64 --input randn:50 -o report.html"
    )(report)


@dataclass(frozen=True)
class Source:
    """A spec, and the file of the run that was saved with it, if one was."""

    described: Described
    saved: Path | None
    typed: str
    """The arguments that describe the run, for another command."""


@functools.wraps(described)
def source(**given: Any) -> Source:
    path, module = given["spec"], given["module"]
    if path is not None and names_code(str(path)):
        allowed = "a spec, a checkpoint or a saved run; in Python rnnspect.report(module, x, path=…)"
        raise InputError("a live model", allowed=allowed, where=str(path))
    data = None if path is None else saved_spec(path)
    if data is None:
        found = described(**given)
        return Source(found, None, _typed(path, module, found))
    if flags := [name for name, value in given.items() if value is not None and name != "spec"]:
        beside = "--" + flags[0].replace("_", "-")
        raise InputError("a run that was saved is as it was", allowed=f"{beside} beside a spec", where=beside)
    from rnnspect.network.spec import Spec  # with what validates it; --help needs neither

    def where(_keys: tuple[int | str, ...]) -> str:
        return f"{path}:spec"

    return Source(Described(Spec.from_data(data | {"device": "cpu"}, where), where), path, "")


@with_groups(source=source, output=formats("html"))
def report(
    source: Source,
    output: Output,
    engine: Annotated[
        str | None, typer.Option(help="Whose numbers: torch, torch-cell, … or path/to/mine.py:MyLSTM.")
    ] = None,
    recorded: Annotated[
        Path | None, typer.Option(help="What somebody's implementation gave, in place of an engine, as in check.")
    ] = None,
    arithmetic: Annotated[
        str | None, typer.Option(help="What the run is held to, where it is not what its dtype says.")
    ] = None,
    batch_index: Annotated[
        int | None,
        typer.Option(
            help="Which item of the batch; left out, the one that differs first, or 0.", rich_help_panel=_WHAT
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(help="Steps whose derivations the file keeps: 0:10,95: (at most 64).", rich_help_panel=_WHAT),
    ] = None,
) -> None:
    """One HTML file that shows a run: every quantity as a heat map, each number's derivation, and the verdict."""
    if output.path is None and sys.stdout.isatty():
        raise InputError("a page for a browser, and no file", allowed="-o report.html", where="--output")
    for flag, said in (("--engine", engine), ("--recorded", recorded)):
        if said and ((engine and recorded) or (source.saved and flag == "--recorded")):
            beside = "a run that was saved" if source.saved else "a recorded run"
            raise InputError(f"{flag} beside {beside}", allowed="one or the other", where=flag)
    source.described.note(output)
    with loading():
        from rnnspect.cli.describing import read_recorded
        from rnnspect.cli.notes import note_what_is_not_finite
        from rnnspect.cli.progress import SoFar, progress_bar
        from rnnspect.judging.declared import named
        from rnnspect.reporting.building import Asked, Progress, Recordings, report_prepared
        from rnnspect.views.check import summary
        from rnnspect.views.report import as_html

    held_to = named(arithmetic, "--arithmetic") if arithmetic else None
    if source.saved is None:
        prepared = _prepared(source.described, engine)
        given = Recordings(*read_recorded(str(recorded))) if recorded else None
    else:
        prepared, given = _saved(source.described, source.saved, engine)
    sequence, spec = prepared.sequence, prepared.spec
    asked = Asked(batch_index, _steps(steps, sequence.steps))
    note_what_is_not_finite(sequence, output)
    total = sequence.steps * spec.num_layers * spec.num_directions
    typed = source.typed + (f" --engine {shlex.quote(engine)}" if engine else "")
    with progress_bar("checking and painting every step", 2 * total, output.quiet) as advance:
        progress = Progress(SoFar(advance), advance)
        made = report_prepared(prepared, asked, given, held_to, typed, progress, _flag)
    output.emit({"html": lambda _screen: as_html(made)})
    output.note(summary(made.verdict))


def _prepared(described: Described, engine: str | None) -> Prepared:
    from rnnspect import engines
    from rnnspect.engines.shared.onnx_model import by_its_own_node
    from rnnspect.network import memory
    from rnnspect.tracing.prepare import prepare

    spec = described.spec
    prepared = prepare(spec, where=described.where, require_memory=memory.run_needs)
    if spec.beyond_torch and isinstance(spec.weights, str):
        prepared = by_its_own_node(prepared)
    if (name := engine or described.engine) != "torch":
        prepared = replace(prepared, engine=engines.find(name, "--engine"))
    return prepared


def _saved(described: Described, path: Path, engine: str | None) -> tuple[Prepared, Recordings]:
    """The run of a file, on the parameters that its spec draws or names."""
    from rnnspect.files.arrays import read_arrays
    from rnnspect.network import memory
    from rnnspect.reporting.building import Recordings
    from rnnspect.tracing.prepare import prepare

    arrays, spec = _of_engine(read_arrays(path), engine, str(path)), described.spec
    for name in ("x", "h0"):
        if name not in arrays or arrays[name].dim() != 3:
            raise InputError(f"no {name} [batch][step][unit]", allowed="what rnnspect trace -o keeps", where=str(path))
    x, states = arrays["x"], {name: arrays[name] for name in ("h0", "c0") if name in arrays}
    if spec.batch is None and spec.lengths is None and len(x) == 1:  # without a batch axis, as it most likely ran
        x, states = x[0], {name: state[:, 0] for name, state in states.items()}
    elif not spec.batch_first:
        x = x.transpose(0, 1)
    prepared = prepare(spec, x, **states, where=described.where, require_memory=memory.check_needs)
    return prepared, Recordings(arrays, lambda name: f"{path}:{name}" if name else str(path))


def _of_engine(arrays: dict[str, Tensor], engine: str | None, path: str) -> dict[str, Tensor]:
    """Of a trace of several engines what one of them gave, under the names of a trace of that one alone."""
    several = [name.removesuffix(".output").removeprefix("engine.") for name in arrays if name.endswith(".output")]
    several = [name for name in several if f"engine.{name}.output" in arrays]
    if engine in several:
        own = {name.replace(f"engine.{engine}.", "engine."): values for name, values in arrays.items()}
        return {name: values for name, values in own.items() if not any(f"engine.{one}." in name for one in several)}
    if engine or several:
        found = "a run of several engines" if several else f"{engine!r} beside a run that was saved"
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


def _typed(path: Path | None, module: str | None, described: Described) -> str:
    """The source and the flags as they were given, for a shell."""
    parts = [str(path)] if path else []
    parts += ["--module", module] if module else []
    for key in sorted(described.given):
        flag, value = _flag(key), getattr(described.spec, key)
        if isinstance(value, bool):
            parts.append(flag if value else f"--no-{flag[2:]}")
        else:
            said = value.out_features if key == "head" else value
            parts += [flag, ",".join(map(str, said)) if isinstance(said, list) else str(said)]
    return shlex.join(parts)


def _flag(argument: str) -> str:
    return "--" + argument.replace("_", "-")
