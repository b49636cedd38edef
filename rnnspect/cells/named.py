"""A cell of somebody's own where a spec has the name of a cell."""

from __future__ import annotations

from typing import Any, Self

from rnnspect.cells.checking import check_cell
from rnnspect.cells.interface import Cell


class CellName(str):
    """The name of a cell that is none of ours; `of` is the cell itself.

    Raises `InputError` for a cell that is not written as it has to be, with the line.
    """

    of: Cell

    def __new__(cls, cell: Cell) -> Self:
        check_cell(cell)
        made = super().__new__(cls, cell.name)
        made.of = cell
        return made

    def __getnewargs__(self) -> tuple[Any]:
        """What a copy is made of."""
        return (self.of,)

    def __eq__(self, other: object) -> bool:
        return self.of == other.of if isinstance(other, CellName) else str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__
