"""The sizes of what a cell declares, as its file says them: hidden_size, input_size, a whole number, the name of a
constant of the cell, or hidden_size/heads, which must divide without a rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

Size = int | str


class Units(int):
    """A number of units, and what people call it."""

    words: str

    def __new__(cls, count: int, words: str) -> Self:
        made = super().__new__(cls, count)
        made.words = words
        return made

    def __str__(self) -> str:
        return self.words


def counted(size: Size, known: Mapping[str, float]) -> int:
    """Raises `ValueError`, in words, for a size that is none with these numbers."""
    if isinstance(size, int):
        return size
    whole, _, parts = size.partition("/")
    for name in filter(None, (whole, parts)):
        if name not in known:
            raise ValueError(f"{name} is not a size")
        if known[name] != int(known[name]) or known[name] < 1:
            raise ValueError(f"{name} is {known[name]:g}, which is not a size")
    left, right = int(known[whole]), int(known[parts]) if parts else 1
    if left % right:
        raise ValueError(f"{whole} is {left}, which is not a multiple of {parts} ({right})")
    return left // right


def in_words(sizes: tuple[Size, ...]) -> str:
    """hidden_size × d_state"""
    return " × ".join(map(str, sizes))


def product(sizes: tuple[Size, ...], known: Mapping[str, float]) -> Units:
    """How many numbers there are of that shape."""
    return Units(math.prod(counted(one, known) for one in sizes), in_words(sizes).replace(" × ", "·"))
