"""Many inputs in several processes. Where one dies, that is a failure of its input, and another goes on behind it."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutations import mutated
from tests.fuzz.mutations.one_by_one import one_by_one
from tests.fuzz.seeds import Seed
from tests.fuzz.trying import ANSWER, MESSAGE, Outcome, command_for, settle, tried

MEMORY = 8 * 2**30
"""Bytes of address space that a worker may take; torch's libraries alone are mapped in 2 GiB."""
LARGEST = 2**22
"""Bytes of an input."""
LIFE = 5_000
"""Inputs of one process, of those that are drawn."""
MOST = 2**20
"""Ways of damaging one file, at most."""


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


Inputs = Callable[[Mapping[str, Seed], range], Iterator[Input]]
"""The inputs of these numbers."""


def at_random(seeds: Mapping[str, Seed], numbers: range) -> Iterator[Input]:
    return (input_of(seeds, number) for number in numbers)


def in_turn(seeds: Mapping[str, Seed], numbers: range) -> Iterator[Input]:
    """What `one_by_one` does to one file: the numbers are those of `turns`."""
    turn, begin = divmod(numbers.start, MOST)
    format_, broken = _files(seeds)[turn]
    seed = seeds[format_]
    every = enumerate(one_by_one(seed.files[broken], broken), turn * MOST)
    for number, content in islice(every, begin, numbers.stop - turn * MOST, numbers.step):
        yield Input(number, format_, seed, broken, content, command_for(seed.role, Random(number)))


def turns(seeds: Mapping[str, Seed], step: int) -> Iterator[range]:
    """For each file the numbers of what is done to it, of which one in `step` is tried."""
    return (range(turn * MOST, (turn + 1) * MOST, step) for turn in range(len(_files(seeds))))


def _files(seeds: Mapping[str, Seed]) -> list[tuple[str, str]]:
    return [(name, file) for name, seed in seeds.items() for file in seed.files]


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


def work(seeds: dict[str, Seed], folder: Path, inputs: Iterator[Input], until: float, current: Any, told: Any) -> None:
    """What a process does: tries these inputs, and sends a `Tally` when it is through or the time is over."""
    settle(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tally = Tally()
    for name, seed in seeds.items():
        seed.write(folder / name)
    for one in inputs:
        if time.monotonic() > until:
            break
        current.value = one.number
        place = folder / one.format
        (place / one.broken).write_bytes(one.content)
        tally.note(one, tried([*one.command, str(place / one.seed.given)]))
        if len(one.seed.files) > 1:
            (place / one.broken).write_bytes(one.seed.files[one.broken])
    tally.largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told.send((current.value, tally))
    told.close()


def campaign(
    seeds: dict[str, Seed], folder: Path, inputs: Inputs, pieces: Iterable[range], workers: int, minutes: float
) -> Iterator[Tally]:
    """Tries the inputs of these numbers, a process for each piece, or as many of them as the time is enough for. Yields
    what came out so far every time that a process is through."""
    context = multiprocessing.get_context("fork")
    begun = time.monotonic()
    until = begun + 60 * minutes
    pieces, waiting = iter(pieces), list[range]()
    running: dict[Any, tuple[Any, range, Any]] = {}
    tally = Tally()

    def start(piece: range) -> None:
        ours, theirs = context.Pipe(duplex=False)
        current = context.Value("q", piece[0])
        given = (seeds, folder / f"worker.{piece[0]}", inputs(seeds, piece), until, current, theirs)
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
                one = next(inputs(seeds, range(current.value, current.value + 1)))
                tally.note(one, Outcome(f"the process died ({job.exitcode})", "", 0.0))
                at = piece.index(one.number)
                waiting += [part for part in (piece[:at], piece[at + 1 :]) if part]
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
