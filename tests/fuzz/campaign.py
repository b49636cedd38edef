"""Many inputs in several processes. Where one dies, that is a failure of its input, and another goes on behind it."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import Seed
from tests.fuzz.trying import ANSWER, MESSAGE, Outcome, command_for, settle, tried

MEMORY = 8 * 2**30
"""Bytes of address space that a worker may take; torch's libraries alone are mapped in 2 GiB."""
LARGEST = 2**22
"""Bytes of an input."""
LIFE = 5_000
"""Inputs of one process."""


@dataclass(frozen=True)
class Input:
    """One damaged file: the same for the same number."""

    number: int
    format: str
    seed: Seed
    broken: str
    """Which of the seed's files is damaged."""
    content: bytes
    command: tuple[str, ...]

    def write(self, folder: Path) -> list[str]:
        """Writes all of it, and returns the arguments of the command on it."""
        return [*self.command, str(Seed({**self.seed.files, self.broken: self.content}, self.seed.given).write(folder))]


def input_of(seeds: Mapping[str, Seed], number: int) -> Input:
    rng = Random(number)
    format_ = rng.choice(list(seeds))
    seed = seeds[format_]
    broken = rng.choice(list(seed.files))
    content = seed.files[broken]
    for _ in range(rng.choice((1, 1, 1, 2))):
        content = mutated(content, broken, rng)[:LARGEST]
    return Input(number, format_, seed, broken, content, command_for(seed.role, rng))


@dataclass
class Tally:
    """What came out so far."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By format and by what came out."""
    failures: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    """By kind the number of the first such input, what is wrong, and the message."""
    slowest: tuple[float, int] = 0.0, 0
    """Seconds, and the number of the input."""
    largest: int = 0
    """Bytes of the largest worker."""
    seconds: float = 0.0

    def note(self, one: Input, outcome: Outcome) -> None:
        what = "failed" if outcome.failed else outcome.what
        self.counts[one.format, what] += 1
        self.slowest = max(self.slowest, (outcome.seconds, one.number))
        if outcome.failed:
            self.failures.setdefault(outcome.kind, (one.number, outcome.what, outcome.err))

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.failures = other.failures | self.failures
        self.slowest, self.largest = max(self.slowest, other.slowest), max(self.largest, other.largest)

    @property
    def failed(self) -> int:
        return sum(count for (_, what), count in self.counts.items() if what == "failed")


def work(seeds: dict[str, Seed], folder: Path, numbers: range, until: float, current: Any, told: Any) -> None:
    """What a process does: tries these inputs, and sends a `Tally` when it is through or the time is over."""
    settle(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tally = Tally()
    for name, seed in seeds.items():
        seed.write(folder / name)
    for number in numbers:
        if time.monotonic() > until:
            break
        current.value = number
        one = input_of(seeds, number)
        place = folder / one.format
        (place / one.broken).write_bytes(one.content)
        tally.note(one, tried([*one.command, str(place / one.seed.given)]))
        if len(one.seed.files) > 1:
            (place / one.broken).write_bytes(one.seed.files[one.broken])
    tally.largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told.send((current.value, tally))
    told.close()


def campaign(seeds: dict[str, Seed], folder: Path, numbers: range, workers: int, minutes: float) -> Iterator[Tally]:
    """Tries the inputs of these numbers, or as many of them as the time is enough for. Yields what came out so far
    every time that a process is through."""
    context = multiprocessing.get_context("fork")
    begun = time.monotonic()
    until = begun + 60 * minutes
    pieces = (numbers[at : at + LIFE] for at in range(0, len(numbers), LIFE))
    waiting: list[range] = []
    running: dict[Any, tuple[Any, range, Any]] = {}
    tally = Tally()

    def start(piece: range) -> None:
        ours, theirs = context.Pipe(duplex=False)
        current = context.Value("q", piece[0] - 1)
        given = (seeds, folder / f"worker.{piece[0]}", piece, until, current, theirs)
        job = context.Process(target=work, args=given)
        job.start()
        theirs.close()
        running[ours] = job, piece, current

    while True:
        while len(running) < workers and time.monotonic() < until:
            piece = waiting.pop() if waiting else next(pieces, None)
            if piece is None:
                break
            start(piece)
        if not running:
            return
        for ours in wait(list(running)):
            job, piece, current = running.pop(ours)
            try:
                tally.add(ours.recv()[1])
            except EOFError:  # it died: what it had counted is lost, and tried again but for the input that killed it
                job.join()
                one = input_of(seeds, current.value)
                tally.note(one, Outcome(f"the process died ({job.exitcode})", "", 0.0))
                waiting += [
                    part for part in (range(piece[0], one.number), range(one.number + 1, piece[-1] + 1)) if part
                ]
            job.join()
            tally.seconds = time.monotonic() - begun
            yield tally


def table(tally: Tally, markdown: bool = False) -> Iterator[str]:
    """A line for each format."""
    rows = [("format", "inputs", ANSWER, MESSAGE, "failed")]
    whats = (ANSWER, MESSAGE, "failed")
    for name in sorted({name for name, _ in tally.counts}):
        counts = [tally.counts[name, what] for what in whats]
        rows.append((name, *(f"{count:,}" for count in (sum(counts), *counts))))
    totals = [sum(count for (_, what), count in tally.counts.items() if what == wanted) for wanted in whats]
    rows.append(("all", *(f"{count:,}" for count in (sum(totals), *totals))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for at, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield f"| {' | '.join(cells)} |" if markdown else "  ".join(cells)
        if markdown and not at:
            yield "|".join(("", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""))
    rate = sum(totals) / max(tally.seconds, 0.001)
    yield ""
    yield (
        f"{sum(totals):,} inputs in {tally.seconds:,.0f} s, {rate:.0f} a second; the slowest took "
        f"{tally.slowest[0]:.1f} s (number {tally.slowest[1]}), the largest process {tally.largest >> 20} MiB"
    )
