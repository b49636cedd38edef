"""Which rows or columns of a matrix, in as few words as possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rnnspect.causes.recovered.part import ParameterPart
from rnnspect.errors import listed

_SHOWN = 8


def rows_said(part: ParameterPart, rows: set[int], others: set[int]) -> str:
    """gate f; head 1 of gate q; the rows of unit 3; rows 3 to 7. `others` are rows that may be included or not, since
    nothing is known of them."""
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
    """All rows of the gates that have one of these rows; then all rows of the heads that have one."""
    for heads in sorted({1, part.packed.heads}):
        touched: dict[str, list[str]] = {}
        wanted: set[int] = set()
        for (gate, _), each in zip(part.packed.gates, part.packed.slices(heads), strict=True):
            for head, of in enumerate(each):
                block = set(range(of.start, of.stop))
                if rows & block:
                    wanted |= block
                    touched.setdefault("" if len(each) == 1 else f"head {head} of ", []).append(gate)
        if touched:
            yield listed(f"{of}gate{'s' * (len(every) > 1)} {listed(every)}" for of, every in touched.items()), wanted


def _units(part: ParameterPart, rows: set[int]) -> Iterator[tuple[str, set[int]]]:
    """All rows of the units that have one of these rows, where each unit has one row in every gate."""
    sizes = {size for _, size in part.packed.gates}
    if len(part.packed.gates) > 1 and len(sizes) == 1:
        (size,) = sizes
        units = {row % size for row in rows}
        wanted = {gate * size + unit for gate in range(len(part.packed.gates)) for unit in units}
        yield f"the rows of {counted('unit', units)}", wanted
