"""The numbers in the names of layers: which may be layers of one stack."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection

_COUNTED = re.compile(r"(?:.*[./])?[A-Z]\w*Cell_\d+", re.DOTALL)
_NUMBER = re.compile(r"\d{1,9}")


@functools.lru_cache(maxsize=1024)  # names of files: a process that reads many keeps no more of them
def numbered(prefix: str) -> tuple[str, tuple[int, ...]]:
    """A prefix without its numbers, and the numbers: none for lstm, 1 for lstm_1."""
    return re.sub(r"_?\d+", "", prefix), tuple(int(number) for number in _NUMBER.findall(prefix))


def is_counted(prefix: str) -> bool:
    """Whether Flax itself gave the name: it counts modules of a class in the order in which they are made (GRUCell_1),
    be they layers of a stack, branches or directions."""
    return _COUNTED.fullmatch(prefix) is not None


def is_between(lower: str, upper: str, stored: Collection[str]) -> bool:
    """Whether an array of the file is between two prefixes that differ in their numbers: one of layers_1, between
    layers_0 and layers_2."""
    pairs = enumerate(zip(numbered(lower)[1], numbered(upper)[1], strict=False))
    at, (first, last) = next(((at, pair) for at, pair in pairs if pair[0] != pair[1]), (0, (0, 0)))
    if last - first < 2:
        return False
    start = lower[: [*_NUMBER.finditer(lower)][at].start()]
    numbers = (_NUMBER.match(name, len(start)) for name in stored if name.startswith(start))
    return any(first < int(number[0]) < last for number in numbers if number)
