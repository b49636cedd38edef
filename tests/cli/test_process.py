"""What only a fresh process can show: what is loaded, pipes, interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rnnspect.errors import EngineError

DIFFERS = "check --cell rnn --explain 0 -i '[[1, 2, 3, 4, 5]]' --recorded <(echo '[[9, 9]]')"
LOADED = """
import sys
from rnnspect.cli import main
status = main(sys.argv[1:])
print(status, *sorted({"torch", "numpy"} & set(sys.modules)), file=sys.stderr)
"""
ALL_LOADED = """
import sys
from rnnspect.cli import main
for line in sys.argv[1:]:
    print(line, main(line.split(" ")), *sorted({"torch", "numpy"} & set(sys.modules)), sep=": ", file=sys.stderr)
"""


def python(code: str, *argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False, **options)


def test_no_framework_is_loaded():
    """By any of these commands, one after another in one process."""
    statuses = {
        "--help": 0,
        "--version": 0,
        "trace --help": 0,
        "derive --help": 0,
        "report --help": 0,
        "shapes": 0,
        "shapes configs/bidirectional.yaml --format json": 0,
        "init": 0,
        "schema": 0,
        "trace --cell lstmm": 2,
        "layouts": 0,
        "layouts --format json": 0,
        "layouts onnx": 0,
        "layouts onnx --format json": 0,
        "layouts onnx keras": 0,
        "layouts onnx keras --format json": 0,
    }
    said = python(ALL_LOADED, *statuses).stderr.splitlines()
    expected = [f"{line}: {status}" for line, status in statuses.items()]
    assert [line for line in said if line.partition(":")[0] in statuses] == expected


def test_no_framework_is_loaded_for_completion():
    env = {
        **os.environ,
        "_RNNSPECT_COMPLETE": "complete_bash",
        "COMP_WORDS": "rnnspect trace --cell ",
        "COMP_CWORD": "3",
    }
    # Completion leaves by sys.exit, so what was loaded is said on the way out.
    code = """
import atexit, sys
atexit.register(lambda: print(sorted({"torch", "numpy"} & set(sys.modules)), file=sys.stderr))
from rnnspect.cli import main
main()
"""
    result = python(code, env=env)
    assert result.stdout.split() == ["rnn", "gru", "lstm"]
    assert result.stderr.strip() == "[]"


def test_the_library_loads_no_framework_until_it_needs_one():
    code = "import sys, rnnspect; rnnspect.shapes(rnnspect.Spec()); print({'torch', 'numpy'} & set(sys.modules))"
    assert python(code).stdout.strip() == "set()"


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly():
    command = f"{sys.executable} -m rnnspect trace --input randn:2000 --format json | head -c 10"
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stderr == ""


HALF = """
import sys, time
import numpy as np
def half(file, **arrays):
    file.write(b"half"); file.flush(); print("half", file=sys.stderr, flush=True); {then}
np.savez = half
from rnnspect.cli import entry_point
entry_point()
"""
ENDLESS = 300.0
"""Seconds that no wait takes on any machine, however busy it is."""
STATUSES = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(autouse=True)
def no_signal_is_ignored() -> Iterator[None]:
    """What is ignored here, as under nohup or in the background of a shell, would be so in every command."""
    ignored = [number for number, _ in STATUSES if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def ended(process: subprocess.Popen[str], number: int) -> tuple[float, str]:
    """Seconds of the CPU that a process took from a signal to its end, and what it said from then on. The time on a
    clock would tell how busy the machine is."""
    before = sum(os.times()[2:4]) + sum(psutil.Process(process.pid).cpu_times()[:2])
    process.send_signal(number)
    _, err = process.communicate(timeout=ENDLESS)
    return sum(os.times()[2:4]) - before, err


@pytest.mark.slow
@pytest.mark.parametrize(
    "then", ["time.sleep(60)", "np.add.reduce(np.broadcast_to(np.int8(1), 2**37))"], ids=["Python", "C"]
)
@pytest.mark.parametrize(("number", "status"), STATUSES)
def test_a_signal_ends_with_its_status_and_leaves_no_half_file(tmp_path, number, status, then):
    """Interrupted when half of the file is written, which is said by a line on stderr. A loop of C that takes seconds
    hears no signal: the process ends without it."""
    argv = [sys.executable, "-c", HALF.format(then=then), "trace", "-o", str(tmp_path / "run.npz")]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "half\n"
    assert len(list(tmp_path.iterdir())) == 1
    _, err = ended(process, number)
    assert (process.returncode, err.strip()) == (status, "interrupted")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), STATUSES)
def test_a_long_call_of_torch_is_ended(number, status):
    """The whole run would take seconds more."""
    code = """
import sys, torch
whole = torch.nn.LSTM.forward
def said(*given):
    print("runs", file=sys.stderr, flush=True)
    return whole(*given)
torch.nn.LSTM.forward = said
torch._VF.lstm, real = (lambda *given: (print("runs", file=sys.stderr, flush=True), real(*given))[1]), torch._VF.lstm
from rnnspect.cli import entry_point
entry_point()
"""
    argv = [sys.executable, "-c", code, "run", "--cell", "lstm", "--hidden-size", "256", "-i", "randn:200000"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "runs\n"
    seconds, err = ended(process, number)
    assert (process.returncode, err.splitlines()[-1]) == (status, "interrupted")
    assert seconds < 1


@pytest.mark.slow
def test_their_code_is_ended_even_where_it_lets_nothing_else_run():
    """sum() of a range holds Python's lock until it is done: the process that waits for it ends it."""
    engine = Path(__file__).parents[1] / "engines" / "own" / "misbehaving.py"
    argv = ["check", "--cell", "gru", "--hidden-size", "4", "--engine", f"{engine}:holds_the_lock"]
    process = subprocess.Popen([sys.executable, "-m", "rnnspect", *argv], stderr=subprocess.PIPE, text=True)
    (child,) = children(process.pid)
    wait_for(lambda: child.cpu_times().user > 4)
    _, err = ended(process, signal.SIGTERM)
    assert (process.returncode, err.strip()) == (143, "interrupted")
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_their_code_does_not_go_on_when_rnnspect_is_killed():
    engine = Path(__file__).parents[1] / "engines" / "own" / "misbehaving.py"
    argv = ["check", "--cell", "gru", "--hidden-size", "4", "--engine", f"{engine}:sleeps"]
    process = subprocess.Popen([sys.executable, "-m", "rnnspect", *argv], stderr=subprocess.DEVNULL)
    (child,) = children(process.pid)
    process.kill()
    process.wait(ENDLESS)
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def children(number: int) -> list[psutil.Process]:
    """The process in which their code runs, as soon as there is one."""
    wait_for(lambda: bool(psutil.Process(number).children()))
    return psutil.Process(number).children()


def wait_for(true: Callable[[], bool]) -> None:
    begun = time.perf_counter()
    while not true():
        assert time.perf_counter() - begun < ENDLESS
        time.sleep(0.05)


@pytest.mark.slow
def test_a_signal_that_is_ignored_stays_so(tmp_path):
    """As under nohup, at any moment of a command."""
    command = f"trap '' HUP; echo >&2; exec {sys.executable} -m rnnspect trace -o {tmp_path / 'run.npz'} -q"
    process = subprocess.Popen(["bash", "-c", command], stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "\n"
    while process.poll() is None:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.02)
    assert (process.returncode, process.communicate()[1]) == (0, "")
    assert (tmp_path / "run.npz").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a file that was just opened
def test_a_signal_before_a_temporary_file_is_there_leaves_none(tmp_path, monkeypatch):
    """At any line of the function that makes it."""
    from rnnspect.files import writing

    lines = range(writing.temporary.__wrapped__.__code__.co_firstlineno, 10_000)
    for stop in lines:
        reached = False

        def trace(frame, event, _, stop=stop):
            nonlocal reached
            if frame.f_code is writing.temporary.__wrapped__.__code__ and event == "line" and frame.f_lineno == stop:
                reached = True
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        try:
            sys.settrace(trace)
            writing.write_text(tmp_path / "whole", "whole")
        except KeyboardInterrupt:
            writing.remove_unfinished()
            writing._opening.release()
        finally:
            sys.settrace(None)
        assert [path.name for path in tmp_path.iterdir()] in ([], ["whole"])
        (tmp_path / "whole").unlink(missing_ok=True)
        if stop > lines.start + 40:
            break


@pytest.mark.slow
def test_no_progress_bar_without_a_terminal():
    result = python(LOADED, "trace", "--input", "randn:3000")
    assert result.stderr.strip() == "0 numpy torch"


def shown(argv: list[str], until: bytes | None = None) -> tuple[int, bytes]:
    """The exit status, and what a terminal gets as stderr; Ctrl-C is typed as soon as `until` is there."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "rnnspect", *argv], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 1 << 16):
            said += piece
            if until is not None and until in said:
                process.send_signal(signal.SIGINT)
                until = None
    except OSError:  # how a terminal on Linux ends
        pass
    return process.wait(ENDLESS), said


@pytest.mark.slow
def test_a_long_report_shows_its_progress(tmp_path):
    status, said = shown(["report", "--input", "randn:3000", "-o", str(tmp_path / "report.html")])
    assert status == 0
    assert b"checking and painting every step" in said
    assert b"6000" in said


@pytest.mark.slow
@pytest.mark.parametrize("steps", [100_000, 1_000_000], ids=["between steps", "in a call of torch"])
def test_ctrl_c_shows_the_cursor_again(steps):
    """A progress bar hides it."""
    status, said = shown(["check", "--cell", "lstm", "--input", f"randn:{steps}"], until=b"checking every step")
    assert status == 130
    assert said.count(b"\x1b[?25l") >= 1
    assert said.rindex(b"\x1b[?25h") > said.rindex(b"\x1b[?25l")
    assert said.endswith(b"interrupted\r\n")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["--cell lstm", "model.py:build"])
@pytest.mark.parametrize("name", ["/dev/stdout", "//dev/stdout", "/proc/thread-self/fd/1", "link.json"])
def test_a_result_for_stdout_by_name_goes_where_stdout_goes_and_replaces_no_file(
    name: str, source: str, tmp_path: Path
) -> None:
    """stdout may be a log that others write to. The code of a model has the file descriptor 1 for itself."""
    (tmp_path / "link.json").symlink_to("/dev/stdout")
    (tmp_path / "model.py").write_text("import torch\ndef build():\n    return torch.nn.LSTM(3, 4)\n")
    command = f"{{ echo first; {sys.executable} -m rnnspect check {source} -q -f json -o {name}; echo last; }}"
    subprocess.run(["bash", "-c", f"{command} > log 2> errors"], cwd=tmp_path, check=True)
    first, *document, last = (tmp_path / "log").read_text().splitlines()
    assert (first, last) == ("first", "last")
    assert json.loads("\n".join(document))["verdict"] == "agree"
    assert not (tmp_path / "errors").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "redirection", "status"),
    [
        ("shapes --cell lstmm", "2>&-", 2),
        ("shapes --cell lstmm", "2>/dev/full", 2),
        ("bogus", "2>/dev/full", 2),
        ("shapes", ">&-", 0),
        ("shapes", ">/dev/full", 2),
        ("shapes", "-o /dev/full", 2),
        ("shapes", "-o /dev/stdout", 0),
        ("--help", "| head -c 1; exit ${PIPESTATUS[0]}", 0),
        ("--help", ">/dev/full", 2),
        (DIFFERS, "| head -c 1; exit ${PIPESTATUS[0]}", 1),
        (DIFFERS, ">&-", 1),
    ],
)
def test_the_status_is_the_same_whatever_can_be_read(argv, redirection, status):
    """Streams that are closed or full: a verdict, or a mistake, is what it was."""
    result = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m rnnspect {argv} {redirection}"],
        capture_output=True,
        text=True,
        errors="replace",  # head cuts a character in two
        check=False,
    )
    assert result.returncode == status
    assert "fault of rnnspect" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("argv", ["trace --help", "trace", "shapes --cell gru"])
def test_a_terminal_that_knows_few_characters(encoding, argv):
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    result = python(LOADED, *argv.split(), env=env)
    assert result.stderr.startswith("0")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="skipped: no named pipes on this system")
def test_two_engines_get_what_came_through_a_pipe_once(tmp_path: Path) -> None:
    """A pipe that is opened a second time waits for ever."""
    os.mkfifo(tmp_path / "x")
    feed = threading.Thread(target=(tmp_path / "x").write_text, args=("1,2,3\n4,5,6\n",), daemon=True)
    feed.start()
    command = f"check --cell gru --input-size 3 --input {tmp_path / 'x'} --engine torch --engine torch-cell --explain 0"
    argv = [sys.executable, "-m", "rnnspect", *command.split()]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=ENDLESS, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("agree") == 2


@pytest.mark.slow
def test_nothing_is_left_open_for_python_to_warn_of(tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text("import torch\n\n\ndef build():\n    return torch.nn.RNN(3, 2)\n")
    argv = [sys.executable, "-W", "error", "-X", "dev", "-m", "rnnspect", "check", f"{model}:build", "--explain", "0"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=ENDLESS, check=False)
    assert ended.returncode == 0
    assert "Warning" not in ended.stderr


def test_an_error_that_a_signal_caused_is_the_signal(monkeypatch, capsys):
    """A library whose loading is interrupted may turn that into an ImportError of its own, which an engine reports."""
    from rnnspect import cli, engines
    from rnnspect.cli import signals

    def interrupted(*_given):
        signals.received.append(signal.SIGTERM)
        raise EngineError("onnxruntime cannot be loaded")

    monkeypatch.setattr(engines, "find", interrupted)
    try:
        assert cli.main(["check", "configs/gru.yaml", "--engine", "onnxruntime"]) == 143
    finally:
        signals.received.clear()
    assert capsys.readouterr().err == "interrupted\n"
