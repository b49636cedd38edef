"""Temporary changes to the whole process that several threads may make at once: ignored warnings, and stdout."""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout, suppress
from typing import Any, cast


class _Overlapping:
    """A context manager that several threads may be inside of. The first one to enter enters `make()`, and the last one
    to leave leaves it. If each thread entered one of its own, the second would restore the change of the first."""

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        self._make = make
        self._held = ExitStack()
        self._inside = 0
        self._lock = threading.Lock()

    @contextmanager
    def entered(
        self, begin: Callable[[], object] = lambda: None, end: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """`begin` is called as a thread enters, and `end` as it leaves, for one thread at a time."""
        with self._lock:
            if not self._inside:
                self._held.enter_context(self._make())
            self._inside += 1
            begin()
        try:
            yield
        finally:
            with self._lock:
                end()
                self._inside -= 1
                if not self._inside:
                    self._held.close()


_filters = _Overlapping(warnings.catch_warnings)
_stdout = _Overlapping(lambda: redirect_stdout(sys.stderr))


def ignoring(message: str = "") -> AbstractContextManager[None]:
    """Inside, warnings whose text begins like this are ignored; without a text all are. Each block removes its own
    filter at its end, whichever others are still inside."""
    own = "ignore", re.compile(message, re.IGNORECASE) if message else None, Warning, None, 0

    def begin() -> None:  # not by `filterwarnings`, which keeps one of two that are equal
        _list().insert(0, own)

    def end() -> None:
        with suppress(ValueError):  # somebody may have put back a list of before
            _list().remove(own)

    return _filters.entered(begin, end)


def _list() -> list[Any]:
    return cast("list[Any]", warnings.filters)


def printing_to_stderr() -> AbstractContextManager[None]:
    """Inside, what the user's code prints goes to stderr, and not into the result."""
    return _stdout.entered()
