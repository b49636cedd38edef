"""HDF5 files as h5py writes them for Keras: the tree of groups, attributes that are text, and arrays of plain numbers.

Sizes are checked before memory is taken. Soft and external links, and numbers outside the file, are refused.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files import hdf5_structures as h5
from rnnspect.files.reading import FilePart, Stored
from rnnspect.files.zip_members import MOST_UNPACKED

if TYPE_CHECKING:
    from pyfive.dataobjects import DataObjects as Header
    from torch import Tensor

MAX_DEPTH = 64
"""How deeply groups may be nested."""
MAX_OBJECTS = 100_000
MAX_PATH = 2**11
"""The most characters of the names of a dataset and of the groups around it."""
_CONTIGUOUS, _CHUNKED, _VIRTUAL = 1, 2, 3
_INTEGER, _FLOAT, _OPAQUE = 0, 1, 5
_CLASSES = {3: "text", 5: "opaque bytes", 6: "records", 7: "references", 8: "an enumeration", 9: "objects"}
_IEEE = {2: (0, 16, 10, 5, 0, 10, 15), 4: (0, 32, 23, 8, 0, 23, 127), 8: (0, 64, 52, 11, 0, 52, 1023)}
"""For a float of so many bytes: where its bits, exponent and mantissa begin, their lengths, and the exponent's bias."""
_DEFLATE, _SHUFFLE = 1, 2
_FILTERS = {_DEFLATE: "deflate", _SHUFFLE: "shuffle"}
"""How numbers may be compressed; Keras does not compress them."""


@dataclass(frozen=True)
class Tree:
    """What a file holds: datasets by path, and the texts among the attributes of each group by its path."""

    datasets: dict[str, Stored] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)

    def text(self, name: str, *groups: str) -> str | None:
        """The attribute of that name of the first of these groups that has it."""
        return next((text for group in groups if (text := self.attributes.get(group, {}).get(name))), None)


def read_tree(part: FilePart, where: str, attributes: Collection[str]) -> Tree:
    """Every dataset of a file with its shape and dtype, none of the numbers; and these attributes where they are text.

    A group at the top whose name begins with optimizer, Keras' state of training, is not looked at.

    Raises `FileError` for a file that is broken, takes too long, holds a group twice, refers to anything outside it,
    or has a dataset that claims more than the file can hold.
    """
    tree, known = Tree(), 0
    seen: set[int] = set()
    with h5.opened(part, where) as (file, root):
        left = [("", root)]  # a stack in place of recursion: one header at a time is in memory
        while left:
            path, address = left.pop()
            place = f"{where}:{path}" if path else where
            header = h5.header_at(file, address, place)
            if h5.messages(header, h5.DATASPACE):
                numbers = _numbers(file, header, place)
                tree.datasets[path] = Stored(numbers.shape, numbers.dtype)
                continue
            if address in seen:
                raise FileError("the file is damaged: a group is linked twice or contains itself", where=place)
            seen.add(address)
            if path.count("/") >= MAX_DEPTH:
                raise FileError("groups are nested too deeply", allowed=f"at most {MAX_DEPTH} levels", where=where)
            if texts := dict(h5.texts(file, header, attributes, place)):
                tree.attributes[path] = texts
            within = []
            for name, at in h5.links(file, header, place):
                known += 1
                if known > MAX_OBJECTS or len(path) + len(name) > MAX_PATH:
                    raise FileError(f"more than {MAX_OBJECTS} groups and datasets, or a name too long", where=where)
                if path or not name.startswith("optimizer"):
                    within.append((f"{path}/{name}" if path else name, at))
            left += reversed(within)
    return tree


def read_datasets(part: FilePart, where: str, paths: Collection[str]) -> dict[str, Tensor]:
    """The numbers of datasets that `read_tree` found, by path.

    Raises as `read_tree`, and `ResourceError` for numbers that this machine has not the memory for.
    """
    found = {}
    with h5.opened(part, where) as (file, root):
        for path in paths:
            address = root
            for name in path.split("/"):
                address = dict(h5.links(file, h5.header_at(file, address, where), where))[name]
            place = f"{where}:{path}"
            found[path] = _read(file, _numbers(file, h5.header_at(file, address, place), place), place)
    return found


@dataclass(frozen=True)
class _Numbers:
    """A dataset: what it holds, and where in the file that is."""

    shape: tuple[int, ...]
    dtype: str
    """The name of the dtype in a spec; words for any other dtype."""
    descr: str | None
    """numpy's name of the dtype; None for anything but plain numbers."""
    address: int
    chunk: tuple[int, ...] | None
    """The shape of the blocks in which the numbers are stored; None where they are contiguous."""
    filters: list[int]


def _numbers(file: h5.BoundedReads, header: Header, where: str) -> _Numbers:
    """What the header of a dataset says. Raises `FileError` for numbers that lie outside the file, and for a shape that
    takes more bytes than the file can hold."""
    layout = h5.messages(header, h5.LAYOUT)[0]
    if h5.messages(header, h5.EXTERNAL) or layout[1] == _VIRTUAL:
        raise FileError("the numbers of this dataset are stored in another file", where=where)
    if (layout[0], layout[1]) not in ((3, _CONTIGUOUS), (4, _CONTIGUOUS), (3, _CHUNKED)):
        found = f"unsupported HDF5 storage layout {layout[0]}.{layout[1]}"
        raise FileError(found, allowed="a layout that Keras writes", where=where)
    filters = [one["filter_id"] for one in header.filter_pipeline or ()]
    if unknown := [number for number in filters if number not in _FILTERS]:
        allowed = ", ".join(_FILTERS.values())
        raise FileError(f"unsupported HDF5 compression filter {unknown[0]}", allowed=allowed, where=where)
    if layout[1] == _CONTIGUOUS:
        chunk = None
        address, size = struct.unpack_from("<QQ", layout, 2)
        there = max(0, min(size, file.part.size - address))
    else:
        axes, address = struct.unpack_from("<BQ", layout, 2)
        chunk = struct.unpack_from(f"<{axes}I", layout, 11)[:-1]
        there = 0 if address == h5.UNDEFINED else file.part.size * (MOST_UNPACKED if _DEFLATE in filters else 1)
    shape, datatype = header.shape, h5.messages(header, h5.DATATYPE)[0]
    claimed = 0 if shape is None else math.prod(shape) * h5.size_in(datatype)
    if claimed > there:
        held = free_memory.in_words(min(there, file.part.size))
        found = f"the file is damaged: the shape {shape} needs {free_memory.in_words(claimed)}, found {held}"
        raise FileError(found, where=where)
    return _Numbers(tuple(shape or ()), *_dtype(file, header, datatype, where), address, chunk, filters)


def _dtype(file: h5.BoundedReads, header: Header, datatype: bytes, where: str) -> tuple[str, str | None]:
    """As a spec names it, and as numpy does. bfloat16, which HDF5 lacks, is two bytes and an attribute
    (keras saving/saving_lib.py)."""
    kind, flags, size = datatype[0] & 15, datatype[1], h5.size_in(datatype)
    order = ">" if flags & 1 else "<"
    if kind == _INTEGER and struct.unpack_from("<HH", datatype, 8) == (0, 8 * size) and size in (1, 2, 4, 8):
        return f"{'int' if flags & 8 else 'uint'}{8 * size}", f"{order}{'i' if flags & 8 else 'u'}{size}"
    if kind == _FLOAT and struct.unpack_from("<HHBBBBI", datatype, 8) == _IEEE.get(size):
        return f"float{8 * size}", f"{order}f{size}"
    if kind == _OPAQUE and size == 2 and dict(h5.texts(file, header, ("dtype",), where)) == {"dtype": "bfloat16"}:
        return "bfloat16", "=i2"
    return _CLASSES.get(kind, f"numbers of {size} bytes"), None


def _read(file: h5.BoundedReads, numbers: _Numbers, where: str) -> Tensor:
    """The numbers. Raises `FileError` for what are none, `ResourceError` for too many."""
    import numpy as np
    import torch

    if numbers.descr is None:
        raise FileError(f"cannot read values stored as {numbers.dtype}", where=where)
    dtype = np.dtype(numbers.descr)
    size = math.prod(numbers.shape) * dtype.itemsize
    free_memory.require(2 * (size + math.prod(numbers.chunk or ()) * dtype.itemsize), "reading this file", where)
    if numbers.chunk is not None:
        values = _read_chunks(file, numbers, numbers.chunk, dtype, where)
    else:
        file.seek(numbers.address)
        values = np.frombuffer(file.allow(size).read(size), dtype).reshape(numbers.shape)
    found = torch.from_numpy(values.astype(dtype.newbyteorder("=")))
    return found.view(torch.bfloat16) if numbers.dtype == "bfloat16" else found


def _read_chunks(file: h5.BoundedReads, numbers: _Numbers, shape: tuple[int, ...], dtype: Any, where: str) -> Any:
    """Numbers that lie in blocks (chunks) of one shape; the last one along an axis may reach beyond its end."""
    import numpy as np
    from pyfive.btree import BTreeV1RawDataChunks

    values, size = np.empty(numbers.shape, dtype), math.prod(shape) * dtype.itemsize
    chunks = {}
    for node in BTreeV1RawDataChunks(file.allow(), numbers.address, len(shape) + 1).all_nodes[0]:
        for key, address in zip(node["keys"], node["addresses"], strict=True):
            chunks[key["chunk_offset"][:-1]] = address, key["chunk_size"], key["filter_mask"]
    ranges = [range(0, end, step) for end, step in zip(numbers.shape, shape, strict=True)]
    if math.prod(map(len, ranges)) > len(chunks):
        raise h5.broken("values are missing", where)
    for starts in product(*ranges):
        address, packed_size, left_out = chunks[starts]
        file.seek(address)
        data = file.allow(size + h5.MAX_STRUCTURE).read(packed_size)
        for at, number in reversed([*enumerate(numbers.filters)]):
            if left_out >> at & 1:  # where packing would have made it longer
                continue
            if number == _DEFLATE:
                data = zlib.decompressobj().decompress(data, size + 1)
            else:
                data = np.frombuffer(data, "u1").reshape(dtype.itemsize, -1).T.tobytes()
        target = values[tuple(slice(start, start + step) for start, step in zip(starts, shape, strict=True))]
        target[...] = np.frombuffer(data, dtype).reshape(shape)[tuple(slice(end) for end in target.shape)]
    return values
