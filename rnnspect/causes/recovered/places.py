"""Which rows or columns of a matrix, in as few words as say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rnnspect.causes.recovered.part import ParameterPart
from rnnspect.errors import listed

_SHOWN = 8


def rows_said(part: ParameterPart, rows: set[int], others: set[int]) -> str:
    """gate f; head 1 of gate q; the rows of unit 3; rows 3 to 7. `others` are rows that may belong to them or not, as
    they show nothing."""
    for said, wanted in (*_gates(part, rows), *_units(part, rows)):
        if rows <= wanted <= rows | others:
            return said
    return counted("row", rows)


def counted(noun: str, places: Iterable[int]) -> str:
    """row 3; rows 3 to 7; 3 rows (2, 18, 34)"""
    every = sorted(places)
    if len(every) == 1:
        return f"{noun} {every[0]}"
    if len(every) > 2 and every[-1] - every[0] == len(every) - 1:
        return f"{noun}s {every[0]} to {every[-1]}"
    return f"{len(every)} {noun}s ({', '.join(map(str, every[:_SHOWN]))}{', …' if len(every) > _SHOWN else ''})"


def _gates(part: ParameterPart, rows: set[int]) -> Iterator[tuple[str, set[int]]]:
    """All rows of some gates; then all that some heads have of them."""
    for heads in {1, part.packed.heads}:
        touched: list[str] = []
        wanted: set[int] = set()
        start = 0
        for gate, size in part.packed.gates:
            height = size // heads if size % heads == 0 else size
            for head, first in enumerate(range(start, start + size, height)):
                block = set(range(first, first + height))
                if rows & block:
                    wanted |= block
                    touched.append(f"gate {gate}" if heads == 1 else f"head {head} of gate {gate}")
            start += size
        if touched:
            several = [one.removeprefix("gate ") for one in touched]
            yield f"gates {listed(several)}" if heads == 1 and len(touched) > 1 else listed(touched), wanted


def _units(part: ParameterPart, rows: set[int]) -> Iterator[tuple[str, set[int]]]:
    """All rows of some units, where each has one in every gate."""
    sizes = {size for _, size in part.packed.gates}
    if len(part.packed.gates) > 1 and len(sizes) == 1:
        (size,) = sizes
        units = {row % size for row in rows}
        wanted = {gate * size + unit for gate in range(len(part.packed.gates)) for unit in units}
        yield f"the rows of {counted('unit', units)}", wanted
