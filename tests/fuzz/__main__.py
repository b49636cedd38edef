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

from tests import fuzz
from tests.fuzz.campaign import LIFE, Input, Inputs, Tally, at_random, campaign, in_turn, table, turns
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
    parser.add_argument("--one-by-one", type=int, metavar="N", help="no draws: one in N of all single damages")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="only the formats in whose name this is")
    parser.add_argument("--page", type=Path, help="a page of docs/ that gets the table, too")
    found = parser.parse_args()
    found.minutes = found.minutes or (10 if found.inputs == ALL and not found.one_by_one else math.inf)
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


def told(tally: Tally, seeds: dict[str, Seed], inputs: Inputs, folder: Path, known: set[str]) -> None:
    """Keeps the failures that are new, and says so."""
    for kind, (number, what, err) in tally.failures.items():
        if kind not in known:
            known.add(kind)
            one = next(inputs(seeds, range(number, number + 1)))
            said = f"input {number} ({one.format}, {one.command[0]}): {what}\n  {err[:300]}"
            print(said, file=sys.stderr, flush=True)
            keep(one, what, err, folder)


def main() -> int:
    given = asked()
    folder: Path = (given.folder or Path(tempfile.mkdtemp(prefix="fuzz."))).resolve()
    (made := folder / "seeds").mkdir(parents=True, exist_ok=True)
    seeds = {name: seed for name, seed in every_seed(made).items() if given.only in name}
    known: set[str] = set()
    tally = Tally()
    inputs: Inputs = in_turn if given.one_by_one else at_random
    numbers = range(given.first, given.first + given.inputs)
    pieces = (numbers[at : at + LIFE] for at in range(0, len(numbers), LIFE))
    pieces = turns(seeds, given.one_by_one) if given.one_by_one else pieces
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(dir=memory) as scratch:
        for tally in campaign(seeds, Path(scratch), inputs, pieces, given.workers, given.minutes):
            told(tally, seeds, inputs, folder, known)
            (folder / "table.txt").write_text("\n".join(table(tally)) + "\n")
    print("\n".join(table(tally)))
    if given.page:
        put_into(given.page, "one by one" if given.one_by_one else "fuzz", table(tally, markdown=True))
    if tally.failed:
        print(f"{tally.failed:,} failed; one of each kind is in {folder}")
    return int(bool(tally.failed))


if __name__ == "__main__":
    sys.exit(main())
