"""One operator of a model in a file: its arrays, by the names of the format's schema, and its settings."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.files.dtypes import SIZES
from rnnspect.files.reading import Stored, check_promise

if TYPE_CHECKING:
    from torch import Tensor

READABLE = "float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32"
"""The dtypes of the arrays that are read."""


@dataclass(frozen=True)
class FileArray:
    """An array of a file: its shape and dtype at once, its numbers when they are asked for."""

    stored: Stored
    read: Callable[[], Tensor]
    packed: str = ""
    """How these numbers are stored in the file, such as "8-bit integers"; `read` gives the numbers that they stand
    for."""
    is_zero: Callable[[], bool] = lambda: False
    """Whether all bits of all its numbers are 0, as far as that is looked at. Loads no framework."""


@dataclass(frozen=True)
class Operator:
    """One operator of a graph, or layer of a network."""

    kind: str
    """As the format calls it."""
    name: str
    arrays: Mapping[str, FileArray]
    """The constants that it takes, by the schema's names."""
    settings: Mapping[str, Any]
    """By the schema's names."""
    computed: tuple[str, ...] = ()
    """Names of arrays that it takes and that the file does not hold: inputs, states, or results of other operators."""
    takes: str = ""
    """The name in the graph of x, its first input."""
    gives: tuple[str, ...] = ()
    """The names in the graph of its outputs."""
    gives_steps: bool = False
    """Whether the first output holds h of every step, in the axes of x."""
    starts: tuple[str, ...] = ()
    """Of h0 and c0 those that the file holds and that are not zero."""


def plain(data: memoryview, stored: Stored, where: str) -> FileArray:
    """An array stored as it is, of a dtype in `READABLE`. Raises `FileError` where bytes are missing."""
    check_promise(math.prod(stored.shape) * SIZES[stored.dtype], len(data), where)
    return FileArray(stored, lambda: tensor(data, stored), is_zero=functools.cache(lambda: are_zero(data)))


def are_zero(data: memoryview) -> bool:
    """Whether all bits are 0."""
    return not data.tobytes().strip(b"\0")


def as_float32(held: FileArray) -> FileArray:
    """The same numbers in float32."""
    stored = Stored(held.stored.shape, "float32")
    return FileArray(stored, lambda: held.read().float(), held.packed or held.stored.dtype)


def tensor(data: memoryview, stored: Stored) -> Tensor:
    """Numbers in new memory."""
    import torch

    kind: torch.dtype = getattr(torch, stored.dtype)
    count = math.prod(stored.shape)
    if not count:
        return torch.empty(stored.shape, dtype=kind)
    return torch.frombuffer(bytearray(data[: count * SIZES[stored.dtype]]), dtype=kind).reshape(stored.shape)
