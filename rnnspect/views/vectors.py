"""Tables whose rows are vectors: as many units as fit, and of the others between which numbers they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from rnnspect.views import text
from rnnspect.views.rendering import table

_BARS, _BAR_CELLS = "|value|", 9
_LEGEND = "bars show |value|, ▲ is above 1, ? is NaN"
_LEFT_OUT = 20
"""Characters of the column that says what is hidden."""
_HIDDEN = "other units"
_PADDING = 2


@dataclass(frozen=True)
class VectorRow:
    name: str
    values: list[float]
    is_difference: bool = False
    quiet: float = 0.0
    """The difference up to which it is one of rounding."""


@dataclass(frozen=True)
class VectorBlock:
    """Rows that belong together under one label, such as a step."""

    label: str
    rows: list[VectorRow]


def gap(text: str) -> VectorBlock:
    """Blocks that are not shown, in words."""
    return VectorBlock("…", [VectorRow(text, [])])


def hidden(steps: range) -> VectorBlock:
    """Steps that are not shown."""
    return gap(f"step {steps[0]} hidden" if len(steps) == 1 else f"steps {steps[0]}–{steps[-1]} hidden")


def legend(difference: str, shown: Iterable[object]) -> Iterator[Text]:
    """What to say above such tables: what a difference is, and what bars show where there are some."""
    columns = (column for one in shown if isinstance(one, Table) for column in one.columns)
    bars = _LEGEND if any(column.header == _BARS for column in columns) else ""
    if said := "; ".join(filter(None, (difference, bars))):
        yield Text(said, "dim")


def vector_tables(
    title: str,
    leads: tuple[str, str],
    blocks: Sequence[VectorBlock],
    units: list[int] | None,
    precision: int,
    width: int,
) -> Iterator[Table]:
    """One table with as many units as fit; where units were asked for, as many tables as show them all.

    `leads` are the heads of the column of labels and of the column of names. `precision` is a number of decimals.
    """
    rows = [row for block in blocks for row in block.rows]
    widest = max((len(row.values) for row in rows), default=0)
    numbers = [_cell(row, unit, precision) for row in rows for unit in range(len(row.values))]
    column = max(len(f"[{widest}]"), *map(len, numbers), 1) + _PADDING
    free = width - 2 * _PADDING
    free -= max(len(leads[0]), *(len(block.label) for block in blocks), 1)
    free -= max(len(leads[1]), *(len(row.name) for row in rows), 1)
    beside_bars = max(1, (free - _BAR_CELLS - _PADDING) // column)
    if units is not None:
        for start in range(0, len(units), beside_bars):
            said = title if start == 0 else f"{title}, continued"
            yield _table(said, leads, blocks, units[start : start + beside_bars], precision)
    elif widest <= beside_bars:
        yield _table(title, leads, blocks, range(widest), precision)
    elif widest <= free // column:  # a number says more than a bar
        yield _table(title, leads, blocks, range(widest), precision, ())
    else:
        free -= _LEFT_OUT + _PADDING
        with_bars = free - _BAR_CELLS - _PADDING
        fits = with_bars >= column  # where not even one unit does, bars are left out
        shown = range(max(1, (with_bars if fits else free) // column))
        yield _table(title, leads, blocks, shown, precision, (_HIDDEN, _BARS) if fits else (_HIDDEN,))


def _table(
    title: str,
    leads: tuple[str, str],
    blocks: Sequence[VectorBlock],
    units: Sequence[int],
    precision: int,
    beside: Sequence[str] = (_BARS,),
) -> Table:
    """The columns of these units, and `beside` them what is said of all."""
    made = table(f">{leads[0]}", leads[1], *(f">[{unit}]" for unit in units), title=title)
    for name in beside:
        made.add_column(name, no_wrap=True, style="dim")
    for block in blocks:
        for at, row in enumerate(block.rows):
            cells = [_cell(row, unit, precision) for unit in units]
            if _HIDDEN in beside:
                rest = [value for unit, value in enumerate(row.values) if unit not in units]
                cells.append(Text(text.what_is_left_out(rest, row.is_difference, precision)))
            if _BARS in beside:
                cells.append(Text("" if row.is_difference else text.sparkline(row.values, _BAR_CELLS)))
            made.add_row(block.label if at == 0 else "", row.name, *cells)
        made.add_section()
    return made


def _cell(row: VectorRow, unit: int, precision: int) -> Text:
    if unit >= len(row.values):
        return Text("")
    value = row.values[unit]
    if row.is_difference:
        return Text(text.difference(value), "dim" if abs(value) <= row.quiet else text.LOUD)
    return text.styled(value, precision)
