"""A size in words, and a refusal of more than is free."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from rnnspect import ResourceError
from rnnspect.files import free_memory


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (3.7 * 2**40, "3.7 TiB"),
        (2**80, "1024.0 ZiB"),
    ],
)
def test_a_size_in_words(size: float, words: str):
    assert free_memory.in_words(size) == words


def test_a_size_that_no_float_holds_has_words_too():
    assert free_memory.in_words(10**400).endswith("ZiB")


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    free_memory.require(1000, "this")
    with pytest.raises(ResourceError, match="this would need 1001 bytes of memory, and 1000 bytes is free"):
        free_memory.require(1001, "this")


# What torch itself takes up differs with its version and with the machine's cores: the limit is put on top of it.
LIMITED = """
import resource
import psutil
import torch
from rnnspect.cli import main
torch.ones(300, 300) @ torch.ones(300, 300)
most = psutil.Process().memory_info().vms + 2**30
resource.setrlimit(resource.RLIMIT_AS, (most, most))
raise SystemExit(main(["run", "--cell", "gru", "--hidden-size", "15516", "--input", "impulse:10"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no ulimit")
def test_a_limit_of_the_process_is_seen_before_memory_is_taken() -> None:
    ran = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    assert "would need" in ran.stderr
    assert "is free" in ran.stderr


def test_a_container_may_have_less_than_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path)
    assert free_memory.free() > 2**20
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory.free() <= psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("5096\n")
    assert free_memory.free() == 4096
    (tmp_path / "memory.stat").write_text("anon 5\nfile 300\ninactive_file 200\nactive_file 100\n")
    assert free_memory.free() == 4096 + 300
    (tmp_path / "memory.stat").write_text("anon 5\nfile\n")
    assert free_memory.free() == 4096
    free_memory.require(4096, "this")
    with pytest.raises(ResourceError, match=r"this would need 4\.0 KiB of memory, and 4\.0 KiB is free"):
        free_memory.require(4097, "this")
