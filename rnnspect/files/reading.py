"""Shared by the readers of all formats: a file's size, bytes and text, one tensor's shape, and errors in words."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rnnspect.errors import FileError, ResourceError, nearest
from rnnspect.files import free_memory

if TYPE_CHECKING:
    from torch import Tensor


DAMAGED: tuple[type[Exception], ...] = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError, struct.error, zlib.error),
)
"""What torch, safetensors and pyfive raise on damaged bytes. They check little, so it can be almost any of Python's
errors. To catch them all hides no mistake in what was read: reading ends at the first."""


UNNAMED = "array"
"""What the only array of a file without names is called."""
MOST_SAID = 160
"""At most so many characters of another package's message are repeated: zipfile's messages may hold the file's
bytes."""
_MOST_NAMES = 1_000
"""At most so many names of a folder are compared with the name of a missing file."""


@dataclass(frozen=True)
class Stored:
    """One tensor of a file. The dtype is named as in a spec where it is one of a spec's, else as the file names it."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Tensors:
    """The tensors of a file by name: shapes and dtypes at once, numbers when they are asked for."""

    stored: Mapping[str, Stored]
    read: Callable[[Collection[str]], dict[str, Tensor]]
    """The numbers of the tensors of these names. Raises `FileError` for damaged ones, `ResourceError` for more than
    this machine has the memory for."""

    def renamed(self, names: Mapping[str, str]) -> dict[str, Tensor]:
        """The numbers of some tensors by other names: by each the name in the file. Raises as `read`."""
        numbers = self.read(list(names.values()))
        return {known: numbers[name] for known, name in names.items()}

    def under(self, names: Mapping[str, str]) -> Tensors:
        """Some of the tensors, under other names: by each the name in the file."""
        stored = {known: self.stored[name] for known, name in names.items()}
        return Tensors(stored, lambda wanted: self.renamed({name: names[name] for name in wanted}))


@dataclass(frozen=True)
class FilePart:
    """Bytes of an open file: all of it, or one uncompressed member of an archive."""

    file: IO[bytes]
    start: int
    size: int


def size_of(path: Path) -> int:
    """The size of a file in bytes. Raises `FileError` where there is no file or it is empty."""
    try:
        if path.is_dir():
            raise FileError("this is a folder", allowed="a file", where=str(path))
        size = path.stat().st_size
        regular = path.is_file()
    except FileNotFoundError as error:
        raise FileError(why(error), nearest=named_alike(path), where=str(path)) from None
    except (OSError, ValueError) as error:
        raise FileError(why(error), where=str(path)) from None
    if regular and size == 0:
        raise FileError("the file is empty", where=str(path))
    return size


def is_pipe(path: Path) -> bool:
    """Whether this is a named pipe, or what a shell makes of <(command)."""
    try:
        return path.is_fifo()
    except (OSError, ValueError):
        return False


def refuse_pipe(path: Path) -> None:
    """Raises `FileError` for a pipe in the place of a file that is read in several places."""
    if is_pipe(path):
        advice = f"save it to a file first: cat {path} > FILE"
        raise FileError("this is a pipe, which can be read only once", advice=advice, where=str(path))


@contextmanager
def opened(path: Path) -> Iterator[FilePart]:
    """A file that can be read at any place. Raises `FileError` for a pipe, and for what `size_of` raises it for."""
    size = size_of(path)
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            yield FilePart(file, 0, size)
    except OSError as error:
        raise FileError(why(error), where=str(path)) from None


def read_bytes(path: Path, at_most: int) -> bytes:
    """The content of a file of at most `at_most` bytes, pipes included."""
    size_of(path)
    try:
        with path.open("rb") as file:
            data = file.read(at_most + 1)
    except (OSError, ValueError) as error:
        raise FileError(why(error), where=str(path)) from None
    if not data:
        raise FileError("the file is empty", where=str(path))
    if len(data) > at_most:
        raise ResourceError(
            "the file is too large", allowed=f"at most {free_memory.in_words(at_most)}", where=str(path)
        )
    return data


def named_alike(path: Path) -> str | None:
    """A file in the same folder whose name is most like this one; None where there is none, or where this one is."""
    try:
        if path.exists():
            return None
        names = [one.name for one in itertools.islice(path.parent.iterdir(), _MOST_NAMES)]
    except (OSError, ValueError):
        return None
    found = nearest(path.name, names)
    return str(path.with_name(found)) if found else None


def why(error: BaseException) -> str:
    """What an exception says, beginning in lower case and without the error number and the path."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:MOST_SAID] + ("…" if len(text) > MOST_SAID else "")


def in_short(error: BaseException) -> str:
    """The first sentence of `why`: what other packages say goes on for lines."""
    return why(error).partition("\n")[0].partition(". ")[0]


def check_promise(needed: int, there: int, where: str) -> None:
    """Raises `FileError` for a header that needs more bytes than the file has."""
    if needed > there:
        found = f"the file is damaged or cut short: expected {free_memory.in_words(needed)}, "
        found += f"found {free_memory.in_words(there)}"
        raise FileError(found, where=where)


def decoded(data: bytes, where: str, allowed: str) -> str:
    """The text in a file's bytes. Raises `FileError` for what is no text."""
    if is_pipe(Path(where)):
        allowed += f"; to read weights or a model, save them to a file first: cat {where} > FILE"
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError("this is a binary file", allowed=allowed, where=where) from None
    if "\0" in text:
        raise FileError("this is a binary file", allowed=allowed, where=where)
    return text
