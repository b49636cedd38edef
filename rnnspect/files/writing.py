"""Output files appear whole or not at all, and temporary files go away however the process ends, kill -9 excepted."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rnnspect.errors import FileError
from rnnspect.files.reading import why

_MOST_OF_A_NAME = 50
"""The name of a temporary file ends in at most so many characters of the file's own name: no system takes more than 255
bytes."""
_OPEN = re.compile(r"//?(?:dev/(?:stdout|stderr)|(?:dev|proc/(?:self|thread-self))/fd/(\d+))")
"""The names of what the process has open already."""
_LINKS = 40
"""So many links are followed, as the system does."""
_unfinished: set[Path] = set()
"""Temporary files that exist, or are about to."""
_opening = threading.Lock()


def check_writable(path: Path) -> None:
    """Raises `FileError` for a place where no file can appear, before long work is begun."""
    try:
        if _already_open(path) is not None:
            return
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # such as links in a circle
        raise FileError(f"cannot write this file: {why(error)}", where=str(path)) from None
    if path.exists() and not path.is_file() and not path.is_dir():
        return
    folder = path.parent
    if path.is_dir():
        raise FileError("this is a folder", allowed="a file name", where=str(path))
    if not folder.is_dir():
        raise FileError(f"the folder {str(folder)!r} does not exist", where=str(path))
    if not os.access(folder, os.W_OK):
        raise FileError("no permission to write to this folder", where=str(path))


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Calls `write` with a temporary file beside `path`, which replaces `path` once it is complete. Its name ends as
    that of `path`, since some libraries choose the format by it.

    A pipe or device is written to directly, and so is what is open already (/dev/stdout): it may be a file that others
    write to as well. Raises `FileError` for what cannot be written.
    """
    check_writable(path)
    try:
        if (number := _already_open(path)) is not None:
            with os.fdopen(os.dup(number), "wb") as file:
                write(file)
            return
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                write(file)
            return
        path = path.resolve()  # what a link points to is replaced, not the link
        check_writable(path)
        with temporary(path.parent, f".{path.name[-_MOST_OF_A_NAME:]}") as part:
            write(part)
            part.flush()
            Path(part.name).chmod(_mode(path))
            Path(part.name).replace(path)
    except OSError as error:
        raise FileError(f"cannot write this file: {why(error)}", where=str(path)) from None


def _already_open(path: Path) -> int | None:
    """The file descriptor that a path is the name of, or a link to such a name; None for any other path. That of stdout
    may have been moved, out of the way of somebody's code."""
    for _ in range(_LINKS):
        if found := _OPEN.fullmatch(str(path)):
            number = int(found[1] or (2 if found[0].endswith("stderr") else 1))
            if number != 1 or sys.stdout is None:
                return number
            sys.stdout.flush()
            return sys.stdout.fileno()
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


@contextmanager
def temporary(folder: Path, suffix: str) -> Iterator[IO[bytes]]:
    """A new file in a folder, open for writing and reading, that is gone in the end unless it was renamed."""
    path = folder / f".{os.urandom(6).hex()}{suffix}"
    _unfinished.add(path)  # before it is made, so that no signal can come between
    try:
        with _opening:
            file = open(path, "x+b", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
        with file:
            yield file
    finally:
        path.unlink(missing_ok=True)
        _unfinished.discard(path)


def remove_unfinished() -> None:
    """Removes every temporary file that is there, in whatever thread it is written; no other can be made from then on.
    Only for a process that ends now."""
    _opening.acquire(timeout=0.2)  # whoever holds it is making one; a network's disk may be slow
    for path in tuple(_unfinished):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """A .npz file of numpy arrays."""
    import numpy as np

    write_whole(path, lambda file: np.savez(file, **arrays))


def _mode(path: Path) -> int:
    """The mode that the file has, or that a new one gets."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
