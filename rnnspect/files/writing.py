"""Output files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files.reading import why

if TYPE_CHECKING:
    from collections.abc import Callable


def check_writable(path: Path) -> None:
    """Raises `FileError` for a place where no file can appear, before long work is begun."""
    if path.exists() and not path.is_file() and not path.is_dir():
        return
    folder = path.parent
    if path.is_dir():
        raise FileError("a folder", allowed="the name of a file to write", where=str(path))
    if not folder.is_dir():
        raise FileError(f"there is no folder {str(folder)!r}", allowed="a folder that exists", where=str(path))
    if not os.access(folder, os.W_OK):
        raise FileError("the folder cannot be written to", where=str(path))


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Calls `write` with a temporary file beside `path`, which replaces `path` once it is complete. Its name ends as
    that of `path`, since some libraries choose the format by it.

    A pipe or device (/dev/stdout) is written to directly. Raises `FileError` for what cannot be written.
    """
    import tempfile  # loads random and hashlib, which most commands do without

    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as file:
                write(file)
            return
        path = path.resolve()  # what a link points to is replaced, not the link
        check_writable(path)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=f".{path.name}", delete=False) as part:
            try:
                write(part)
                part.flush()
                Path(part.name).chmod(_mode(path))
                Path(part.name).replace(path)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise FileError(f"cannot be written: {why(error)}", where=str(path)) from None


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
