"""How much a check of a long run adds to what its process held before: anonymous memory, the run in .npy files."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import nn

from benchmarks.layer import described
from benchmarks.measure import Row
from rnnspect.checking.check import check_observation
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation
from rnnspect.network.recording import EngineInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS, INPUT, HIDDEN, LIMIT = 10**7, 8, 64, 300.0
PIECE = 10**5


def rows() -> Iterator[Row]:
    """Writing and checking are processes of their own: memory that one has freed hides what the next one takes."""
    for kind in ("rnn", "gru", "lstm"):
        megabytes = measured(kind, STEPS)
        what = f"check of {kind.upper()}, T = {STEPS:.0e}, B = 1, {INPUT} → {HIDDEN}, from .npy"
        yield Row(what, "anonymous MB, in all", LIMIT, megabytes)


def measured(kind: str, steps: int) -> float:
    """The most that a check held at once, in MB above what the process held before it."""
    with tempfile.TemporaryDirectory() as folder:
        _process("write", folder, kind, str(steps))
        return float(_process("check", folder, kind, str(steps)))


def _process(*argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *argv], capture_output=True, text=True, check=True
    )
    return done.stdout


def _parameters(kind: str) -> nn.RNNBase:
    torch.manual_seed(0)
    module: nn.RNNBase = getattr(nn, kind.upper())(INPUT, HIDDEN)
    return module


@torch.inference_mode()
def _write(folder: Path, kind: str, steps: int) -> None:
    """The engine's run, piece by piece: x.npy and y.npy."""
    module, state = _parameters(kind), None
    x = open_memmap(folder / "x.npy", "w+", np.float32, (steps, 1, INPUT))
    y = open_memmap(folder / "y.npy", "w+", np.float32, (steps, 1, HIDDEN))
    for start in range(0, steps, PIECE):
        piece = torch.randn(min(PIECE, steps - start), 1, INPUT)
        out, state = module(piece, state)
        x[start : start + len(piece)], y[start : start + len(piece)] = piece.numpy(), out.numpy()


def _check(folder: Path, kind: str) -> float:
    x, y = (torch.from_numpy(np.load(folder / name, mmap_mode="c")) for name in ("x.npy", "y.npy"))
    spec, p, sequence = described(_parameters(kind), x)
    seen = Observation(EngineInfo("recorded", "", "cpu", "float32"), {(0, "forward"): {"h": y}})
    before = _anonymous()

    watched = _Watched(before)
    verdict = check_observation(Case(spec, p, sequence, seen, ARITHMETICS["float32"]), watched)
    assert verdict.agrees
    return watched.most - before


@dataclass
class _Watched:
    """The progress of a check, which looks at how much memory it takes."""

    most: float

    def __call__(self, _found: object, _steps: int) -> None:
        self.most = max(self.most, _anonymous())

    def searching(self, _differs: object) -> AbstractContextManager[None]:
        return nullcontext()


def _anonymous() -> float:
    """In MB. Pages of a mapped file are the system's to drop, and do not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


if __name__ == "__main__":
    torch.set_num_threads(1)  # one unit after another: a second thread would only wait
    task, name, kind, steps = sys.argv[1:]
    if task == "write":
        _write(Path(name), kind, int(steps))
    else:
        print(_check(Path(name), kind))
