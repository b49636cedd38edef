"""Every command that writes is killed at random moments of its life: nothing half written, nothing left behind, the
right exit status, and an end within a second.

`python -m tests.kill --times 500` prints a table by command and signal; `--page docs/survived.md` puts it there, too.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.page import put_into

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST = 1.0
"""Seconds from a signal to the end of the process."""
OLD = b"what was there before"
OWN = """\
import torch
def step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    return torch.gru_cell(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)
"""


def commands(out: Path, own: Path) -> dict[str, tuple[list[str], Path]]:
    """By what is shown of it a command, and the file that it writes into the folder `out`."""
    long = ["--cell", "gru", "--input", "randn:5000"]
    convert = ["convert", "--cell", "gru", "--hidden-size", "256", "--to"]
    every = {
        "init": (["init"], "net.yaml"),
        "schema": (["schema"], "schema.json"),
        "layouts": (["layouts", "-f", "json"], "layouts.json"),
        "shapes": (["shapes", "--cell", "lstm"], "shapes.json"),
        "run -o run.npz": (["run", *long], "run.npz"),
        "trace -o trace.npz": (["trace", *long], "trace.npz"),
        "trace -o trace.json": (["trace", *long, "-f", "json"], "trace.json"),
        "check -o check.json": (["check", *long], "check.json"),
        "check -o check.xml": (["check", *long, "-f", "junit"], "check.xml"),
        "check --engine own.py:step": (["check", "--cell", "gru", "--engine", f"{own}:step"], "own.json"),
        "report": (["report", "--cell", "gru", "--input", "randn:3000"], "report.html"),
        "derive": (["derive", "--cell", "gru", "--step", "1", "--unit", "0"], "derive.json"),
        "probe": (["probe", "--cell", "gru"], "probe.npz"),
        "convert --to onnx": ([*convert, "onnx"], "gru.onnx"),
        "convert --to keras": ([*convert, "keras"], "gru.weights.h5"),
        "convert --to pytorch": ([*convert, "pytorch"], "gru.safetensors"),
    }
    return {name: ([*argv, "-o", str(out / file)], out / file) for name, (argv, file) in every.items()}


@dataclass
class Told:
    """What came of a command and a signal, all times together."""

    times: int = 0
    late: int = 0
    """How often it had ended before the signal came."""
    slowest: float = 0.0
    litter: int = 0
    """Temporary files after SIGKILL, which nobody can help."""
    wrong: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Undisturbed:
    """What a command does when nobody disturbs it. The moments are drawn from the time that it took."""

    seconds: float
    status: int
    content: bytes


def is_same(one: bytes, other: bytes) -> bool:
    """Whether two files hold the same; safetensors writes its metadata in another order each time."""
    return one == other or Counter(one) == Counter(other)


def started(argv: list[str]) -> subprocess.Popen[str]:
    """In a session of its own, so that whatever it starts can be looked for."""
    command = [sys.executable, "-m", "rnnspect", *argv]
    none = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=none, stdout=none, stderr=subprocess.PIPE, text=True, start_new_session=True)


def undisturbed(argv: list[str], path: Path) -> Undisturbed:
    begun = time.perf_counter()
    process = started(argv)
    process.communicate()
    return Undisturbed(time.perf_counter() - begun, process.returncode, path.read_bytes())


def once(
    command: tuple[list[str], Path], one: Undisturbed, number: signal.Signals, rng: random.Random, told: Told
) -> None:
    """Kills a command once and looks at what is left."""
    argv, path = command
    for file in path.parent.iterdir():
        file.unlink()
    before = OLD if rng.random() < 0.5 else None
    if before is not None:
        path.write_bytes(before)
    told.times += 1
    process = started(argv)
    try:
        process.communicate(timeout=rng.uniform(0, one.seconds))
    except subprocess.TimeoutExpired:
        begun = time.perf_counter()
        process.send_signal(number)
        process.wait(60)
        took = time.perf_counter() - begun
        _, err = process.communicate(timeout=60)
    else:
        told.late += 1
        return
    told.slowest = max(told.slowest, took)
    now = path.read_bytes() if path.exists() else None
    told.wrong.update(wrong(one, process.returncode, err, number, before, now))
    if took > LONGEST:
        told.wrong[f"an end after more than {LONGEST:.0f} s"] += 1
    if not _is_gone(process.pid):
        told.wrong["a process that goes on"] += 1
    litter = [file.name for file in path.parent.iterdir() if file != path]
    if number == signal.SIGKILL and all(name.startswith(".") for name in litter):
        told.litter += len(litter)
    elif litter:
        told.wrong[f"left behind: {litter}"] += 1


def wrong(
    one: Undisturbed, status: int, err: str, number: signal.Signals, before: bytes | None, now: bytes | None
) -> Iterator[str]:
    # While modules are loaded a signal kills the process itself: a shell shows the same status. While Python itself
    # begins, it answers a Ctrl-C with 1 and a traceback of its own.
    if status not in (-number, 128 + number, one.status) and "init_import_site" not in err:
        yield f"exit status {status}"
    if "Traceback" in err and "/rnnspect/cli" in err:
        yield "a traceback"
    if now != before and not (now and is_same(now, one.content)):
        yield "the old file is gone" if now is None else "a half file"


def _is_gone(group: int) -> bool:
    """Whether no process of a group is left, two seconds later at the latest."""
    for _ in range(20):
        if not any(_is_of(process, group) for process in psutil.process_iter()):
            return True
        time.sleep(0.1)
    return False


def _is_of(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def campaign(times: int, seed: int, workers: int) -> dict[tuple[str, str], Told]:
    """By command and signal what came of it. Commands and signals take turns; the moments are drawn.

    Raises `ValueError` for a command that does not always write the same: nobody could say whether that is whole.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        own = Path(folder) / "own.py"
        own.write_text(OWN)
        folders = [Path(folder) / str(worker) for worker in range(max(2, workers))]
        for out in folders:
            out.mkdir()
        every = [commands(out, own) for out in folders]
        known = list(pool.map(lambda own: {name: undisturbed(*one) for name, one in own.items()}, every))
        for name in every[0]:
            if not all(is_same(known[0][name].content, one[name].content) for one in known):
                raise ValueError(f"{name} writes another file each time")
        pairs = [(name, number) for number in SIGNALS for name in every[0]]
        found = {(name, number.name): Told() for name, number in pairs}

        def work(worker: int) -> None:
            rng = random.Random(seed + worker)
            for at in range(worker, times, workers):
                name, number = pairs[at % len(pairs)]
                told = found[name, number.name]
                once(every[worker][name], known[worker][name], number, rng, told)
                if told.wrong:
                    print(name, number.name, dict(told.wrong), file=sys.stderr, flush=True)

        list(pool.map(work, range(workers)))
    return found


def table(found: dict[tuple[str, str], Told]) -> list[list[str]]:
    """A row for each command, with how often each signal came; and one of all, with what went wrong."""
    names = list(dict.fromkeys(name for name, _ in found))
    rows = [["command", *(number.name for number in SIGNALS), "ended before", "slowest", "wrong"]]
    for name in [*names, "all"]:
        every = {kind: told for kind, told in found.items() if name in (kind[0], "all")}
        wrong = sum((told.wrong for told in every.values()), Counter[str]())
        rows.append(
            [
                name,
                *(str(sum(told.times for (_, kind), told in every.items() if kind == one.name)) for one in SIGNALS),
                str(sum(told.late for told in every.values())),
                f"{max(told.slowest for told in every.values()):.2f} s",
                ", ".join(f"{count} x {what}" for what, count in wrong.items()) or "nothing",
            ]
        )
    return rows


def lines(rows: list[list[str]], markdown: bool) -> Iterator[str]:
    if markdown:
        yield from (f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield from ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--page", type=Path, help="a page of docs/ that gets the table, too")
    asked = parser.parse_args()
    for number in SIGNALS[1:]:  # what is ignored here, as in the background of a shell, would be so in every command
        signal.signal(number, signal.default_int_handler)
    found = campaign(asked.times, asked.seed, asked.workers)
    litter = sum(told.litter for told in found.values())
    told_of_litter = (
        f"Temporary files left behind by SIGKILL: {litter}; by another signal: none that is not told above."
    )
    print("\n".join([*lines(table(found), markdown=False), "", told_of_litter]))
    if asked.page:
        put_into(asked.page, "kill", [*lines(table(found), markdown=True), "", told_of_litter])
    return int(any(told.wrong for told in found.values()))


if __name__ == "__main__":
    sys.exit(main())
