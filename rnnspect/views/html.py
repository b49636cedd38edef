"""What a terminal shows, as static HTML: the same lines and tables, in the page's own colours, light or dark."""

from __future__ import annotations

import html
import itertools
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rnnspect.views.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

HUES = {"red": "#f00", "cyan": "#08f", "green": "#0a0", "yellow": "#b80", "magenta": "#c0c"}
SHARE = 45
"""Percent of the page's own text colour in each hue: as it is dark on light and light on dark, so is every hue."""
_CLASSES = {"bold": "b", "dim": "d"} | {hue: hue[0] for hue in HUES}
_MIXED = "".join(
    f".rnnspect .{_CLASSES[hue]}{{color:color-mix(in srgb,currentColor {SHARE}%,{colour})}}"
    for hue, colour in HUES.items()
)
_STYLE = (
    ".rnnspect{font-family:monospace;overflow-x:auto}"
    ".rnnspect p{margin:0;white-space:pre-wrap;text-align:left}"
    ".rnnspect table{border-collapse:collapse;margin:.5em 0;border:0;color:inherit;font:inherit}"
    ".rnnspect caption{text-align:left;font-weight:bold;white-space:nowrap;color:inherit}"
    ".rnnspect tr{background:none}"
    ".rnnspect :is(th,td){padding:0 .8em 0 0;text-align:right;white-space:pre;border:0}"
    ".rnnspect .l{text-align:left}"
    ".rnnspect .e>*{border-bottom:1px solid color-mix(in srgb,currentColor 30%,transparent)}"
    ".rnnspect .b{font-weight:bold}.rnnspect .d{opacity:.7}"
) + _MIXED


def as_html(parts: Iterable[RenderableType]) -> str:
    """Of rich's parts those that our views are made of: texts of one style, tables, and either of them indented."""
    return f'<div class="rnnspect"><style>{_STYLE}</style>{"".join(map(_part, parts))}</div>'


def _part(part: RenderableType) -> str:
    if isinstance(part, Padding):
        return f'<div style="margin-left:{part.left}ch">{_part(part.renderable)}</div>'
    if isinstance(part, Table):
        return "".join(_table(part))
    assert isinstance(part, Text), part
    return f"<p{_class(part)}>{_escaped(part)}</p>"


def _table(table: Table) -> Iterator[str]:
    yield "<table>"
    if isinstance(table.title, str):
        yield f"<caption>{_escaped(table.title.strip())}</caption>"
    left = ["" if column.justify == "right" else "l" for column in table.columns]
    heads = (_cell("th", column.header, side) for column, side in zip(table.columns, left, strict=True))
    yield f'<tr class="e">{"".join(heads)}</tr>'
    cells = zip(*(column.cells for column in table.columns), strict=True)
    for row, of_row in itertools.zip_longest(table.rows, cells):
        made = (_cell("td", cell, side) for cell, side in zip(of_row, left, strict=True))
        yield f"<tr{_attribute('e' if row.end_section else '')}>{''.join(made)}</tr>"
    yield "</table>"


def _cell(tag: str, cell: RenderableType, side: str) -> str:
    assert isinstance(cell, str | Text), cell
    return f"<{tag}{_class(cell, side)}>{_escaped(cell)}</{tag}>"


def _class(text: str | Text, first: str = "") -> str:
    styles = "" if isinstance(text, str) else str(text.style)
    return _attribute(" ".join(filter(None, (first, *(_CLASSES[style] for style in styles.split())))))


def _attribute(classes: str) -> str:
    return f' class="{classes}"' if classes else ""


def _escaped(text: str | Text) -> str:
    """Text out of files ends no element, and none of its control characters is obeyed."""
    return html.escape("\n".join(map(printable, str(text).split("\n"))))
