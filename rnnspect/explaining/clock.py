"""The time that may be spent on looking for causes."""

from __future__ import annotations

import time

SECONDS = 10.0
"""Unless told otherwise."""


class Clock:
    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self.is_over = False

    def has_time(self) -> bool:
        self.is_over = self.is_over or time.monotonic() > self._until
        return not self.is_over
