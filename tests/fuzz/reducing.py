"""A failed input made small: bytes are left out as long as the same thing goes wrong (delta debugging, ddmin of Zeller
and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002)."""

from __future__ import annotations

import time
from collections.abc import Callable


def reduced(data: bytes, fails: Callable[[bytes], bool], seconds: float = 30) -> bytes:
    """The smallest bytes found in that time for which `fails` holds, as it does for `data`."""
    until = time.monotonic() + seconds
    pieces = 2
    while len(data) > 1 and time.monotonic() < until:
        size = -(-len(data) // pieces)
        for at in range(0, len(data), size):
            if time.monotonic() > until:
                return data
            less = data[:at] + data[at + size :]
            if less and fails(less):
                data, pieces = less, max(pieces - 1, 2)
                break
        else:
            if size == 1:
                return data
            pieces = min(2 * pieces, len(data))
    return data
