"""`python -m tests.fuzz`: the campaign from the command line. Ends with 1 if an input failed."""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests import fuzz
from tests.fuzz.campaign import Input, Tally, campaign, input_of, table
from tests.fuzz.reducing import reduced
from tests.fuzz.seeds import Seed, every_seed
from tests.fuzz.trying import Outcome, settle, tried
from tests.page import put_into

ALL = 10**12


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=fuzz.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where what failed is kept; a temporary one by default")
    parser.add_argument("--minutes", type=float, help="how long; 10 where --inputs is not said either")
    parser.add_argument("--inputs", type=int, default=ALL, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input: each is made from its own")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="only the formats in whose name this is")
    parser.add_argument("--page", type=Path, help="a page of docs/ that gets the table, too")
    found = parser.parse_args()
    found.minutes = found.minutes or (10 if found.inputs == ALL else math.inf)
    return found


def keep(one: Input, what: str, err: str, folder: Path) -> None:
    """Writes a failed input as it was and, where that goes, as small as it still fails."""
    place = folder / f"{one.format.replace(' ', '_')}.{one.number}"
    arguments = one.write(place)
    (folder / f"{place.name}.txt").write_text(f"{' '.join(arguments)}\n{what}\n{err}")
    job = multiprocessing.get_context("fork").Process(target=_reduce, args=(one, place, arguments))
    job.start()
    job.join()


def _reduce(one: Input, place: Path, arguments: list[str]) -> None:
    settle(place)
    kind = tried(arguments).kind

    def fails(content: bytes) -> bool:
        (place / one.broken).write_bytes(content)
        return tried(arguments).kind == kind

    small = reduced(one.content, fails) if Outcome(kind, "", 0).failed else one.content
    (place / one.broken).write_bytes(small)


def told(tally: Tally, seeds: dict[str, Seed], folder: Path, known: set[str], to: Any) -> None:
    """Keeps the failures that are new, and says so."""
    for kind, (number, what, err) in tally.failures.items():
        if kind not in known:
            known.add(kind)
            one = input_of(seeds, number)
            print(f"input {number} ({one.format}, {one.command[0]}): {what}\n  {err[:300]}", file=to, flush=True)
            keep(one, what, err, folder)


def main() -> int:
    given = asked()
    folder: Path = (given.folder or Path(tempfile.mkdtemp(prefix="fuzz."))).resolve()
    (made := folder / "seeds").mkdir(parents=True, exist_ok=True)
    seeds = {name: seed for name, seed in every_seed(made).items() if given.only in name}
    known: set[str] = set()
    tally = Tally()
    numbers = range(given.first, given.first + given.inputs)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(dir=memory) as scratch:
        for tally in campaign(seeds, Path(scratch), numbers, given.workers, given.minutes):
            told(tally, seeds, folder, known, sys.stderr)
            (folder / "table.txt").write_text("\n".join(table(tally)) + "\n")
    print("\n".join(table(tally)))
    if given.page:
        put_into(given.page, "fuzz", table(tally, markdown=True))
    if tally.failed:
        print(f"{tally.failed:,} failed; one of each kind is in {folder}")
    return int(bool(tally.failed))


if __name__ == "__main__":
    sys.exit(main())
