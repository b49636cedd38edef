"""HDF5 bytes that crash the library or never end: one message, exit status 2, and no process stays behind."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rnnspect import FileError
from rnnspect.cli import main
from rnnspect.files import hdf5_process
from tests.weights.readers import keras_files as made
from tests.weights.readers.keras_files import Layer

if TYPE_CHECKING:
    from pathlib import Path

# What the process runs in place of the library, and what is then said.
ENDS = {
    "crash": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the HDF5 library fails on it"),
    "hang": ("import time; time.sleep(600)", "reading it takes more than 0 s"),
    "half an answer": ("print('{', end='')", "the HDF5 library fails on it"),
    "no JSON": ("print('?')", "the HDF5 library fails on it"),
    "other JSON": ("print('{}')", "the HDF5 library fails on it"),
    "a list": ("print('[]')", "the HDF5 library fails on it"),
}


@pytest.mark.parametrize("packed", [0, 8], ids=["stored", "deflated"])
@pytest.mark.parametrize(("code", "reason"), ENDS.values(), ids=ENDS)
def test_a_process_that_ends_badly(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, code: str, reason: str, packed: int
):
    path = made.keras_3(tmp_path / "m.keras", [Layer("lstm", "one")], packed)
    monkeypatch.setattr(hdf5_process, "CODE", code)
    if "sleep" in code:
        monkeypatch.setattr(hdf5_process, "SECONDS", 0.1)
    for command in ("shapes", "trace", "check"):
        status = main([command, str(path)])
        shown = capsys.readouterr()
        assert (status, shown.out) == (2, "")
        assert shown.err == f"error: {path}: not an HDF5 file, or broken: {reason}\n"


HEADS = {
    "pointers for numbers": b'{"shape": [1], "dtype": "O"}\n' + bytes(8),
    "too few bytes": b'{"shape": [4], "dtype": "<f4"}\n' + bytes(15),
    "a shape without end": b'{"shape": [4611686018427387904], "dtype": "<f4"}\n',
    "a shape below nothing": b'{"shape": [-1], "dtype": "<f4"}\n',
    "no dtype": b'{"shape": [1], "dtype": "?!"}\n',
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_numbers_that_are_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes):
    path = made.keras_2(tmp_path / "m.h5", [Layer("lstm", "one")])
    monkeypatch.setattr(hdf5_process, "CODE", f"import sys; sys.stdin.buffer.read(); sys.stdout.buffer.write({head!r})")
    with pytest.raises(FileError, match="not an HDF5 file, or broken: the HDF5 library fails on it"):
        hdf5_process.read_datasets(path, "m.h5", ["a"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to a limit of its address space")
def test_the_process_cannot_take_all_memory():
    code = (
        "from rnnspect.files import hdf5_process; hdf5_process._limit(2**28); bytearray(2**27)\n"
        "try: bytearray(2**29)\nexcept MemoryError: print('refused')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "refused\n"


def test_the_process_loads_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = made.keras_2(tmp_path / "m.h5", [Layer("lstm", "one")])
    tree = hdf5_process.read_tree(path, "m.h5", (), "optimizer")
    assert len(hdf5_process.read_datasets(path, "m.h5", list(tree.datasets))) == 3
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_damaged_bytes(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, form: str):
    """Bytes of the library's own structures, where it finds sizes and offsets."""
    monkeypatch.setattr(hdf5_process, "SECONDS", 5)
    path = tmp_path / f"m.{form}"
    (made.keras_3 if form == "keras" else made.keras_2)(path, [Layer("lstm", "one")])
    whole, drawn = path.read_bytes(), random.Random(20)
    # Groups, their names, their nodes, and objects' headers, where offsets and sizes are.
    marks = [found.start() for found in re.finditer(b"TREE|HEAP|SNOD|\\x01\\x00.\\x00\\x01\\x00\\x00\\x00", whole)]
    for _ in range(15):
        damaged = bytearray(whole)
        for _ in range(drawn.randint(1, 4)):
            at = min(drawn.choice(marks) + drawn.randrange(4, 64), len(damaged) - 8)
            value = struct.pack("<Q", drawn.choice([0, 1, 127, 255, 2**31, 2**63, drawn.randrange(2**16)]))
            width = drawn.choice([1, 2, 8])
            damaged[at : at + width] = value[:width]
        path.write_bytes(damaged)
        for command in ("shapes", "trace"):
            status = main([command, str(path)])
            shown = capsys.readouterr()
            assert status in (0, 2), damaged
            assert "Traceback" not in shown.err
            assert (status == 2) == shown.err.startswith("error: "), shown.err
