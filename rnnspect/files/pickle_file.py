"""Files that hold a pickle: what torch.save, torch.jit.save, pickle.dump and joblib.dump write, of any age.

Each is read by `pickle_inert`, so nothing of a file is imported or called, and loads neither torch nor numpy until the
numbers are asked for.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.dtypes import SIZES
from rnnspect.files.pickle_inert import MAX_PICKLE, PERSISTENT, Record, load
from rnnspect.files.pickled import PickleFile, tensors_in
from rnnspect.files.reading import FilePart, Tensors, check_promise, opened
from rnnspect.files.rebuilding import is_storage, numpy_dtype, sizes_in, storage_dtype
from rnnspect.files.strided import StoredBytes, Strided, checked, contiguous
from rnnspect.files.torch_tar import MAX_DIGITS, is_torch_tar, read_tar
from rnnspect.files.torch_zip import parse_zip

TORCH_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""A pickle of torch's magic number, with which its files began up to version 1.5."""
_HEAD = 100
_COUNT = struct.Struct("<q")
JOBLIB = ("joblib.numpy_pickle.NumpyArrayWrapper", "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper")


def tensors(path: Path) -> Tensors:
    """The tensors and arrays of a file with a pickle in it. Raises as `open_pickle`."""
    return open_pickle(path).content


def open_pickle(path: Path) -> PickleFile:
    """What a file with a pickle in it holds. Raises `FileError` for one that is damaged, or too large to be one."""
    with opened(path) as part:
        head = part.file.read(_HEAD)
        if head.startswith(b"PK"):
            return parse_zip(path, path)
        is_torch = head.startswith(TORCH_MAGIC)
        size = min(part.size, MAX_PICKLE) if is_torch else part.size
        if not is_torch:
            free_memory.require(2 * size, "reading this file", str(path))
        with mmap.mmap(part.file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
            if is_torch:
                return _torch_stream(path, part, mapped)
            return _torch_tar(path, mapped) if is_torch_tar(head) else _plain(path, mapped)


def _torch_stream(path: Path, part: FilePart, mapped: mmap.mmap) -> PickleFile:
    """torch.save up to 1.5: pickles of the magic number, the version, the machine, the object and the storages' keys,
    then for each storage how many numbers it has, and the numbers."""
    where = str(path)
    for _ in range(2):
        load(mapped, where)
    machine = load(mapped, where).value
    big_endian = isinstance(machine, dict) and machine.get("little_endian") is False
    pickle = load(mapped, where)
    keys = load(mapped, where)
    dtypes = {
        record.args[2]: dtype
        for record in pickle.persistent
        if is_storage(record.args) and (dtype := storage_dtype(record.args[1]))
    }
    places: dict[str, StoredBytes] = {}
    start = keys.end
    for key in keys.value if isinstance(keys.value, list) else ():
        part.file.seek(start)
        count = part.file.read(_COUNT.size)
        dtype = dtypes.get(key) if isinstance(key, str) else None
        if dtype is None or len(count) < _COUNT.size:
            raise FileError("the file is cut short or damaged: a storage is missing", where=where)
        size = max(_COUNT.unpack(count)[0], 0) * SIZES[dtype]
        start += _COUNT.size
        check_promise(size, part.size - start, where)
        places[key] = StoredBytes(size, start)
        start += size

    def storage(identity: Any) -> Strided | None:
        if not is_storage(identity) or identity[2] not in places:
            return None
        dtype, place = dtypes[identity[2]], places[identity[2]]
        view = identity[5] if len(identity) > 5 and isinstance(identity[5], tuple) and len(identity[5]) == 3 else None
        offset = view[1] if view and type(view[1]) is int and view[1] >= 0 else 0
        return Strided(place, dtype, (place.size // SIZES[dtype],), (1,), offset, big_endian)

    inside = tensors_in(pickle, storage, where)
    return PickleFile(path=path, what="a file of torch.save", value=pickle.value, called=pickle.called, **vars(inside))


def _torch_tar(path: Path, file: mmap.mmap) -> PickleFile:
    pickle, there = read_tar(file, str(path))

    def elsewhere(identity: Any) -> Strided | None:
        known = isinstance(identity, str) and identity.isdecimal() and len(identity) <= MAX_DIGITS
        return there.get(int(identity)) if known else None

    inside = tensors_in(pickle, elsewhere, str(path))
    return PickleFile(path=path, what="a file of torch.save", value=pickle.value, called=pickle.called, **vars(inside))


def _plain(path: Path, file: mmap.mmap) -> PickleFile:
    """A pickle alone, or one of joblib with the numbers of each array behind what says its shape."""
    where = str(path)
    inline: list[Strided] = []

    def skip_numbers(record: Record) -> None:
        state = record.state
        if record.name not in JOBLIB or not isinstance(state, dict):
            return
        dtype, shape = numpy_dtype(state.get("dtype")), sizes_in(state.get("shape"))
        if dtype is None or shape is None or any(not 0 <= size < 2**62 for size in shape):
            found = "a joblib array of Python objects, which are never loaded: that could run code"
            raise FileError(found, advice="save the numbers as .npz", where=where)
        if state.get("numpy_array_alignment_bytes") is not None:
            file.seek(int.from_bytes(file.read(1), "little"), io.SEEK_CUR)
        size, start = math.prod(shape) * SIZES[dtype[0]], file.tell()
        check_promise(size, file.size() - start, where)
        strides = contiguous(shape, state.get("order") == "F")
        record.name, record.args, record.state = PERSISTENT, len(inline), None
        inline.append(checked(Strided(StoredBytes(size, start), dtype[0], shape, strides, 0, dtype[1]), where))
        file.seek(start + size)

    pickle = load(file, where, skip_numbers)
    inside = tensors_in(pickle, lambda at: inline[at] if type(at) is int and at < len(inline) else None, where)
    return PickleFile(path=path, what="a pickle", value=pickle.value, called=pickle.called, **vars(inside))
