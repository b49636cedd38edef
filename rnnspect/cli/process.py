"""How the process ends: a signal is answered within a second, and code of the user's cannot end it unseen."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rnnspect.cli.output import say
from rnnspect.cli.signals import SIGNALS, StoppedBySignal, interrupt, on_signals, received, status_when_stopped
from rnnspect.engines.own.loading import names_code, told_as_theirs
from rnnspect.files.writing import remove_unfinished

BAD_INPUT = 2
GRACE = 0.4
"""Seconds that a command has to stop by itself after a signal."""
_STATUS_TO = "RNNSPECT_STATUS_TO"
"""Where there is no fork: the environment variable that names the file for the exit status."""
_CRASH = b"Fatal Python error"
_told: set[str] = set()


def run_safely(main: Callable[[], int], argv: Sequence[str]) -> int:
    """The exit status of `main`. Where an argument names code of the user's, it runs in a process of its own: should
    that end without a status, by os._exit or a crash, this is told and the status is 2."""
    _open_standard_streams()
    code = [one.rpartition("=")[2] for one in argv if names_code(one)]
    if told := os.environ.pop(_STATUS_TO, None):
        return _run_and_send_status(main, lambda status: Path(told).write_bytes(bytes([status])))
    if not code:
        return _run_and_send_status(main, lambda _status: None)
    if hasattr(os, "fork"):
        return _in_a_fork(main, code)
    return _in_a_second_process(code)


def _open_standard_streams() -> None:
    """A file that is opened later must not get the number of a stream that is closed: messages would go into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _run_and_send_status(main: Callable[[], int], send: Callable[[int], object], parent: int | None = None) -> int:
    """Runs `main` and sends its exit status. After SIGINT, SIGTERM or SIGHUP, or as soon as nobody holds the other end
    of `parent`, `main` is interrupted; if it goes on, in a long call of a library, the process ends without it."""
    if os.name == "posix":
        heard, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        threading.Thread(target=_watch, args=(heard, parent, send), daemon=True).start()
    try:
        on_signals(interrupt)
        status = main()
        on_signals(signal.SIG_DFL)  # there is nothing left to tidy up
    except StoppedBySignal:
        status = status_when_stopped()
    if received:
        _end(status, send)
    send(status)
    return status


def _watch(heard: int, parent: int | None, send: Callable[[int], object]) -> None:
    number = 0
    while number not in SIGNALS:
        ready, _, _ = select.select([heard] if parent is None else [heard, parent], [], [])
        if heard in ready:
            number = os.read(heard, 1)[0]
        else:
            os.kill(os.getpid(), signal.SIGTERM)
            parent = None
    time.sleep(GRACE)
    _say_at_once("\x1b[?25h\r\x1b[2K" if sys.stderr.isatty() else "")  # a progress bar hides it
    _say_at_once("interrupted\n")
    _end(128 + number, send)


def _say_at_once(text: str) -> None:
    """To stderr, unless nobody reads there; without Python's buffer, which the main thread may be waiting for."""
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, text.encode())


def _end(status: int, send: Callable[[int], object]) -> NoReturn:
    """Ends the process now: to free gigabytes in good order takes seconds."""
    remove_unfinished()
    send(status)
    os._exit(status)


def _in_a_fork(main: Callable[[], int], code: Sequence[str]) -> int:
    """Before a framework is loaded, which would not survive it, and before there is a second thread."""
    told, tell = os.pipe()
    alive, life = os.pipe()
    child = os.fork()
    if not child:
        os.close(life)
        _keep_stdout()
        threading.excepthook = _tell_of_thread
        faulthandler.enable(tell, all_threads=False)  # after a crash it writes there where that was
        return _run_and_send_status(main, lambda status: os.write(tell, bytes([status])), alive)
    passed_on = _passing_signals_on_to(child)
    _, ended = os.waitpid(child, 0)
    on_signals(signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.set_blocking(told, False)
    said = b""
    with contextlib.suppress(BlockingIOError):  # somebody whom their code started holds it open
        said = os.read(told, 1 << 16)
    if said and not said.startswith(_CRASH):
        return said[0]
    if passed_on:
        say("interrupted")
        return 128 + passed_on[0]
    return _say_how_it_ended(code, os.waitstatus_to_exitcode(ended), said.decode(errors="replace"))


def _tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """A failure in a thread that their code started, on one line; a step may start one each time it is called."""
    said = f"warning: {told_as_theirs('a thread', failed.exc_value or failed.exc_type())}"
    if said not in _told:
        _told.add(said)
        say(said)


def _keep_stdout() -> None:
    """What their code writes to the file with the number 1 is no result: it goes to stderr. Nor can they close ours."""
    if sys.stdout is not None:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        sys.stdout = open(kept, "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115 - open until the end


def _passing_signals_on_to(child: int) -> list[int]:
    """The signals that came, to be looked at later. A child that does not end is killed."""
    passed_on: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        passed_on.append(number)
        os.kill(child, number)
        signal.setitimer(signal.ITIMER_REAL, 2 * GRACE - 0.1)

    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    on_signals(pass_on)
    return passed_on


def _in_a_second_process(code: Sequence[str]) -> int:
    """On Windows, which has no fork: the same command runs once more, and leaves its exit status in a file."""
    import subprocess
    import tempfile

    handle, name = tempfile.mkstemp()
    os.close(handle)
    try:
        told = {**os.environ, _STATUS_TO: name}
        ran = subprocess.run(sys.orig_argv, executable=sys.executable, env=told, check=False)  # noqa: S603
        said = Path(name).read_bytes()
    except KeyboardInterrupt:
        return status_when_stopped()
    finally:
        Path(name).unlink(missing_ok=True)
    return said[0] if said else _say_how_it_ended(code, ran.returncode)


def _say_how_it_ended(code: Sequence[str], ended: int, crash: str = "") -> int:
    """Says on two lines whose code it was, how it ended and where, as far as that is known, and what to do."""
    files = [Path(one.rpartition(":")[0]).resolve() for one in code]
    lines = [line for line in re.findall(r'File "(.*)", line (\d+)', crash) if Path(line[0]).resolve() in files]
    where = ", at {}:{}".format(*lines[0]) if lines else ""
    how = f"with exit status {ended}, as by os._exit" if ended >= 0 else f"by signal {-ended}"
    how += f" ({signal.strsignal(-ended)}{where})" if ended < 0 else ""
    say(f"error: {', '.join(code)}: the process that ran it ended {how}, before there was a result")
    if ended == -getattr(signal, "SIGKILL", 0):
        say("help: the system does this when memory runs out")
    else:
        say("help: code that is checked must return or raise an exception, not end the process")
    return BAD_INPUT
