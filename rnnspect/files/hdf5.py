"""HDF5 files, read as data: what is in them, without following a link out of the file, and sizes checked first.

The format can claim any size, hold a group in itself, and refer to other files. Of all that only what a framework
writes is read: groups, and numbers that lie in the file. What crashes the library itself is caught in `hdf5_process`.
"""

from __future__ import annotations

import io
import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import memory
from rnnspect.files.reading import size_of, why
from rnnspect.files.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from h5py import Dataset, File, Group

    Array = Any
    Source = Path | io.RawIOBase | io.BytesIO

MAX_DEPTH = 64
"""Groups inside one another that are looked into."""
MAX_OBJECTS = 100_000
MAX_TEXT = 2**26
"""Bytes of an attribute that is read as text."""
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""How numbers may be packed; others need code that comes with no file of a framework."""
_MOST_PACKED = 1032
"""How many bytes deflate can make of one: zlib's technical details, "Maximum Compression Factor"."""
BROKEN: tuple[type[Exception], ...] = (
    *(OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError, AttributeError),
    *(OverflowError, MemoryError, EOFError),
)
"""What h5py raises on damaged files."""


@dataclass(frozen=True)
class Tree:
    """What a file holds: datasets by path, and the texts among the attributes of each group by its path."""

    datasets: dict[str, Stored] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)

    def text(self, name: str, *groups: str) -> str | None:
        """The attribute of that name of the first of these groups that has it."""
        return next((text for group in groups if (text := self.attributes.get(group, {}).get(name))), None)


def read_tree(source: Source, where: str, attributes: Collection[str], skip: str) -> Tree:
    """Every dataset of a file with its shape and dtype, none of the numbers; and these attributes where they are text.

    Groups at the top whose name begins with `skip` are not looked at.

    Raises `FileError` for a file that is broken, holds a group twice, or refers to anything outside it; `FileError`
    or `ResourceError` for a dataset that claims more than the file can hold or this machine has.
    """
    tree = Tree()
    with _opened(source, where) as (file, size):
        _walk(file, "", tree, set(), _Rules(where, size, frozenset(attributes), skip))
    return tree


def read_datasets(
    source: Source, where: str, paths: Collection[str], announce: Callable[[int], None]
) -> Iterator[Array]:
    """The numbers of datasets that `read_tree` found, as numpy arrays in this machine's byte order, one at a time.

    Before each, `announce` hears how many bytes reading it takes. Raises as `read_tree`.
    """
    import numpy as np

    with _opened(source, where) as (file, size):
        for path in paths:
            dataset = file[path]
            _stored(dataset, path, where, size)
            if dataset.dtype.hasobject or dataset.shape is None:
                raise FileError(f"numbers stored as {dataset.dtype}", where=f"{where}:{path}")
            needed = 2 * dataset.nbytes + _chunk_bytes(dataset)
            memory.require(needed, "reading it", f"{where}:{path}")
            announce(needed)
            values = np.asarray(dataset[()])
            yield values.astype(values.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class _Rules:
    where: str
    size: int
    attributes: frozenset[str]
    skip: str


@contextmanager
def _opened(source: Source, where: str) -> Iterator[tuple[File, int]]:
    """The file, and how many bytes it has. What h5py says of a broken one becomes ours."""
    try:
        import h5py
    except ImportError:
        allowed = "after: pip install 'rnnspect[keras-files]'"
        raise FileError("reading it needs the package h5py", allowed=allowed, where=where) from None
    if isinstance(source, io.IOBase):
        size = source.seek(0, 2)
        source.seek(0)
    else:
        size = size_of(source)
    try:
        with h5py.File(source, "r") as file:
            yield file, size
    except BROKEN as error:
        raise FileError(f"not an HDF5 file, or broken: {_line(error)}", where=where) from None


def _walk(group: Group, path: str, tree: Tree, seen: set[int], rules: _Rules) -> None:
    import h5py

    place = f"{rules.where}:{path}" if path else rules.where
    address = int(h5py.h5o.get_info(group.id).addr)
    if address in seen:
        raise FileError("a group that is in itself or in two places", allowed="each group once", where=place)
    seen.add(address)
    if path.count("/") >= MAX_DEPTH:
        raise FileError("groups nested without end", allowed=f"{MAX_DEPTH} in one another", where=rules.where)
    texts = {name: text for name in rules.attributes if (text := _text(group, name, place)) is not None}
    if texts:
        tree.attributes[path] = texts
    for name in group:
        below = f"{path}/{name}" if path else name
        if not path and rules.skip and name.startswith(rules.skip):
            continue
        if len(tree.datasets) + len(seen) > MAX_OBJECTS:
            raise FileError(f"more than {MAX_OBJECTS} groups and datasets", where=rules.where)
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = "another file" if isinstance(link, h5py.ExternalLink) else "another place"
            found = f"a link to {kind}"
            raise FileError(found, allowed="groups and numbers in the file itself", where=f"{rules.where}:{below}")
        thing = group[name]
        if isinstance(thing, h5py.Group):
            _walk(thing, below, tree, seen, rules)
        elif isinstance(thing, h5py.Dataset):
            tree.datasets[below] = _stored(thing, below, rules.where, rules.size)


def _stored(dataset: Dataset, path: str, where: str, size: int) -> Stored:
    """Shape and dtype. Raises for numbers that are not in the file, or that cannot be as many as it claims."""
    place = f"{where}:{path}"
    plist = dataset.id.get_create_plist()
    if dataset.is_virtual or plist.get_external_count():
        raise FileError("numbers that lie outside the file", allowed="in the file itself", where=place)
    filters = [plist.get_filter(at)[0] for at in range(plist.get_nfilters())]
    if unknown := [number for number in filters if number not in _FILTERS]:
        allowed = ", ".join(_FILTERS.values())
        raise FileError(f"numbers packed by filter {unknown[0]}", allowed=allowed, where=place)
    shape = tuple(int(n) for n in dataset.shape or ())
    claimed = 0 if dataset.shape is None else math.prod(shape) * dataset.dtype.itemsize
    there = int(dataset.id.get_storage_size())
    packed = _MOST_PACKED if {1, 32000} & set(filters) else 1
    if there > size or claimed > there * packed:
        said = f"it claims {memory.in_words(claimed)} in a shape of {shape}"
        raise FileError(f"{said}, the file holds {memory.in_words(min(there, size))} of it", where=place)
    return Stored(shape, _dtype(dataset))


def _chunk_bytes(dataset: Dataset) -> int:
    return math.prod(dataset.chunks) * int(dataset.dtype.itemsize) if dataset.chunks else 0


def _dtype(dataset: Dataset) -> str:
    """As a spec names it. bfloat16, which HDF5 lacks, is two bytes and an attribute (keras saving/saving_lib.py)."""
    kind = dataset.dtype
    if kind.kind == "V" and kind.itemsize == 2 and _text(dataset, "dtype", dataset.name) == "bfloat16":
        return "bfloat16"
    return kind.newbyteorder("=").name if kind.kind in "fiub" else str(kind)


def _text(thing: Group | Dataset, name: str, where: str) -> str | None:
    """An attribute that is one text; None where there is none, or it is something else."""
    if name not in thing.attrs:
        return None
    attribute = thing.attrs.get_id(name)
    if attribute.shape != () or attribute.dtype.kind not in "SO":
        return None
    if attribute.get_storage_size() > MAX_TEXT:
        allowed = f"at most {memory.in_words(MAX_TEXT)}"
        raise FileError(f"an attribute {name} that is too large", allowed=allowed, where=where)
    value = thing.attrs[name]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None


def _line(error: BaseException) -> str:
    return why(error).strip("'\"").partition("\n")[0] or type(error).__name__
