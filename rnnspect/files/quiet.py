"""Warnings left out for a while, by several threads at a time."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_LOCK = threading.Lock()
_held = ExitStack()
_inside = 0


@contextmanager
def ignoring(message: str = "") -> Iterator[None]:
    """Inside, warnings whose text begins like this are left out; without a text all are.

    `warnings.catch_warnings` alone puts back what it found: where two threads overlap, the second finds the filters of
    the first, and they stay for ever. Here the first thread in keeps the filters, and the last one out puts them back.
    """
    global _inside
    with _LOCK:
        if not _inside:
            _held.enter_context(warnings.catch_warnings())
        _inside += 1
        warnings.filterwarnings("ignore", message=message)
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                _held.close()
