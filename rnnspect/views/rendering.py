"""From rich's tables to text: as wide as the terminal, in colour only where there is one, or in a picture of one."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnnspect.views.picture import as_svg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType


@dataclass(frozen=True)
class Screen:
    """What the text is for: `width` None is rich's own guess (the terminal, COLUMNS, or 80). With a `picture`, its
    title, the text is an SVG."""

    terminal: bool = False
    width: int | None = None
    picture: str | None = None


def rendered(parts: Iterable[RenderableType], screen: Screen) -> str:
    console = _console(screen)
    for part in parts:
        unbroken = getattr(part, "no_wrap", False) is True
        if unbroken and screen.picture is not None and isinstance(part, Text):
            console.width = max(console.width, part.cell_len)
        console.print(part, soft_wrap=unbroken)
    if screen.picture is not None:
        return as_svg(console, screen.picture)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def width_of(screen: Screen) -> int:
    return _console(screen).width


def table(*columns: str, title: str | None = None) -> Table:
    """An open table; columns whose name begins with > are aligned to the right."""
    made = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    return made


def _console(screen: Screen) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=screen.terminal,
        force_jupyter=False,  # where rich finds itself in a notebook it would print there, not into the text
        width=screen.width,
        markup=False,
        highlight=False,
        emoji=False,
        record=screen.picture is not None,
    )
