"""For work that takes long: torch loaded fast, and a progress bar on stderr where a person watches."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rnnspect.judging.finding import Finding


@contextmanager
def loading() -> Iterator[None]:
    """For the imports that load torch. They make a million objects and no garbage: without the collector they take a
    tenth less time, and later it does not look at what was loaded here."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@dataclass
class SoFar:
    """How far a long check has come, for the bar and for whoever interrupts it."""

    advance: Callable[[int], None]
    steps: int = 0
    differs: bool = False

    def __call__(self, found: Finding | None, steps: int) -> None:
        self.steps += steps
        self.differs |= found is not None and found.first is not None
        self.advance(steps)

    def __str__(self) -> str:
        if not self.steps:
            return "before the first step was judged"
        said = "something differs" if self.differs else "everything agrees"
        return f"after {self.steps:,} steps, all layers and directions together; so far {said}"


LONG = 2_000
"""Steps, in all layers and directions together, below which the work is over before a bar helps."""


@contextmanager
def progress_bar(what: str, steps: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yields a function that is told how many more steps are done."""
    if quiet or steps < LONG or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=steps)
        yield lambda done: progress.update(task, advance=done)
