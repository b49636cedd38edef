"""A progress bar for long work, on stderr, only where a person watches."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
