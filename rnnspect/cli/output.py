"""What a command shows: results on stdout or in a file; messages, and the progress of long work, on stderr."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, RenderableType

from rnnspect.cli.signals import ended_at_once
from rnnspect.errors import InputError
from rnnspect.files import writing
from rnnspect.judging.verdict import Verdict
from rnnspect.network.progress import StepsDone, untold
from rnnspect.network.shown import counted
from rnnspect.views.documents import as_json
from rnnspect.views.rendering import Screen, encodable, rendered, width_of
from rnnspect.views.text import printable

if TYPE_CHECKING:
    from rnnspect.judging.finding import Finding
    from rnnspect.network.sequence import Sequence

_SUFFIXES = {
    "html": (".htm", ".html"),
    "junit": (".xml",),
    "markdown": (".md",),
    "table": (),
    "yaml": (".yaml", ".yml"),
}
"""How a file's name asks for a format, where that is not a dot and the format's name."""
_NUMBERS = 1 << 20
"""How many are looked at together: a memory-mapped file need not fit into memory."""
MOST_NOTES = 20
"""Notes of one command that are said."""
LONG = 2_000
"""Steps, in all layers and directions together, below which the work is over before a progress bar helps."""
COMMAND: ContextVar[tuple[str, ...]] = ContextVar("command", default=())
"""What was typed after `rnnspect`, for the title of a picture."""


def say(message: str) -> None:
    """One message for a person, on stderr; control characters in it are written out. Where nobody can read it, it is
    lost, and nothing else changes."""
    if sys.stderr is None:
        return
    lines = (printable(line) for line in message.split("\n"))
    try:
        print(encodable("\n".join(lines), sys.stderr.encoding), file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Sends the rest of a stream nowhere: nobody reads it any more, and Python would complain when it flushes at
    exit."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


@dataclass(frozen=True)
class Output:
    """What the user asked for: the format, the file, and whether to be quiet."""

    format: str | None
    path: Path | None
    quiet: bool
    _noted: set[str] = field(default_factory=set)

    def note(self, message: str) -> None:
        """Something worth knowing beside the result; said once, not with -q, and not the hundredth of its kind."""
        if self.quiet or message in self._noted:
            return
        self._noted.add(message)
        if len(self._noted) <= MOST_NOTES or not message.startswith("note: "):
            say(message)
        elif len(self._noted) == MOST_NOTES + 1:
            say(f"note: only the first {MOST_NOTES} notes are shown")

    def check(self, formats: Collection[str], arrays: bool = False) -> None:
        """Raises `InputError` for a format that the command does not have, `FileError` for a file that cannot be
        written."""
        if self.format is not None and self.format not in formats:
            raise InputError.unknown(f"unknown format {self.format!r}", self.format, formats, "--format")
        if self.path is None:
            return
        known = [*sorted([suffix for name in formats for suffix in _suffixes(name)] + [".npz"] * arrays), ".txt"]
        if (self._suffix and self._suffix not in known) or self.path == Path("-"):
            advice = (
                "leave out -o to print the result"
                if self.path == Path("-")
                else f"use {', '.join(known[:-1])} or {known[-1]}"
            )
            raise InputError(f"cannot write {self._suffix or self.path}", advice=advice, where="--output")
        writing.check_writable(self.path)

    def emit(
        self,
        table: Callable[[int], Iterable[RenderableType]] | None = None,
        arrays: Callable[[], dict[str, Any]] | None = None,
        document: Callable[[], Any] | None = None,
        **texts: Callable[[], str],
    ) -> None:
        """Writes the result into the file, or to stdout, in the format that was chosen: else as a table, which is made
        for a width in characters, or in the first of the other formats. The document is what JSON is made of. A .npz
        file keeps the arrays, and the result is shown beside it."""
        if document is not None:
            texts["json"] = lambda: as_json(document())
        default = "table" if table else next(iter(texts))

        def text(format: str, terminal: bool) -> str:  # noqa: A002
            if format in texts:
                return texts[format]()
            if table is None or format not in ("table", "svg"):
                raise AssertionError(f"nothing makes {format} here")
            screen = Screen(picture=shlex.join(("rnnspect", *COMMAND.get()))) if format == "svg" else Screen(terminal)
            return rendered(table(width_of(screen)), screen)

        if self.path is not None:
            if self.is_arrays:
                assert arrays is not None
                writing.write_arrays(self.path, arrays())
            else:
                named = next((name for name in ("svg", *texts) if self._suffix in _suffixes(name)), default)
                writing.write_text(self.path, text(self.format or named, terminal=False))
            self.note(f"wrote {self.path}")
            if not self.is_arrays or (self.quiet and self.format is None):
                return
        _print(text(self.format or default, sys.stdout.isatty()))

    @property
    def is_shown(self) -> bool:
        """Whether the result is a table on stdout."""
        return self.path is None and self.format in (None, "table")

    def begin(self, table: Iterable[RenderableType]) -> None:
        """Shows the first lines of the table on stdout, where the rest takes a while."""
        _print(rendered(table, Screen(sys.stdout.isatty())))

    def writes(self, format: str) -> bool:  # noqa: A002
        """Whether the result is made in this format, for the file or for the screen."""
        return self.format == format if self.format else self._suffix in _suffixes(format)

    @property
    def is_arrays(self) -> bool:
        """Whether the file keeps arrays."""
        return self._suffix == ".npz"

    @property
    def _suffix(self) -> str:
        return "" if self.path is None else self.path.suffix.lower()


def note_what_is_not_finite(sequence: Sequence, output: Output) -> None:
    """Warns of NaN and infinity in x, h0 and c0: they are data, but may surprise."""
    for name, values in {"x": sequence.x, "h0": sequence.h0, "c0": sequence.c0}.items():
        if values is None:
            continue
        rows = max(1, _NUMBERS // max(1, values[0].numel()))
        pieces = values.split(rows)  # type: ignore[no-untyped-call]
        if count := sum(int((~piece.isfinite()).sum()) for piece in pieces):
            nan = sum(int(piece.isnan().sum()) for piece in pieces)
            output.note(f"warning: {name} has {count} of {values.numel()} values that are not finite ({nan} NaN)")


@contextmanager
def loading() -> Iterator[None]:
    """For the imports that load torch, with the garbage collector off. They make a million objects and no garbage, so
    they take a tenth less time without it, and later the collector does not look at them. Only once in a process:
    garbage that is frozen is never collected."""
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        with ended_at_once():
            yield
    finally:
        if "torch" in sys.modules:
            gc.freeze()
        gc.enable()


@dataclass
class SoFar:
    """How far a long check has come, for the progress bar and for the message when it is interrupted."""

    advance: StepsDone
    quiet: bool
    end_bar: Callable[[], None] = lambda: None
    told: Callable[[Verdict], None] | None = None
    """Is told of a run that differs, before causes are looked for; once."""
    steps: int = 0
    differs: bool = False

    def __call__(self, found: Finding | None, steps: int) -> None:
        self.steps += steps
        self.differs |= found is not None and found.first is not None
        self.advance(steps)

    @contextmanager
    def searching(self, differs: Verdict) -> Iterator[None]:
        from rnnspect.views.check import first_place

        self.end_bar()
        self.advance = untold  # a bar and what is told would be drawn over each other
        said = "looking for a known mistake that explains it"
        if self.told:
            self.told(differs)
            self.told = None
        else:
            said = f"differs at {first_place(differs)}; {said}"
        with working(said, self.quiet):
            yield

    def __str__(self) -> str:
        if not self.steps:
            return "before the first step was checked"
        said = "something differs" if self.differs else "everything agrees"
        return f"after {counted(self.steps, 'step')}, all layers and directions together; so far {said}"


@contextmanager
def progress_bar(what: str, steps: int, quiet: bool) -> Iterator[StepsDone]:
    """Yields a function that is told how many more steps are done."""
    if quiet or steps < LONG or not sys.stderr.isatty():
        yield untold
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(printable(what), total=steps)
        yield lambda done: progress.update(task, advance=done)


@contextmanager
def working(what: str, quiet: bool) -> Iterator[None]:
    """Says on a terminal what runs, and for how long it has, while nobody can tell how much of it is done."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(printable(what), total=None)
        yield


@contextmanager
def checking(
    steps: int, quiet: bool, told: Callable[[Verdict], None] | None = None, what: str = "checking every step"
) -> Iterator[SoFar]:
    """The progress of a check, of which `told` is told before causes are looked for; where it is interrupted, how far
    it came is said."""
    with ExitStack() as bar:
        advance = bar.enter_context(progress_bar(what, steps, quiet))
        so_far = SoFar(advance, quiet, bar.close, told)
        try:
            yield so_far
        except KeyboardInterrupt:
            say(f"stopped {so_far}")
            raise


def _print(text: str) -> None:
    try:
        sys.stdout.write(encodable(text, sys.stdout.encoding))
        sys.stdout.flush()
    except BrokenPipeError:  # as of `| head`, which has read enough: the verdict is what it is
        discard(sys.stdout)


def _suffixes(format: str) -> tuple[str, ...]:  # noqa: A002
    return _SUFFIXES.get(format, (f".{format}",))
