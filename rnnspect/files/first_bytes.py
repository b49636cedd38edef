"""The first bytes of a file, or the names in a folder or zip: what `weights/readers` recognise a format by."""

from __future__ import annotations

import itertools
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rnnspect.errors import FileError
from rnnspect.files.reading import is_pipe, named_alike, why

HEAD = 2**16
MAX_MEMBERS = 100_000


@dataclass(frozen=True)
class Glimpse:
    path: Path
    head: bytes
    """The first 64 KiB; empty for a folder, and for a pipe, which can be read only once."""
    members: tuple[str, ...] = ()
    """The names in a zip archive in its order; of a folder the paths of the files in it and in its folders."""
    is_folder: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the bytes may be text in UTF-8."""
        try:
            self.head.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return b"\0" not in self.head and len(self.head) == HEAD and error.start > HEAD - 4
        return b"\0" not in self.head

    def has(self, *ends: str) -> bool:
        """Whether for each of these ends there is a member whose name ends so."""
        return all(any(name.endswith(end) for name in self.members) for end in ends)


def glimpse(path: Path) -> Glimpse:
    """Raises `FileError` where there is no file or folder."""
    try:
        if path.is_dir():
            inside = (str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())
            return Glimpse(path, b"", tuple(sorted(itertools.islice(inside, MAX_MEMBERS))), is_folder=True)
        path.stat()
        if is_pipe(path):
            return Glimpse(path, b"")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except (OSError, ValueError) as error:
        raise FileError(why(error), nearest=_begins_so(path) or named_alike(path), where=str(path)) from None
    return Glimpse(path, head, _names_in_zip(path) if head.startswith(b"PK") else ())


def _begins_so(path: Path) -> str | None:
    """A file whose name goes on after this one: TensorFlow calls a checkpoint model.ckpt, of which the files are
    model.ckpt.index, model.ckpt.data-00000-of-00001 and so on."""
    try:
        beside = itertools.islice(path.parent.iterdir(), MAX_MEMBERS)
        every = [one for one in beside if one.stem == path.name != one.name]
    except (OSError, ValueError):
        return None
    return str(min(every, key=lambda one: (one.suffix != ".index", one.name))) if every else None


def _names_in_zip(path: Path) -> tuple[str, ...]:
    """The names in the archive; none for a damaged one: the reader that opens it says what is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist()[:MAX_MEMBERS])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return ()
