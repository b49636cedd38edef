"""Files that hold a pickle: what torch.save, torch.jit.save, pickle.dump and joblib.dump write, of any age.

Each is read by `pickle_stream`, so nothing of a file is imported or called, and loads neither torch nor numpy until the
numbers are asked for.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.pickle_stream import MAX_KEY, PERSISTENT, Record, load
from rnnspect.files.pickled import PickledModule, described, tensors_in
from rnnspect.files.reading import Part, Tensors, check_promise, opened
from rnnspect.files.rebuilding import numpy_dtype, storage_dtype
from rnnspect.files.strided import SIZES, Place, Strided, checked, contiguous, read_all
from rnnspect.files.torch_tar import MAX_DIGITS, is_torch_tar, read_tar
from rnnspect.files.zip_members import opened_member, opened_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TORCH_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""A pickle of torch's magic number, with which its files began up to version 1.5."""
MAX_PICKLE = 1 << 28
"""Bytes of a pickle whose numbers are stored elsewhere."""
_HEAD = 100
_COUNT = struct.Struct("<q")
JOBLIB = ("joblib.numpy_pickle.NumpyArrayWrapper", "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper")


@dataclass
class PickleFile:
    """The tensors and arrays of a file by name, and what else was seen in it."""

    path: Path
    what: str
    """What kind of file it is."""
    value: Any
    """What the pickle holds, as `pickle_stream` gives it."""
    called: set[str]
    """What Python would call to load it."""
    tensors: dict[str, Strided] = field(default_factory=dict)
    modules: dict[str, PickledModule] = field(default_factory=dict)
    by_identity: dict[int, Strided] = field(default_factory=dict)
    """By the id of a value in `value` the tensor that it stands for."""

    @property
    def content(self) -> Tensors:
        stored = {name: tensor.stored for name, tensor in self.tensors.items()}
        return Tensors(stored, lambda names: read_all(self.path, {name: self.tensors[name] for name in names}))

    @property
    def described(self) -> str:
        return described(self.value)


def tensors(path: Path) -> Tensors:
    """The tensors and arrays of a file with a pickle in it. Raises as `open_pickle`."""
    return open_pickle(path).content


def open_pickle(path: Path) -> PickleFile:
    """What a file with a pickle in it holds. Raises `FileError` for one that is damaged, or too large to be one."""
    with opened(path) as part:
        head = part.file.read(_HEAD)
        if head.startswith(b"PK"):
            return _in_zip(path)
        is_torch = head.startswith(TORCH_MAGIC)
        size = min(part.size, MAX_PICKLE) if is_torch else part.size
        if not is_torch:
            free_memory.require(2 * size, "reading it", str(path))
        with mmap.mmap(part.file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
            if is_torch:
                return _torch_stream(path, part, mapped)
            return _torch_tar(path, mapped) if is_torch_tar(head) else _plain(path, mapped)


def _in_zip(path: Path) -> PickleFile:
    """torch.save since 1.6, and TorchScript: a pickle data.pkl, and each storage in a member of its own."""
    where = str(path)
    with opened_zip(path, "torch", where) as archive:
        names = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if not pickles:
            raise FileError("a zip archive without data.pkl", allowed="what torch.save writes", where=where)
        root = pickles[0].removesuffix("data.pkl")
        byteorder = archive.read(f"{root}byteorder") if _size(names, f"{root}byteorder") in range(1, 10) else b"little"
        is_script = f"{root}constants.pkl" in names
        big_endian = byteorder == b"big"
        found = PickleFile(path, "a TorchScript archive" if is_script else "a file of torch.save", None, set())
        for member, folder, prefix in [
            (pickles[0], f"{root}data/", ""),
            *([(f"{root}constants.pkl", f"{root}constants/", "constants")] if is_script else []),
        ]:
            free_memory.require(2 * min(names[member].file_size, MAX_PICKLE), "reading it", where)
            if names[member].file_size > MAX_PICKLE:
                allowed = f"at most {free_memory.in_words(MAX_PICKLE)}"
                found_size = f"{member} takes {free_memory.in_words(names[member].file_size)}"
                raise FileError(found_size, allowed=allowed, where=where)
            pickle = load(io.BytesIO(archive.read(member)), where)
            inside = tensors_in(pickle, _members(archive, names, folder, path, big_endian), where, prefix)
            found.value = pickle.value if found.value is None else found.value
            found.called |= pickle.called
            found.tensors.update(inside.tensors)
            found.modules.update(inside.modules)
            found.by_identity.update(inside.by_identity)
    return found


def _size(names: dict[str, zipfile.ZipInfo], name: str) -> int:
    return names[name].file_size if name in names else 0


def _members(
    archive: zipfile.ZipFile, names: dict[str, zipfile.ZipInfo], folder: str, path: Path, big_endian: bool
) -> Callable[[Any], Strided | None]:
    """Finds a storage: the member of its key in that folder."""
    places: dict[str, Place] = {}

    def storage(identity: Any) -> Strided | None:
        if not _is_storage(identity, str):
            return None
        dtype, name = storage_dtype(identity[1]), folder + identity[2]
        if dtype is None:
            return None
        if name not in places:
            if name not in names:
                raise FileError(f"it speaks of a storage {name!r}, which is not in it", where=str(path))
            places[name] = _place_of(archive, names[name], path)
        place = places[name]
        check_promise(identity[4] * SIZES[dtype], place.size, f"{path}:{name}")
        return Strided(place, dtype, (identity[4],), (1,), 0, big_endian)

    return storage


def _place_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Place:
    if info.compress_type != zipfile.ZIP_STORED:
        return Place(info.file_size, member=info.filename)
    with opened_member(archive, info.filename, path) as part:
        return Place(part.size, part.start)


def _is_storage(identity: Any, key: type) -> bool:
    """Whether this is ("storage", class, key, device, how many numbers, …)."""
    return (
        isinstance(identity, tuple)
        and len(identity) >= 5
        and identity[0] == "storage"
        and isinstance(identity[2], key)
        and len(str(identity[2])) <= MAX_KEY
        and type(identity[4]) is int
        and 0 <= identity[4] < 2**62
    )


def _torch_stream(path: Path, part: Part, mapped: mmap.mmap) -> PickleFile:
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
        if _is_storage(record.args, str) and (dtype := storage_dtype(record.args[1]))
    }
    places: dict[str, Place] = {}
    start = keys.end
    for key in keys.value if isinstance(keys.value, list) else ():
        part.file.seek(start)
        count = part.file.read(_COUNT.size)
        dtype = dtypes.get(key) if isinstance(key, str) else None
        if dtype is None or len(count) < _COUNT.size:
            raise FileError("the file ends too early, or holds a storage that nothing speaks of", where=where)
        size = max(_COUNT.unpack(count)[0], 0) * SIZES[dtype]
        start += _COUNT.size
        check_promise(size, part.size - start, where)
        places[key] = Place(size, start)
        start += size

    def storage(identity: Any) -> Strided | None:
        if not _is_storage(identity, str) or identity[2] not in places:
            return None
        dtype, place = dtypes[identity[2]], places[identity[2]]
        view = identity[5] if len(identity) > 5 and isinstance(identity[5], tuple) and len(identity[5]) == 3 else None
        offset = view[1] if view and type(view[1]) is int and view[1] >= 0 else 0
        return Strided(place, dtype, (place.size // SIZES[dtype],), (1,), offset, big_endian)

    inside = tensors_in(pickle, storage, where)
    return PickleFile(path, "a file of torch.save", pickle.value, pickle.called, **vars(inside))


def _torch_tar(path: Path, file: mmap.mmap) -> PickleFile:
    pickle, there = read_tar(file, str(path))

    def elsewhere(identity: Any) -> Strided | None:
        known = isinstance(identity, str) and identity.isdecimal() and len(identity) <= MAX_DIGITS
        return there.get(int(identity)) if known else None

    inside = tensors_in(pickle, elsewhere, str(path))
    return PickleFile(path, "a file of torch.save", pickle.value, pickle.called, **vars(inside))


def _plain(path: Path, file: mmap.mmap) -> PickleFile:
    """A pickle alone, or one of joblib with the numbers of each array behind what says its shape."""
    where = str(path)
    inline: list[Strided] = []

    def skip_numbers(record: Record) -> None:
        state = record.state
        if record.name not in JOBLIB or not isinstance(state, dict):
            return
        dtype, shape = numpy_dtype(state.get("dtype")), state.get("shape")
        if dtype is None or not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**62 for n in shape):
            raise FileError("joblib's array of objects", allowed="numbers; save them as .npz", where=where)
        if state.get("numpy_array_alignment_bytes") is not None:
            file.seek(int.from_bytes(file.read(1), "little"), io.SEEK_CUR)
        size, start = math.prod(shape) * SIZES[dtype[0]], file.tell()
        check_promise(size, file.size() - start, where)
        strides = contiguous(shape, state.get("order") == "F")
        record.name, record.args, record.state = PERSISTENT, len(inline), None
        inline.append(checked(Strided(Place(size, start), dtype[0], shape, strides, 0, dtype[1]), where))
        file.seek(start + size)

    pickle = load(file, where, skip_numbers)
    inside = tensors_in(pickle, lambda at: inline[at] if type(at) is int and at < len(inline) else None, where)
    return PickleFile(path, "a pickle", pickle.value, pickle.called, **vars(inside))
