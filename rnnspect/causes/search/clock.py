"""The time that may be spent on looking for causes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10.0
"""For each run that differs, unless told otherwise."""
_allowed = ContextVar("seconds for causes", default=SECONDS)


@contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Within this, each run that differs is looked into for so long; with 0 not at all, with None as long as before."""
    token = _allowed.set(_allowed.get() if seconds is None else seconds)
    try:
        yield
    finally:
        _allowed.reset(token)


class Clock:
    """Runs from when it is made, for as long as `at_most` said."""

    def __init__(self) -> None:
        self.seconds = _allowed.get()
        self._until = time.monotonic() + self.seconds
        self.is_over = False

    def has_time(self) -> bool:
        self.is_over = self.is_over or time.monotonic() >= self._until
        return not self.is_over
