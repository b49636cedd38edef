"""The structures of an HDF5 file (headers, links between groups, attributes), parsed by pyfive within bounds.

pyfive believes what a file claims: for one of 184 bytes it asks for 7 GiB. So only its parsers of single
structures are used, with a bound on the bytes that each may read. Names and attributes, which can claim more than
that, are read here. Nothing outside the file is opened.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from time import thread_time
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.reading import DAMAGED, FilePart

if TYPE_CHECKING:
    from pyfive.dataobjects import DataObjects as Header

SECONDS = 20.0
"""The most computing time that reading may take, in seconds; 10,000 groups and datasets take one or two."""
MAX_STRUCTURE = 2**20
"""The most bytes of one header, tree or heap of names. pyfive makes up to 200 times as much memory of them."""
MAX_TEXT = 2**26
"""The most bytes of all attributes that are read as text."""
MAX_HEAP = 2**17
"""The most bytes of other texts in the heap of one that is read; the HDF5 library writes at most half as many."""
MAX_NAME = 2**11
"""The most bytes of the name of one group or dataset."""
DATASPACE, _LINK_INFO, DATATYPE, _LINK, EXTERNAL = 1, 2, 3, 6, 7
LAYOUT, _ATTRIBUTE, _SYMBOLS, _ATTRIBUTE_INFO = 8, 12, 17, 21
"""Kinds of messages in a header (HDF5 File Format Specification 3.0, IV.A.2)."""
TEXT, VARIABLE = 3, 9
"""Classes of types: text of a fixed length, and what has its length beside it."""
UNDEFINED = 2**64 - 1
"""The address of something that is not there."""


class BoundedReads:
    """A part of a file, as pyfive wants one. Reading more than `allow` said last, or for too long, is a `FileError`."""

    def __init__(self, part: FilePart, where: str) -> None:
        self.part, self.where, self.text_left = part, where, MAX_TEXT
        self._at = self._left = 0
        self._end = thread_time() + SECONDS

    def allow(self, count: int = MAX_STRUCTURE) -> BoundedReads:
        self._left = count
        return self

    def seek(self, offset: int) -> None:
        self._at = offset

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise broken("it claims more than it can hold", self.where)
        if thread_time() > self._end:
            raise broken(f"reading it takes more than {SECONDS:.0f} s", self.where)
        self._left -= count
        if self._at >= self.part.size:
            return b""
        self.part.file.seek(self.part.start + self._at)
        data = self.part.file.read(min(count, self.part.size - self._at))
        self._at += len(data)
        return data


@contextmanager
def opened(part: FilePart, where: str) -> Iterator[tuple[BoundedReads, int]]:
    """The file, and the address of its outermost group. What pyfive raises on a broken file becomes a `FileError`."""
    from pyfive.core import InvalidHDF5File
    from pyfive.misc_low_level import SuperBlock

    file = BoundedReads(part, where)
    try:
        start = SuperBlock(file.allow(), 0)
        if start._contents["end_of_file_address"] > part.size:
            raise broken("it is cut short", where)
        yield file, start.offset_to_dataobjects
    except (InvalidHDF5File, *DAMAGED):
        raise FileError("not an HDF5 file, or damaged", where=where) from None


def broken(reason: str, where: str) -> FileError:
    return FileError(f"not an HDF5 file, or damaged: {reason}", where=where)


def header_at(file: BoundedReads, address: int, where: str) -> Header:
    """The header of a group or dataset, which is a list of messages."""
    from pyfive.dataobjects import DataObjects

    header = DataObjects(file.allow(), address)
    # With track_order or libver="latest" h5py writes what is many into a fractal heap, which is not read here.
    for kind, what, optional in ((_LINK_INFO, "links", 8), (_ATTRIBUTE_INFO, "attributes", 2)):
        for message in messages(header, kind):
            if struct.unpack_from("<Q", message, 2 + optional * (message[1] & 1)) != (UNDEFINED,):
                found = f"{what} are stored in a fractal heap, which is not supported"
                raise FileError(found, where=where)
    return header


def messages(header: Header, kind: int) -> list[bytes]:
    """The content of each message of that kind."""
    starts = ((one["offset_to_message"], one["size"]) for one in header.find_msg_type(kind))
    return [header.msg_data[start : start + size] for start, size in starts]


def links(file: BoundedReads, header: Header, where: str) -> Iterator[tuple[str, int]]:
    """Names in a group, and the addresses of their headers. Raises `FileError` for soft and external links."""
    from pyfive.btree import BTreeV1Groups
    from pyfive.misc_low_level import Heap, SymbolTable

    for message in messages(header, _SYMBOLS):
        tree, names = struct.unpack_from("<QQ", message)
        heap = Heap(file.allow(), names).data
        for node in BTreeV1Groups(file.allow(), tree).symbol_table_addresses():
            for entry in SymbolTable(file.allow(), node).entries:
                start = entry["link_name_offset"]
                name = heap[start : heap.index(b"\0", start, start + MAX_NAME + 1)].decode()
                if entry["cache_type"] == 2:
                    raise _elsewhere("another place", f"{where}:{name}")
                yield name, entry["object_header_address"]
    for message in messages(header, _LINK):
        if kind := message[2] if message[1] & 8 else 0:
            raise _elsewhere("another file" if kind == 64 else "another place", where)
        yield header._decode_link_msg(message, 0)[1]


def _elsewhere(place: str, where: str) -> FileError:
    return FileError(f"a link to {place}, which is not followed", where=where)


def texts(file: BoundedReads, header: Header, names: Collection[str], where: str) -> Iterator[tuple[str, str]]:
    """Those of the named attributes that are a single text, with the text."""
    from pyfive.dataobjects import determine_data_shape
    from pyfive.misc_low_level import GlobalHeap

    for message in messages(header, _ATTRIBUTE):
        start, pad = 9 if message[0] == 3 else 8, 8 if message[0] == 1 else 1
        places = [start]  # of the name, its type, its shape and its value, each filled up to a multiple of `pad`
        for size in struct.unpack_from("<HHH", message, 2):
            places.append(places[-1] + math.ceil(size / pad) * pad)
        datatype, value = message[places[1] :], message[places[3] :]
        name = message[start:].partition(b"\0")[0].decode(errors="replace")
        if name not in names or determine_data_shape(message, places[2])[0] != ():
            continue
        if datatype[0] & 15 == TEXT:
            yield name, value[: size_in(datatype)].rstrip(b"\0").decode(errors="replace")
        elif datatype[0] & 15 == VARIABLE and datatype[1] & 15 == 1:  # of text, not of numbers
            size, heap, index = struct.unpack_from("<IQI", value)
            file.text_left -= size
            if file.text_left < 0:
                allowed = f"at most {free_memory.in_words(MAX_TEXT)}"
                raise FileError(f"the attribute {name} is too large", allowed=allowed, where=where)
            text = GlobalHeap(file.allow(size + MAX_HEAP), heap).objects[index][:size] if size else b""
            yield name, text.decode(errors="replace")


def size_in(datatype: bytes) -> int:
    """Bytes of one value of a type."""
    return int(struct.unpack_from("<I", datatype, 4)[0])
