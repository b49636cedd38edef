"""How somebody is told that long work goes on."""

from __future__ import annotations

from collections.abc import Callable

StepsDone = Callable[[int], None]
"""Is told how many more steps are done."""


def untold(_steps: int) -> None:
    """Progress that nobody watches."""
