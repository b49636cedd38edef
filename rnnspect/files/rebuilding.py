"""Rebuilds torch tensors and numpy arrays from the records of a pickle, by the exact names of the
functions that would make them. Nothing is called; numbers stay where they are until they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rnnspect.files.dtypes import SIZES
from rnnspect.files.pickle_inert import MAX_KEY, PERSISTENT, Named, Record
from rnnspect.files.strided import MAX_AXES, Affine, StoredBytes, Strided, checked, contiguous

Elsewhere = Callable[[Any], Strided | None]
"""Finds what a pickle says is stored elsewhere: a storage of torch as an array of one axis; None if it is none."""

_STORAGES = {"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Bool": "bool"}
_STORAGES |= {"Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Untyped": "uint8"}
_STORAGES |= {"QInt8": "int8", "QUInt8": "uint8", "QInt32": "int32"}
_STORAGES |= {"ComplexFloat": "complex64", "ComplexDouble": "complex128"}
_NUMBERS = re.compile(r"([<>=|]?)([biufc])(\d{1,2})")
"""numpy's name of a dtype of numbers: its byte order, kind and size in bytes."""
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
_WRAPPERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.autograd.variable.Variable",
    "torch.jit._pickle.restore_type_tag",
    "torch.jit._pickle.build_tensorlist",
    "torch.jit._pickle.build_boollist",
    "torch.jit._pickle.build_doublelist",
    "torch.jit._pickle.build_intlist",
}
"""Their first argument is all that matters here."""
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_TENSORS = {f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3")}
QUANTISED = "torch._utils._rebuild_qtensor"
_ARRAYS = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
_BUFFERS = {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
IN_BYTES = "torch.storage._load_from_bytes"
"""What Python's own pickle calls for the storage of a tensor: its argument is a file of torch.save."""
_HARMLESS = {
    IN_BYTES,
    *("torch.Size", "torch.device", "collections.OrderedDict", "collections.defaultdict", "collections.Counter"),
    *("builtins.dict", "builtins.set", "__builtin__.dict", "__builtin__.set", "_codecs.encode", "numpy.dtype"),
}
_KNOWN = _ARRAYS | _BUFFERS | {PERSISTENT, IN_BYTES}
MAX_WRAPPERS = 8


def runs_code(called: set[str]) -> set[str]:
    """Of the names that a pickle calls those that are more than a tensor, an array or a plain container."""
    return called - _WRAPPERS - _TENSORS - _ARRAYS - _BUFFERS - _HARMLESS - {_FROM_TYPE, QUANTISED}


def unwrapped(value: Any) -> Any:
    """A tensor without what torch wraps around it: a parameter, a class of its own, a type tag."""
    for _ in range(MAX_WRAPPERS):
        if not isinstance(value, Record) or not isinstance(value.args, tuple) or not value.args:
            break
        if value.name in _WRAPPERS:
            value = value.args[0]
        elif value.name == _FROM_TYPE and len(value.args) >= 3 and _is_of_torch(value.args[0]):
            value = Record(value.args[0].name, value.args[2])
        else:
            break
    return value


def _is_of_torch(called: Any) -> bool:
    return isinstance(called, Named) and called.name.startswith("torch._utils.")


def rebuilt(record: Record, elsewhere: Elsewhere, where: str) -> Strided | None:
    """The tensor or array that a record stands for; None where it stands for something else, or for a tensor without
    plain numbers (sparse).

    Raises `FileError` for one that does not fit into its bytes.
    """
    if record.name in (PERSISTENT, IN_BYTES):
        return _storage(record, elsewhere)
    if not isinstance(record.args, tuple):
        return None
    if record.name in _TENSORS:
        return _tensor(record.args, elsewhere, where)
    if record.name == QUANTISED and len(record.args) >= 5:
        affine = _affine(record.args[4], elsewhere, where)
        found = _tensor(record.args[:4], elsewhere, where)
        return None if found is None or affine is None else replace(found, quantised=affine)
    if record.name in _ARRAYS:
        return _array(record.state, where)
    if record.name in _BUFFERS and len(record.args) >= 4:
        buffer, dtype, shape, order, *axes = record.args
        return _from_buffer(buffer, dtype, shape, order, axes[0] if axes else None, where)
    return None


def is_tensor(record: Record) -> bool:
    """Whether a record is one that `rebuilt` knows, or one of torch's own kinds of tensors that it does not read."""
    return record.name.startswith("torch._utils.") or record.name in _KNOWN


def storage_dtype(named: Any) -> str | None:
    """torch's dtype of torch.FloatStorage and its like, of quantised numbers that of the integers; None for what is no
    storage."""
    if not isinstance(named, Named) or not named.name.startswith("torch.") or not named.name.endswith("Storage"):
        return None
    return _STORAGES.get(named.name.rpartition(".")[2].removesuffix("Storage"))


def is_storage(identity: Any) -> bool:
    """Whether this is ("storage", class, key, device, how many numbers, …), whose key is a text."""
    return (
        isinstance(identity, tuple)
        and len(identity) >= 5
        and identity[0] == "storage"
        and isinstance(identity[2], str)
        and len(identity[2]) <= MAX_KEY
        and type(identity[4]) is int
        and 0 <= identity[4] < 2**62
    )


def _storage(record: Record, elsewhere: Elsewhere) -> Strided | None:
    """The storage of torch that a record stands for; None for any other record."""
    if record.name == PERSISTENT:
        return elsewhere(record.args)
    if record.name != IN_BYTES or not isinstance(record.args, tuple) or len(record.args) != 1:
        return None
    return elsewhere(_undecoded(record.args[0]))


def _tensor(args: tuple[Any, ...], elsewhere: Elsewhere, where: str) -> Strided | None:
    """Arguments: storage, offset, shape, strides; then whether it needs gradients, hooks, the dtype of an untyped
    storage, and what is lazily done to it."""
    if len(args) < 4 or not isinstance(args[0], Record):
        return None
    storage = _storage(args[0], elsewhere)
    offset, shape, strides = args[1], sizes_in(args[2]), sizes_in(args[3])
    if storage is None or shape is None or strides is None or type(offset) is not int:
        return None
    if len(args) > 6 and isinstance(args[6], Named):
        dtype = args[6].name.removeprefix("torch.")
        if dtype not in SIZES:
            return None
        offset_in_bytes = storage.offset * SIZES[storage.dtype]
        storage = replace(storage, dtype=dtype, offset=offset_in_bytes // SIZES[dtype])
    lazily = args[-1] if len(args) > 6 and isinstance(args[-1], dict) else {}
    found = replace(
        storage,
        shape=shape,
        strides=strides,
        offset=storage.offset + offset,
        negative=lazily.get("neg") is True,
        conjugate=lazily.get("conj") is True,
    )
    return checked(found, where)


def _affine(said: Any, elsewhere: Elsewhere, where: str) -> Affine | None:
    """What a quantizer of torch says: how, the scale, the zero point; or of each channel its own, and their axis."""
    if not isinstance(said, tuple) or len(said) < 3 or not isinstance(said[0], Named):
        return None
    scale, zero = said[1:3]
    if said[0].name == "torch.per_tensor_affine" and isinstance(scale, float) and type(zero) is int:
        return Affine(scale, zero) if abs(zero) < 2**31 else None
    if said[0].name != "torch.per_channel_affine" or len(said) != 4 or type(said[3]) is not int:
        return None
    scales, zeros = (unwrapped(one) for one in (scale, zero))
    plain = [one.args for one in (scales, zeros) if isinstance(one, Record) and one.name in _TENSORS]  # not quantised
    each = [_tensor(args, elsewhere, where) for args in plain if isinstance(args, tuple)]
    scale, zero = each if len(each) == 2 else (None, None)
    return None if scale is None or zero is None else Affine(scale, zero, said[3])


def sizes_in(value: Any) -> tuple[int, ...] | None:
    """A shape, strides or an order of axes; None for anything else."""
    value = unwrapped(value)
    if isinstance(value, Record) and value.name == "torch.Size" and isinstance(value.args, tuple) and value.args:
        value = value.args[0]
    if not isinstance(value, tuple | list) or len(value) > MAX_AXES:
        return None
    return tuple(value) if all(type(size) is int for size in value) else None


def _array(state: Any, where: str) -> Strided | None:
    """What numpy keeps of an array: version, shape, dtype, whether the first axis varies fastest, bytes."""
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        return None
    shape, dtype, fortran, data = state[-4:]
    return _from_buffer(data, dtype, shape, "F" if fortran else "C", None, where)


def objects_in(record: Record) -> list[Any] | None:
    """The members of a pickled array of objects."""
    if record.name not in _ARRAYS or not isinstance(record.state, tuple) or not record.state:
        return None
    return record.state[-1] if isinstance(record.state[-1], list) else None


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any, where: str) -> Strided | None:
    known, sizes, place = numpy_dtype(dtype), sizes_in(shape), _place(data)
    if known is None or sizes is None or place is None:
        return None
    name, big_endian = known
    found = Strided(place, name, sizes, contiguous(sizes, order == "F"), 0, big_endian)
    moved = sizes_in(axes)
    if order == "K" and moved is not None and sorted(moved) == list(range(len(sizes))):
        found = replace(
            found,
            shape=tuple(sizes[axis] for axis in moved),
            strides=tuple(found.strides[axis] for axis in moved),
        )
    return checked(found, where)


def _undecoded(data: Any) -> Any:
    """Of bytes that an old protocol has as a text that text: each character is a byte."""
    is_text = isinstance(data, Record) and data.name == "_codecs.encode" and isinstance(data.args, tuple) and data.args
    return data.args[0] if is_text else data


def _place(data: Any) -> StoredBytes | None:
    data = _undecoded(data)
    if isinstance(data, Record) and data.name in ("builtins.bytes", "__builtin__.bytes") and data.args == ():
        data = b""
    return StoredBytes(len(data), data=data) if isinstance(data, bytes | bytearray | str) else None


def numpy_dtype(dtype: Any) -> tuple[str, bool] | None:
    """torch's name of a pickled dtype of numpy, and whether its bytes are big-endian; None for anything but numbers."""
    if not isinstance(dtype, Record) or dtype.name != "numpy.dtype" or not isinstance(dtype.args, tuple):
        return None
    kind = dtype.args[0] if dtype.args else None
    if isinstance(kind, Named) and kind.name.startswith("ml_dtypes."):
        kind = kind.name.removeprefix("ml_dtypes.")
        return (kind, False) if kind in SIZES else None
    match = _NUMBERS.fullmatch(kind) if isinstance(kind, str) else None
    if match is None:
        return None
    name = _KINDS[match[2]] + ("" if match[2] == "b" else str(8 * int(match[3])))
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else match[1]
    return (name, order == ">") if name in SIZES else None
