"""Whole processes, beside one that only imports torch."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Row, alternated

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 9
COMMANDS = {
    "rnnspect --help": 0.20,
    "rnnspect shapes": 0.20,
    "rnnspect shapes --cell lstm --num-layers 3 --bidirectional": 0.20,
    "rnnspect trace": 1.25,
}


def rows() -> Iterator[Row]:
    works = [partial(_process, "-c", "import torch")]
    works += [partial(_process, "-m", *command.split()) for command in COMMANDS]
    base, *times = alternated(ROUNDS, *works)
    for (command, limit), taken in zip(COMMANDS.items(), times, strict=True):
        yield Row(f"`{command}`", "`python -c 'import torch'`", limit, taken / base)


def _process(*argv: str) -> None:
    subprocess.run([sys.executable, *argv], stdout=subprocess.DEVNULL, check=True)
