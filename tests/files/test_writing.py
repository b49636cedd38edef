"""Files appear whole or not at all, whatever the disk, the limits and the other writers do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnnspect.cli import main
from rnnspect.errors import FileError
from rnnspect.files import writing
from tests.marks import sampled

WRITERS = {
    "layouts": (["layouts", "-f", "json"], "out.json"),
    "trace": (["trace", "--input", "randn:2000"], "out.npz"),
    "report": (["report", "--input", "randn:2000"], "out.html"),
    "convert to onnx": (["convert", "--cell", "gru", "--hidden-size", "128", "--to", "onnx"], "out.onnx"),
    "convert to keras": (["convert", "--cell", "gru", "--hidden-size", "128", "--to", "keras"], "out.weights.h5"),
    "convert to pytorch": (["convert", "--cell", "gru", "--hidden-size", "128", "--to", "pytorch"], "out.safetensors"),
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def limited(argv: list[str], limit: str) -> subprocess.CompletedProcess[str]:
    """`limit` is what the shell's ulimit is asked for."""
    command = ["bash", "-c", f'ulimit {limit}; exec "$@"', "bash", sys.executable, "-m", "rnnspect", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("name", sampled(WRITERS, 6))
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, name):
    """The system stops any file at 4 kB, as a full disk stops it somewhere."""
    argv, file = WRITERS[name]
    out = tmp_path / file
    out.write_bytes(b"old")
    result = limited([*argv, "-o", str(out)], "-f 4")
    assert result.returncode == 2, result.stderr
    assert re.search("error: .*(too large|cannot be written|written)", result.stderr)
    assert "Traceback" not in result.stderr
    assert out.read_bytes() == b"old"
    assert names(tmp_path) == [file]


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["-n 8", f"-v {300 << 10}"])
def test_small_limits_are_told(tmp_path, limit):
    """Too few files, or too little memory even for torch's libraries: a message, and nothing half written."""
    out = tmp_path / "out.npz"
    result = limited(["trace", "-o", str(out), "-q"], limit)
    assert result.returncode in (0, 2), result.stderr
    assert names(tmp_path) == (["out.npz"] if result.returncode == 0 else [])
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_of_sixteen_writers_one_wins(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "rnnspect", "layouts", "-f", "json", "-o", str(out), "-q"]
    writers = [subprocess.Popen(command) for _ in range(16)]
    assert [writer.wait(300) for writer in writers] == [0] * 16
    assert json.loads(out.read_text())["format"] == "rnnspect.layouts"
    assert names(tmp_path) == ["out.json"]


@pytest.mark.parametrize("argv", [["layouts"], ["trace"], ["probe"], ["report"]], ids="".join)
def test_links_in_a_circle_are_told(tmp_path, argv, capsys):
    suffix = {"probe": ".npz", "report": ".html"}.get(argv[0], ".json")
    one, other = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    one.symlink_to(other)
    other.symlink_to(one)
    for path in (one, one / f"x{suffix}"):
        assert main([*argv, "-o", str(path)]) == 2
        assert "too many levels of symbolic links" in capsys.readouterr().err


def test_what_a_link_points_to_is_replaced_and_keeps_its_mode(tmp_path):
    (tmp_path / "whole").write_text("old")
    (tmp_path / "whole").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "whole")
    writing.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "whole").read_text() == "new"
    assert (tmp_path / "whole").stat().st_mode & 0o777 == 0o640


def test_names_as_long_as_a_system_has_them(tmp_path):
    name = "é" * 120 + ".json"  # 245 bytes of 255
    writing.write_text(tmp_path / name, "x")
    assert names(tmp_path) == [name]
    with pytest.raises(FileError, match=r"[Ff]ile name too long"):
        writing.write_text(tmp_path / ("a" * 300), "x")


def test_one_whose_writing_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        writing.write_whole(tmp_path / "x", lambda _: 1 / 0)
    assert names(tmp_path) == []
