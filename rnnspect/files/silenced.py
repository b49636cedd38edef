"""Changes to the whole process for a while, made by several threads at a time: warnings left out, and stdout."""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout, suppress
from typing import Any, cast


class _Overlapping:
    """A context manager that many threads may be inside of: the first one in enters what `make` gives, and the last one
    out leaves it. Without that, where two overlap the second finds, keeps and puts back the change of the first."""

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        self._make = make
        self._held = ExitStack()
        self._inside = 0
        self._lock = threading.Lock()

    @contextmanager
    def entered(
        self, begin: Callable[[], object] = lambda: None, end: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """`begin` is called each time that one enters, and `end` each time that one leaves; one thread at a time."""
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
    """Inside, warnings whose text begins like this are left out; without a text all are. Each takes away its own filter
    as it leaves, whichever others are still inside."""
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
    """Inside, what code of the user's prints is no part of the result."""
    return _stdout.entered()
