"""One process that reads many files, as a server or a notebook does: it keeps nothing of a file behind it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.weights.readers.every_format import every_format

MOST_A_FILE = 8 * 1024
"""Bytes. A command leaves garbage of some 26 KB in circles behind it, more where a file is damaged: the options that
typer makes, an exception's frames. That it is collected shows below this; above 0 is what malloc cannot give back."""
BEGIN = 120
"""Files until everything is loaded that is loaded once, and the collector has run in all its generations."""

READS = f"""
import contextlib, gc, io, os, sys
from pathlib import Path
from rnnspect.cli import main

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def state():
    gc.collect()
    return resident(), len(os.listdir("/proc/self/fd")), gc.get_freeze_count()

folder, count = Path(sys.argv[1]), int(sys.argv[2])
files = [str(path) for path in sorted(folder.iterdir()) if path.is_file()]
commands = [["trace", "--steps", "0", "--units", "0"], ["about"], ["shapes"]]
for at in range({BEGIN} + count):
    if at == {BEGIN}:
        before = state()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main([*commands[at % 3], files[at // 3 % len(files)]])
after = state()
print(*(b - a for a, b in zip(before, after)))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="skipped: the memory of a process is Linux's to tell")
@pytest.mark.parametrize(
    "count", [pytest.param(300, marks=pytest.mark.slow), pytest.param(6000, marks=pytest.mark.campaign)]
)
def test_memory_and_open_files_do_not_grow(tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    made = every_format(tmp_path)
    for kind, path in made.items():
        data = path.read_bytes()
        (tmp_path / f"cut.{kind}{path.suffix}").write_bytes(data[: len(data) * 2 // 3])
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", READS, str(tmp_path), str(count)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, files, frozen = map(int, ended.stdout.split())
    assert ended.stderr == ""
    assert (files, frozen) == (0, 0)
    assert memory < MOST_A_FILE * count, f"{memory / count:,.0f} bytes a file"
