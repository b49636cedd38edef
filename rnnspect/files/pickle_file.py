"""Files that hold a pickle: what torch.save, torch.jit.save, pickle.dump and joblib.dump write, of any age.

Each is read by `pickle_inert`, so nothing of a file is imported or called, and loads neither torch nor numpy until the
numbers are asked for.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.dtypes import SIZES
from rnnspect.files.pickle_inert import MAX_PICKLE, MAX_STEPS, PERSISTENT, Pickle, Record, load
from rnnspect.files.pickled import PickleFile, tensors_in
from rnnspect.files.reading import FilePart, Tensors, check_promise, opened
from rnnspect.files.rebuilding import Elsewhere, is_storage, numpy_dtype, sizes_in, storage_dtype
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
    """torch.save up to 1.5."""
    pickle, storage = _read_stream(mapped, part.file, part.size, StoredBytes, str(path))
    inside = tensors_in(pickle, storage, str(path))
    return PickleFile(path=path, what="a file of torch.save", value=pickle.value, called=pickle.called, **vars(inside))


def _read_stream(
    file: io.BytesIO | mmap.mmap, numbers: IO[bytes], end: int, place_of: Callable[[int, int], StoredBytes], where: str
) -> tuple[Pickle, Elsewhere]:
    """Pickles of the magic number, the version, the machine, the object and the storages' keys, then for each storage
    how many numbers it has, and the numbers. `file` and `numbers` are the same `end` bytes; `place_of` makes a place of
    a size and a start. Returns the pickle of the object, and what finds a storage."""
    for _ in range(2):
        load(file, where)
    machine = load(file, where).value
    big_endian = isinstance(machine, dict) and machine.get("little_endian") is False
    pickle = load(file, where)
    keys = load(file, where)
    dtypes = {
        record.args[2]: dtype
        for record in pickle.persistent
        if is_storage(record.args) and (dtype := storage_dtype(record.args[1]))
    }
    places: dict[str, StoredBytes] = {}
    start = keys.end
    for key in keys.value if isinstance(keys.value, list) else ():
        numbers.seek(start)
        count = numbers.read(_COUNT.size)
        dtype = dtypes.get(key) if isinstance(key, str) else None
        if dtype is None or len(count) < _COUNT.size:
            raise FileError("the file is cut short or damaged: a storage is missing", where=where)
        size = max(_COUNT.unpack(count)[0], 0) * SIZES[dtype]
        start += _COUNT.size
        check_promise(size, end - start, where)
        places[key] = place_of(size, start)
        start += size

    def storage(identity: Any) -> Strided | None:
        if not is_storage(identity) or identity[2] not in places:
            return None
        dtype, place = dtypes[identity[2]], places[identity[2]]
        view = identity[5] if len(identity) > 5 and isinstance(identity[5], tuple) and len(identity[5]) == 3 else None
        offset = view[1] if view and type(view[1]) is int and view[1] >= 0 else 0
        return Strided(place, dtype, (place.size // SIZES[dtype],), (1,), offset, big_endian)

    return pickle, storage


class _StoragesInBytes:
    """Finds the storages of tensors that are pickled by Python: each is a file of torch.save up to 1.5 in bytes, with
    nothing but one storage."""

    def __init__(self, where: str) -> None:
        self._where, self._read = where, 0
        self._found: dict[int, Strided | None] = {}

    def __call__(self, data: bytes | str) -> Strided | None:
        """`data` is a value of the pickle that is being read: a text stands for bytes, as in `StoredBytes`."""
        if id(data) not in self._found:
            self._found[id(data)] = self._storage(data) if isinstance(data, bytes) else self._of_text(data)
        return self._found[id(data)]

    def _of_text(self, data: str) -> Strided | None:
        try:
            return self._storage(data.encode("latin-1"))
        except UnicodeEncodeError:
            return None

    def _storage(self, data: bytes) -> Strided | None:
        if not data.startswith(TORCH_MAGIC):
            return None

        def place_of(size: int, start: int) -> StoredBytes:
            self._read -= size
            return StoredBytes(size, data=data[start : start + size])

        self._read += len(data)
        pickle, storage = _read_stream(io.BytesIO(data), io.BytesIO(data), len(data), place_of, self._where)
        if self._read > MAX_STEPS:  # each byte but the numbers may be an instruction
            raise FileError(
                "the pickles in this pickle are too long",
                advice="save its state dict with torch.save",
                where=self._where,
            )
        value = pickle.value
        return storage(value.args) if isinstance(value, Record) and value.name == PERSISTENT else None


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
    in_bytes = _StoragesInBytes(where)

    def elsewhere(at: Any) -> Strided | None:
        if isinstance(at, bytes | str):
            return in_bytes(at)
        return inline[at] if type(at) is int and at < len(inline) else None

    inside = tensors_in(pickle, elsewhere, where)
    return PickleFile(path=path, what="a pickle", value=pickle.value, called=pickle.called, **vars(inside))
