"""Tables whose rows are vectors: as many units as fit, and what is left out said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from rnnspect.views import text
from rnnspect.views.rendering import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

_MAGNITUDE = "magnitude"
_LEFT_OUT = 20
_PADDING = 2


@dataclass(frozen=True)
class Row:
    name: str
    values: list[float]
    is_difference: bool = False


@dataclass(frozen=True)
class Block:
    """Rows that belong together under one label, such as a step."""

    label: str
    rows: list[Row]


@dataclass(frozen=True)
class Gap:
    """Blocks that are not shown, in words."""

    text: str


def vector_tables(
    title: str,
    leads: tuple[str, str],
    blocks: Sequence[Block | Gap],
    units: list[int] | None,
    precision: int,
    width: int,
) -> Iterator[Table]:
    """One table with as many units as fit; where units were asked for, as many tables as show them all.

    `leads` are the names of the label column and of the column that names each row.
    """
    layout = _Layout(blocks, leads, precision, width)
    if units is None:
        everything = list(range(layout.widest))
        fits = layout.widest <= layout.columns(left_out=False)
        shown = everything if fits else everything[: layout.columns(left_out=True)]
        yield _table(title, leads, blocks, shown, precision, says_rest=not fits)
        return
    step = layout.columns(left_out=False)
    for start in range(0, len(units), step):
        part = units[start : start + step]
        yield _table(title, leads, blocks, part, precision, says_rest=False)
        title += ", continued" if start == 0 else ""


class _Layout:
    """How wide the columns of these blocks are."""

    def __init__(self, blocks: Sequence[Block | Gap], leads: tuple[str, str], precision: int, width: int) -> None:
        rows = [row for block in blocks if isinstance(block, Block) for row in block.rows]
        gaps = [len(block.text) for block in blocks if isinstance(block, Gap)]
        self.widest = max((len(row.values) for row in rows), default=0)
        self._number = max(
            (len(_cell(row, unit, precision)) for row in rows for unit in range(len(row.values))), default=1
        )
        labels = max((len(block.label) for block in blocks if isinstance(block, Block)), default=1)
        names = max([len(row.name) for row in rows] + gaps, default=1)
        lead = max(labels, len(leads[0])) + max(names, len(leads[1])) + len(_MAGNITUDE)
        self._free = width - lead - 3 * _PADDING

    def columns(self, left_out: bool) -> int:
        """How many columns of numbers fit; at least one."""
        free = self._free - (_LEFT_OUT + _PADDING if left_out else 0)
        return max(1, free // (max(self._number, len(f"[{self.widest}]")) + _PADDING))


def _table(
    title: str,
    leads: tuple[str, str],
    blocks: Sequence[Block | Gap],
    units: list[int],
    precision: int,
    says_rest: bool,
) -> Table:
    made = table(f">{leads[0]}", leads[1], *(f">[{unit}]" for unit in units), title=title)
    if says_rest:
        made.add_column("left out", no_wrap=True, style="dim")
    made.add_column(_MAGNITUDE, no_wrap=True, style="dim")
    shown = set(units)
    for block in blocks:
        if isinstance(block, Gap):
            made.add_row("…", block.text, end_section=True)
            continue
        for at, row in enumerate(block.rows):
            cells = [_cell(row, unit, precision) for unit in units]
            if says_rest:
                rest = [value for unit, value in enumerate(row.values) if unit not in shown]
                cells.append(Text(text.what_is_left_out(rest, row.is_difference, precision)))
            cells.append(Text("" if row.is_difference else text.sparkline(row.values, len(_MAGNITUDE))))
            made.add_row(block.label if at == 0 else "", row.name, *cells)
        made.add_section()
    return made


def _cell(row: Row, unit: int, precision: int) -> Text:
    if unit >= len(row.values):
        return Text("")
    value = row.values[unit]
    return text.styled_difference(value) if row.is_difference else text.styled(value, precision)
