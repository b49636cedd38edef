"""`check --sweep`: the lengths, splits and batches at which fast forms break; and `--split`, one of its runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect import engines
from rnnspect.cli.check_options import CheckOptions
from rnnspect.cli.describing import Described, Given
from rnnspect.cli.output import Output, checking, loading
from rnnspect.cli.values import flag
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import EngineError, InputError, Problem

if TYPE_CHECKING:
    from rnnspect.checking.sweep.result import Sweep
    from rnnspect.judging.declared import Declared
    from rnnspect.judging.finding import Progress
    from rnnspect.tracing.prepare import Prepared

_ITS_OWN = ("input", "batch", "h0", "c0", "lengths")
_BESIDE = ("recorded", "backward", "probe", "write_probe", "recover", "other_weights", "split")


def split_of(asked: CheckOptions, prepared: Prepared) -> Prepared:
    """The same run in several calls, where --split asks for it."""
    from rnnspect.engines.shared.pieces import SplitEngine
    from rnnspect.network.split import Split

    if asked.split is None:
        return prepared
    return replace(prepared, engine=SplitEngine(prepared.engine, Split.parse(asked.split, "--split")))


def check_asked(asked: CheckOptions) -> None:
    """Raises what does not go together."""
    if asked.chunk and not asked.sweep:
        raise InputError("has an effect only with --sweep", advice="add --sweep", where="--chunk")
    beside = [name for name in _BESIDE if getattr(asked, name)] if asked.sweep else []
    if asked.split and not asked.sweep:
        beside = [name for name in ("recorded", "backward") if getattr(asked, name)]
    if beside:
        option = "--sweep" if asked.sweep else "--split"
        raise InputError(Problem(f"cannot be combined with {option}", where=flag(name)) for name in beside)


def swept(given: Given, asked: CheckOptions, sources: Sequence[str], held_to: Declared | None, output: Output) -> int:
    """Runs the sweep of one network by one engine and shows it; the exit status is that of its worst run."""
    with loading():
        from rnnspect.checking.check import CheckTerms
        from rnnspect.checking.sweep.sweep import CHUNKS, chunks_of, sweep
        from rnnspect.views import sweep as view

    chunks = chunks_of(asked.chunk, "--chunk") if asked.chunk else CHUNKS
    described, name = _described(given, asked, sources, output)
    engine = engines.find(name, "--engine")
    places = len(described.spec.places)

    def begin(steps: int) -> AbstractContextManager[Progress]:
        return checking(steps * places, output.quiet, None, f"running {engine.name}")

    made = sweep(described.spec, engine, chunks, CheckTerms(held_to, asked.explain), described.where, begin)
    then = _command_of_first_wrong(made, given, asked, described)
    output.emit(
        lambda _width: view.parts(made, then),
        document=lambda: view.document(made, sources[0] or None, then),
        junit=lambda: view.as_junit(made),
    )
    if output.path is not None:
        for said in view.lines(made):
            output.note(said)
    return made.exit_status


def _described(given: Given, asked: CheckOptions, sources: Sequence[str], output: Output) -> tuple[Described, str]:
    """The network, and the name of the engine: of an ONNX model that file itself. Raises `InputError` for several, and
    for what has its own input."""
    typed = [
        Problem("cannot be combined with --sweep, which makes its own", where=flag(name))
        for name in _ITS_OWN
        if name in given.typed
    ]
    if typed:
        raise InputError(typed)
    names = asked.engine or []
    if len(sources) > 1 or len(names) > 1 or names == ["all"]:
        raise InputError(
            "sweeps one network with one engine", advice="pass one source and one --engine", where="--sweep"
        )
    from rnnspect.weights import readers

    source = sources[0]
    if names_code(source):
        advice = "pass its weights, and its code as --engine path/to/mine.py:NAME"
        raise InputError("a live model runs on inputs of its own", advice=advice, where=source)
    described = replace(given, path=Path(source) if source else None).describe(output, the_only=True, runs=True)
    itself = bool(source) and readers.kind_of(Path(source)) == "onnx"
    name = names[0] if names else source if itself else described.engine
    if described.spec.is_own_cell and not names:
        advice = "give your implementation: --engine path/to/mine.py:chunked"
        raise EngineError(
            f"there is nothing to compare with the equations: {described.spec.beyond_torch}", advice=advice
        )
    return described, name


def _command_of_first_wrong(made: Sweep, given: Given, asked: CheckOptions, described: Described) -> str:
    """The command that checks the first wrong run alone."""
    if made.first is None:
        return ""
    words = ["rnnspect", "check", *shlex.split(given.as_typed(described.spec))]
    for name in asked.engine or []:
        words += ["--engine", name]
    words += ["--arithmetic", asked.arithmetic] if asked.arithmetic else []
    return shlex.join([*words, *made.first.run.options(described.spec)])
