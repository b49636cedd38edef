"""Damaged files of every format through `main`: each is an answer or one message, in bounded time and memory, and
nothing in it runs.

`python -m tests.fuzz FOLDER --inputs 100000` keeps in FOLDER what failed, and prints what came out by format.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import random
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MEMORY = 6 * 2**30
"""Bytes of address space that a worker may take; torch's libraries alone are mapped in 2 GiB."""
SECONDS = 20
LONGEST = 2_000
"""Characters of a message."""
COMMANDS = ("shapes", "shapes", "shapes", "about", "trace")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut, repeated or exchanged; numbers are often the ends of their range."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not found:
            break
        at = rng.randrange(len(found)) if rng.random() < 0.5 else rng.randrange(min(len(found), 512))
        kind = rng.randrange(7)
        if kind == 0:
            found[at] = rng.randrange(256)
        elif kind == 1:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            width = rng.choice((2, 4, 8))
            number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, rng.getrandbits(64)))
            found[at : at + width] = (number % 256**width).to_bytes(width, rng.choice(("little", "big")))
        elif kind == 3:
            del found[at:]
        elif kind == 4:
            del found[at : at + rng.randrange(1, 64)]
        elif kind == 5:
            found[at:at] = found[at : at + rng.randrange(1, 64)]
        else:
            other = rng.randrange(len(found))
            found[at : at + 16], found[other : other + 16] = found[other : other + 16], found[at : at + 16]
    return bytes(found)


def said(arguments: list[str]) -> tuple[int | str, str]:
    """The exit status of `main` and what it wrote to stderr; in place of a status what went wrong."""
    from rnnspect.cli import main

    err = io.StringIO()

    def late(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("error")
            status: int | str = main(arguments)
    except BaseException as error:  # noqa: BLE001 - whatever comes out of main is what is looked for
        status = type(error).__name__
    finally:
        signal.alarm(0)
    if isinstance(status, int) and (status not in (0, 2) or "a fault of rnnspect" in err.getvalue()):
        status = f"exit status {status}"
    elif isinstance(status, int) and status == 2 and len(err.getvalue()) > LONGEST:
        status = "a long message"
    return status, err.getvalue()


def work(seeds: dict[str, bytes], folder: Path, first: int, count: int, told: Callable[[Any], None]) -> None:
    """Tries `count` inputs from the seed `first` on."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    results: Counter[tuple[str, str]] = Counter()
    slowest = 0.0
    path = folder / f"input.{first}"
    for number in range(first, first + count):
        rng = random.Random(number)
        kind = rng.choice(list(seeds))
        path.write_bytes(mutated(seeds[kind], rng))
        more = ["--steps", "0", "--units", "0"] if (command := rng.choice(COMMANDS)) == "trace" else []
        begun = time.perf_counter()
        status, err = said([command, str(path), *more])
        slowest = max(slowest, time.perf_counter() - begun)
        results[kind, {0: "an answer", 2: "a message"}.get(status, str(status))] += 1  # type: ignore[call-overload]
        if status not in (0, 2):
            path.rename(folder / f"{kind}.{number}.{command}")
            (folder / f"{kind}.{number}.txt").write_text(f"{status}\n{err}")
    path.unlink(missing_ok=True)
    told((results, slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def campaign(folder: Path, inputs: int, first: int, workers: int) -> Iterator[str]:
    from tests.weights.readers.every_format import every_format

    made = folder / "seeds"
    made.mkdir(parents=True, exist_ok=True)
    seeds = {kind: path.read_bytes() for kind, path in every_format(made).items()}
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()
    each = -(-inputs // workers)
    jobs = [
        context.Process(target=work, args=(seeds, folder, first + n * each, each, queue.put)) for n in range(workers)
    ]
    for job in jobs:
        job.start()
    results: Counter[tuple[str, str]] = Counter()
    slowest, memory = 0.0, 0
    for _ in jobs:
        some, late, most = queue.get()
        results, slowest, memory = results + some, max(slowest, late), max(memory, most)
    for (kind, what), count in sorted(results.items()):
        yield f"{count:8}  {kind}: {what}"
    yield f"{results.total():8}  in all; the slowest took {slowest:.1f} s, the largest worker {memory >> 10} MiB"
    if wrong := sum(count for (_, what), count in results.items() if what not in ("an answer", "a message")):
        yield f"{wrong:8}  failed, and are in {folder}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    lines = list(campaign(asked.folder, asked.inputs, asked.first, asked.workers))
    print("\n".join(lines))
    return int("failed" in lines[-1])


if __name__ == "__main__":
    sys.exit(main())
