"""One command on one file, judged: what `main` returned and wrote, how long it took, and how much memory."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import re
import resource
import signal
import sys
import time
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutations.numbers import CANARY
from tests.fuzz.seeds import ARRAY

LINUX = Path("/proc/self/clear_refs").exists()
"""Whether memory can be measured here."""
SECONDS = 20
"""A command on a file of some kB that computes for longer hangs, and so does one that waits for three times that."""
GROWTH = 2**30
"""Bytes by which the process may grow during a command."""
LONGEST, LONGEST_LINE = 4_000, 1_000
"""Characters of all messages together, and of one line of them, without the paths of files."""
ANSWER, MESSAGE = "an answer", "a message"
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn")
"""What Python tells of when code starts another program or speaks to another machine."""
JUDGES = ("check", "convert", "report")
"""Commands whose exit status may also be 1 (differs) or 3 (cannot tell)."""
_NET = ("--cell", "lstm", "--input-size", "3", "--hidden-size", "3")
_MODELS: dict[tuple[str, ...], float] = {
    ("shapes", "--format", "json"): 400,
    ("shapes",): 120,
    ("about", "--format", "json"): 150,
    ("about",): 50,
    ("trace", "--format", "json"): 100,
    ("trace", "--steps", "0", "--units", "0"): 40,
    ("run",): 30,
    ("derive", "--step", "0", "--unit", "0"): 15,
    ("check", "--explain", "0"): 15,
    ("report", "-q", "-o", "report.html"): 10,
    ("convert", "--to", "onnx", "-o", "made.onnx"): 10,
    ("convert", "--to", "pytorch", "-o", "made.safetensors"): 10,
    ("probe", "-o", "probe.npz"): 0.1,
}
"""What is asked about a model, and how often in a thousand: what runs the network costs more."""
_ARRAYS: dict[tuple[str, ...], float] = {
    ("trace", *_NET, "--format", "json", "--input"): 50,
    ("trace", *_NET, "--steps", "0", "--units", "0", "--input"): 10,
    ("run", *_NET, "--input"): 5,
    ("run", *_NET, "--input", "ones:5", "--h0"): 15,
    ("check", *_NET, "--input", "ones:5", "--explain", "0", "--recorded"): 10,
}


LATE = "late"


class LateError(BaseException):
    """Raised after SECONDS; no code under test catches it."""


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    what: str
    """An answer, a message, or what is wrong with it."""
    err: str
    seconds: float

    @property
    def failed(self) -> bool:
        return self.what not in (ANSWER, MESSAGE)

    @property
    def kind(self) -> str:
        """The same for failures with the same reason."""
        return re.sub(r"\d+", "", self.what) + re.sub(r"\S*/\S*|[\d']\S*", "", self.err)[:100]


def command_for(role: str, rng: Random) -> tuple[str, ...]:
    """What is asked about a file, which comes last."""
    table = _ARRAYS if role == ARRAY else _MODELS
    return rng.choices(list(table), list(table.values()))[0]


def settle(folder: Path) -> None:
    """Makes this process one that only tries inputs, in a folder of its own, with a file for stderr. typer's commands
    are built once: to make every option anew each time takes longer than the rest."""
    import typer.main

    from rnnspect.cli.options import Command

    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ["COLUMNS"] = "80"
    os.dup2(os.open("stderr", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND), 2)
    _alone.append(True)
    typer.main.get_command = functools.cache(typer.main.get_command)
    Command.build = functools.cache(Command.build)  # type: ignore[method-assign]


def tried(arguments: list[str]) -> Outcome:
    """Runs `main` in this process."""
    from rnnspect.cli import main

    out, err = io.StringIO(), io.StringIO()
    if _peak() - (before := _resident()) > GROWTH // 8:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    begun = time.process_time()
    status: int | str
    with _watched() as seen, _late():
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(arguments)
        except BaseException as error:  # noqa: BLE001 - whatever comes out of main is what is looked for
            status = LATE if isinstance(error, LateError) else f"{type(error).__name__} came out of main"
    seconds = time.process_time() - begun
    wrong = status if isinstance(status, str) else _wrong(status, arguments[0], out.getvalue(), err.getvalue())
    if seconds > SECONDS or status == LATE:
        wrong = f"it took more than {SECONDS} s"
    elif (took := _peak() - before) > GROWTH:
        wrong = f"it took {took >> 20} MiB"
    elif seen:
        wrong = f"beside the message: {seen[0]}"
    if Path(CANARY).exists():
        wrong = "code of the file ran"
        Path(CANARY).unlink()
    return Outcome(wrong or (MESSAGE if status == 2 else ANSWER), err.getvalue(), seconds)


def _wrong(status: int, command: str, out: str, err: str) -> str:
    """What is wrong with how a command ended and what it wrote; empty if nothing is."""
    if status not in ((0, 1, 2, 3) if command in JUDGES else (0, 2)):
        return f"exit status {status}"
    told = err.startswith("error: ") or "\nerror: " in err or (command == "check" and "error" in out)
    if status == 2 and not told:
        return "exit status 2 without a message"
    lines = [len(re.sub(r"/\S*", "", line)) for line in err.split("\n")]
    if sum(lines) > LONGEST or max(lines) > LONGEST_LINE:
        return f"{sum(lines)} characters of messages" if sum(lines) > LONGEST else f"a line of {max(lines)} characters"
    if _controls(err):
        return "control characters in a message"
    return "control characters in an answer" if _controls(out) else ""


def _controls(text: str) -> bool:
    """Whether there is something in it that a terminal obeys, or that moves other characters."""
    plain = text.replace("\n", "")
    return not plain.isprintable() and any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in plain)


_seen: list[str] = []
"""What was heard during the command that runs."""
_alone: list[bool] = []
"""Whether stderr is a file that nobody else writes to."""


class _Logged(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _seen.append(f"{record.name} logged {record.getMessage()[:200]!r}")


@functools.cache
def _listen() -> None:
    """To programs that start, and to what libraries log."""

    def audit(event: str, given: Any) -> None:
        if event in RUNS:
            _seen.append(f"{event}{given!r}"[:200])

    sys.addaudithook(audit)
    logging.getLogger().addHandler(_Logged(logging.WARNING))


@contextlib.contextmanager
def _watched() -> Iterator[list[str]]:
    """Gives a list of what came beside what `main` wrote: warnings, lines of a log, programs that were started, and
    after `settle` what was written to stderr past Python."""
    _listen()
    _seen.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield _seen
    _seen.extend(f"{one.category.__name__}: {str(one.message)[:200]}" for one in warned)
    if _alone and (size := os.fstat(2).st_size):
        _seen.append(f"{size} bytes on stderr past Python")
        os.ftruncate(2, 0)


@contextlib.contextmanager
def _late() -> Iterator[None]:
    """Raises in Python's code after SECONDS of computing, or three times that in all; code of C is killed some time
    after that: on a machine that stands still for seconds both may come at once."""

    def late(*_: Any) -> None:
        raise LateError

    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 3 * SECONDS + 10, hard))
    old = {which: signal.signal(which, late) for which in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(3 * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for which, handler in old.items():
            signal.signal(which, handler)
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _peak() -> int:
    """Bytes of memory that the process took at most, since that was last forgotten."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident() -> int:
    """Bytes of memory that the process takes now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
