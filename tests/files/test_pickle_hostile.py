"""Pickles that would run code, take all memory or never end: refused or read at once, and nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnnspect import FileError, RnnspectError
from rnnspect.files import torch_export
from rnnspect.files.pickle_file import TORCH_MAGIC, open_pickle
from tests.files import pickles
from tests.files.pickles import DAMAGED, UNUSUAL
from tests.marks import sampled
from tests.weights.readers import torch_files

MOST_SECONDS = 60
"""Of the CPU: it takes some; what these files try would take hours."""


@pytest.mark.slow
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_pickle_that_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(FileError) as error:
        open_pickle(tmp_path / "x.pkl")
    assert str(error.value).startswith(str(tmp_path / "x.pkl"))
    assert len(str(error.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("content", sampled(UNUSUAL.values(), 4), ids=UNUSUAL.keys())
def test_a_pickle_that_is_read_at_once(tmp_path: Path, content: bytes):
    (tmp_path / "x.pkl").write_bytes(content)
    begun = time.process_time()
    assert open_pickle(tmp_path / "x.pkl").tensors == {}
    assert time.process_time() - begun < MOST_SECONDS


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark, self.weight_ih = mark, torch.ones(3, 2)

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),), {"weight_ih": self.weight_ih}


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "a class with a state"])
def test_nothing_runs(tmp_path: Path, how: str):
    path, canary = tmp_path / "x.pt", Canary(tmp_path / "ran")
    if how == "pickle":
        path.write_bytes(pickle.dumps([canary.mark, np.ones(3)]) + pickle.dumps(canary))
    else:
        held = {"model": canary, "w": torch.ones(2)}
        torch.save(held, path, _use_new_zipfile_serialization=how != "legacy")
    found = open_pickle(path)
    assert all(found.content.read([name])[name].unique().tolist() == [1] for name in found.tensors)
    assert list(found.tensors) == (["1"] if how == "pickle" else ["model.weight_ih", "w"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [0, 5])
def test_nothing_runs_in_the_file_that_a_pickled_storage_is(tmp_path: Path, protocol: int):
    class Storage:
        def __reduce__(self) -> Any:
            held = io.BytesIO()
            torch.save(Canary(tmp_path / "ran"), held, _use_new_zipfile_serialization=False)
            return torch.storage._load_from_bytes, (held.getvalue(),)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"w": Storage(), "v": np.ones(2)}, protocol))
    assert list(open_pickle(tmp_path / "x.pkl").tensors) == ["v"]
    assert not (tmp_path / "ran").exists()


def test_long_pickles_in_a_pickle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """So that their instructions are as few as those of one."""

    class Storage:
        def __init__(self, steps: int) -> None:
            self.steps = steps

        def __reduce__(self) -> Any:
            return torch.storage._load_from_bytes, (TORCH_MAGIC + 2 * b"N." + self.steps * b"N0" + 2 * b"N.",)

    monkeypatch.setattr("rnnspect.files.pickle_file.MAX_STEPS", 1000)
    (tmp_path / "few.pkl").write_bytes(pickle.dumps([Storage(200), np.ones(2)]))
    assert list(open_pickle(tmp_path / "few.pkl").tensors) == ["1"]
    (tmp_path / "many.pkl").write_bytes(pickle.dumps([Storage(200 + n) for n in range(9)]))
    with pytest.raises(FileError, match="too long"):
        open_pickle(tmp_path / "many.pkl")


def seeds(folder: Path) -> dict[str, bytes]:
    """A small file of each kind."""
    model = torch.nn.Sequential(torch.nn.LSTM(3, 2))
    arrays = {"w": np.ones((3, 2), np.float32), "b": np.asfortranarray(np.ones((2, 2), ">f8"))}
    torch.save(model, folder / "module.pt")
    torch.save(model.state_dict(), folder / "dict.pt")
    torch.save(model, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch_files.script(model, folder / "script.pt")
    torch_files.export(model, folder / "export.pt2", torch.randn(2, 2, 3))
    (folder / "tensors.pkl").write_bytes(pickle.dumps(model.state_dict()))
    (folder / "tar.pt").write_bytes(pickles.tar())
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (folder / f"{protocol}.pkl").write_bytes(pickle.dumps(arrays, protocol))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


INSIDE = (".pkl", ".json", ".py", "byteorder")
"""How members of an archive end that are not numbers alone."""


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, a piece left out, or a piece repeated; of a zip archive also inside its pickle."""
    if content.startswith(b"PK") and chance.random() < 0.7:
        held, out = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
        with zipfile.ZipFile(out, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for info in held.infolist():
                data = held.read(info)
                archive.writestr(info.filename, mutated(data, chance) if info.filename.endswith(INSIDE) else data)
        return out.getvalue()
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 1 + chance.randrange(8)] = b""
            case 2:
                data[at:at] = data[at : at + chance.randrange(40)]
            case 3:
                data[at : at + 4] = chance.choice((b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 4, b"\x80\0\0\0"))
        if not data:
            return b"\0"
    return bytes(data)


def attempt(path: Path) -> bool:
    """Whether the file was read. Any other error than ours is what this looks for."""
    try:
        found = torch_export.tensors(path) if path.suffix == ".pt2" else open_pickle(path).content
        found.read([name for name, one in found.stored.items() if np.prod(one.shape, dtype=float) < 1e6])
    except RnnspectError as error:
        said = str(error)
    else:
        return True
    assert str(path) in said
    assert len(said) < 1000
    return False


def attempts(folder: Path, count: int, seed: int) -> tuple[int, float]:
    """How many of so many mutations of each seed were read, and the longest time that one took."""
    chance, read, slowest = random.Random(seed), 0, 0.0
    (folder / "seeds").mkdir()
    for name, content in seeds(folder / "seeds").items():
        for _ in range(count):
            path = folder / f"mutated-{name}"
            path.write_bytes(mutated(content, chance))
            begun = time.process_time()
            read += attempt(path)
            slowest = max(slowest, time.process_time() - begun)
    return read, slowest


def test_an_odd_escape_in_a_text_is_no_warning(tmp_path: Path):
    """Warnings are errors here, as they are in some people's programs."""
    path = tmp_path / "x.pkl"
    path.write_bytes(b"(dp0\nS'\\d'\nI1\ns.")
    assert not open_pickle(path).tensors


@pytest.mark.slow
def test_mutated_files_are_read_or_refused_within_three_gigabytes():
    program = (
        "import resource, sys, tempfile, pathlib; import torch, numpy\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "from tests.files.test_pickle_hostile import attempts\n"
        "with tempfile.TemporaryDirectory() as folder: print(*attempts(pathlib.Path(folder), 30, 0))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    read, slowest = ran.stdout.split()
    assert int(read) > 0
    assert float(slowest) < MOST_SECONDS
