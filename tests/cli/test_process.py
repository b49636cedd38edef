"""What only a fresh process can show: what is loaded, pipes, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

LOADED = """
import sys
from rnnspect.cli import main
status = main(sys.argv[1:])
print(status, *sorted({"torch", "numpy"} & set(sys.modules)), file=sys.stderr)
"""


def python(code: str, *argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["--version"],
        ["trace", "--help"],
        ["derive", "--help"],
        ["report", "--help"],
        ["shapes"],
        ["shapes", "configs/bidirectional.yaml", "--format", "json"],
        ["init"],
        ["schema"],
        ["trace", "--cell", "lstmm"],
    ],
    ids=" ".join,
)
def test_no_framework_is_loaded(argv):
    assert python(LOADED, *argv).stderr.splitlines()[-1] in {"0", "2"}


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


def test_a_closed_pipe_ends_quietly():
    command = f"{sys.executable} -m rnnspect trace --input randn:20000 --format json | head -c 10"
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stderr == ""


def test_ctrl_c_ends_with_130_and_leaves_no_half_file(tmp_path):
    """Interrupted when half of the file is written, which is said by a line on stderr."""
    code = """
import sys, time
import numpy as np
def half(file, **arrays):
    file.write(b"half"); file.flush(); print("half", file=sys.stderr, flush=True); time.sleep(60)
np.savez = half
from rnnspect.cli import main
sys.exit(main(sys.argv[1:]))
"""
    argv = [sys.executable, "-c", code, "trace", "-o", str(tmp_path / "run.npz")]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "half\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "interrupted"
    assert list(tmp_path.iterdir()) == []


def test_no_progress_bar_without_a_terminal():
    result = python(LOADED, "trace", "--input", "randn:3000")
    assert result.stderr.strip() == "0 numpy torch"


def test_a_long_report_shows_its_progress(tmp_path):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "rnnspect", "report", "--input", "randn:3000", "-o", str(tmp_path / "report.html")]
    process = subprocess.Popen(argv, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 1 << 16):
            said += piece
    except OSError:  # how a terminal on Linux ends
        pass
    assert process.wait(60) == 0
    assert b"checking and painting every step" in said
    assert b"6000" in said


@pytest.mark.parametrize(
    ("redirection", "status"), [("2>&-", 2), (">&-", 0), (">/dev/full", 2), ("-o /dev/full", 2), ("-o /dev/stdout", 0)]
)
def test_streams_that_are_closed_or_full(redirection, status):
    argv = "shapes --cell lstmm" if redirection == "2>&-" else "shapes"
    result = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m rnnspect {argv} {redirection}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status
    assert "fault of rnnspect" not in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("argv", ["trace --help", "trace", "shapes --cell gru"])
def test_a_terminal_that_knows_few_characters(encoding, argv):
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    result = python(LOADED, *argv.split(), env=env)
    assert result.stderr.startswith("0")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="skipped: no named pipes on this system")
def test_two_engines_get_what_came_through_a_pipe_once(tmp_path: Path) -> None:
    """A pipe that is opened a second time waits for ever."""
    os.mkfifo(tmp_path / "x")
    feed = threading.Thread(target=(tmp_path / "x").write_text, args=("1,2,3\n4,5,6\n",), daemon=True)
    feed.start()
    command = f"check --cell gru --input-size 3 --input {tmp_path / 'x'} --engine torch --engine torch-cell --explain 0"
    ended = subprocess.run(
        [sys.executable, "-m", "rnnspect", *command.split()], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("agree") == 2
