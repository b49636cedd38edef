"""What a command runs: the network that a file and the options describe, or a module of a live model as it ran."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rnnspect import engines
from rnnspect.cli import models
from rnnspect.cli.describing import Described, Given
from rnnspect.cli.output import Output, loading
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import EngineError

if TYPE_CHECKING:
    from rnnspect.engines.interface import Engine
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared

T = TypeVar("T")


def is_live(path: Path | None) -> bool:
    """Whether a source is a live model, path/to/model.py:build. Raises `InputError` for a .py file alone."""
    if path is not None and path.suffix == ".py":
        raise models.unnamed(str(path))
    return path is not None and names_code(str(path))


def note_axes(made: Prepared, output: Output) -> None:
    """Says how x was read where its first two axes might be exchanged."""
    from rnnspect.network.axes import assumed

    if said := assumed(made.spec, made.sequence.steps, made.sequence.batch):
        output.note(f"note: {said}")


def prepared(
    given: Given, output: Output, needs: Callable[[Spec, int, int], int], engine: str | None = None, back: bool = False
) -> tuple[Prepared, Described]:
    """The run, with the engine that was named, or the usual one, and where that is not to be had with none; and what
    the options describe. `needs` estimates the bytes that the run takes; `back` asks for an engine with gradients.

    Of a live model it is a call of one of its modules, with what that returned in place of an engine.
    """
    if is_live(given.path):
        made, described = models.prepared_call(str(given.path), given, output, needs)
        return made.with_engine(engine or "torch", "--engine"), described
    described = given.describe(output, runs=True)
    made = prepared_of(described, needs)
    if described.received is None:
        note_axes(made, output)
    with loading():
        from rnnspect.tracing.prepare import by_its_own_node
    made = by_its_own_node(made)
    if engine:
        return made.with_engine(engine, "--engine"), described
    usual = with_usual(made, lambda: described.engine_back(output) if back else described.engine)
    return usual.or_no_engine(), described


def prepared_of(described: Described, needs: Callable[[Spec, int, int], int]) -> Prepared:
    """The run of what was described, without an engine."""
    with loading():
        from rnnspect.tracing.prepare import prepare

    spec, received = described.spec, described.received
    if received is None:
        return prepare(spec, where=described.where, require_memory=needs)
    x = received.x.transpose(0, 1) if spec.batch_first else received.x
    own = spec.with_changes(input=None, batch=None)
    states = {"h0": received.h0} | ({} if received.c0 is None else {"c0": received.c0})
    return prepare(own, x, **states, lengths=received.lengths, where=described.where, require_memory=needs)


def with_usual(made: Prepared, name: Callable[[], str]) -> Prepared:
    """The run with the engine whose name `name` gives; without an engine where `name` raises `EngineError`."""
    from rnnspect.engines.interface import NoEngine

    try:
        usual = name()
    except EngineError as error:
        return replace(made, engine=NoEngine("; ".join(problem.found for problem in error.problems)))
    return made.with_engine(usual, "--engine")


def with_each(names: list[str], run: Callable[[Engine], T], output: Output) -> list[T]:
    """What `run` gives for each engine that is named. Of "all" engines those that cannot run are left out with a
    note."""
    every, found = names == ["all"], []
    for name in engines.every() if every else dict.fromkeys(names):
        try:
            found.append(run(engines.find(name, "--engine")))
        except EngineError as error:
            if not every:
                raise
            output.note(f"note: {error}")
    return found
