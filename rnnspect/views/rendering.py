"""From rich's texts and tables to characters: for a terminal, in plain text, as an SVG, or as HTML; and what a terminal
can show whose encoding has not all of them."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from rnnspect.network.recording import RECORDING, EngineInfo
from rnnspect.views.text import printable

# rich's own template asks a web server for its font.
_SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px Menlo, Consolas, "DejaVu Sans Mono", monospace;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""

HUES = {"red": "#f00", "cyan": "#08f", "green": "#0a0", "magenta": "#c0c"}
_WIDE = 10_000
"""Columns in which every number fits."""
SHARE = 45
"""Percent of the page's own text colour in each hue in HTML: dark on a light page and light on a dark one."""
_CSS = (
    ".rnnspect{overflow-x:auto}"
    ".rnnspect pre{margin:0;padding:0;background:none;color:inherit;white-space:pre;line-height:1.3;"
    'font-family:Menlo,Consolas,"DejaVu Sans Mono",monospace}'
    ".rnnspect .b{font-weight:bold}.rnnspect .d{opacity:.7}"
) + "".join(
    f".rnnspect .{hue[0]}{{color:color-mix(in srgb,currentColor {SHARE}%,{colour})}}" for hue, colour in HUES.items()
)


@dataclass(frozen=True)
class Screen:
    """What text is for: colours if it is a `terminal`; a `width` of None is rich's own guess (the terminal, COLUMNS, or
    80). With a `picture`, which is a title, the text is an SVG."""

    terminal: bool = False
    width: int | None = None
    picture: str | None = None


def rendered(parts: Iterable[RenderableType], screen: Screen) -> str:
    """Control characters are written out, whatever they come from: a terminal obeys none, and XML can hold the text."""
    console = _console(screen)
    for part in parts:
        unbroken = getattr(part, "no_wrap", False) is True
        if unbroken and screen.picture is not None and isinstance(part, Text):
            console.width = max(console.width, part.cell_len)
        console.print(part, soft_wrap=unbroken)
    if screen.picture is not None:
        console.print()  # rich cuts off what of the last line is below its letters: h_n would be h n
        return console.export_svg(title=printable(screen.picture), code_format=_SVG)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def as_html(parts: Iterable[RenderableType], width: int) -> str:
    """The lines of a terminal that is `width` characters wide, in the page's own colours: static HTML.

    rich's own export has one colour for light and dark pages, and takes twice the bytes.
    """
    console = _console(Screen(width=width))
    segments = (segment for part in parts for segment in console.render(part))
    lines = ("".join(map(_span, Segment.simplify(line))).rstrip() for line in Segment.split_lines(segments))
    text = "\n".join(lines).rstrip("\n")
    return f'<div class="rnnspect"><style>{_CSS}</style><pre>{text}</pre></div>'


def _span(segment: Segment) -> str:
    """Text out of files ends no element."""
    text, style = html.escape(segment.text, quote=False), segment.style
    said = text.strip(" ")
    if style is None or not said:
        return text
    classes = [name for name, chosen in (("b", style.bold), ("d", style.dim)) if chosen]
    classes += [style.color.name[0]] if style.color and style.color.name in HUES else []
    before, after = text.split(said, 1)
    return f'{before}<span class="{" ".join(classes)}">{said}</span>{after}' if classes else text


def width_of(screen: Screen) -> int:
    return _console(screen).width


def table(*columns: str, title: str | None = None, rows: Iterable[Iterable[RenderableType]] = ()) -> Table:
    """An open table; columns whose name begins with > are aligned to the right."""
    made = _OpenTable(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        collapse_padding=True,
    )
    _add_columns(made, columns)
    for row in rows:
        made.add_row(*row)
    return made


def plain_table(*columns: str) -> Table:
    """A table without lines, of which several stand on one screen; columns as those of `table`."""
    made = _OpenTable(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    _add_columns(made, columns)
    return made


class _OpenTable(Table):
    """Its columns that are aligned to the right hold numbers."""

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        numbers = [column.justify == "right" for column in self.columns[: len(cells)]]
        made = (_Whole(cell) if is_one else cell for cell, is_one in zip(cells, numbers, strict=False))
        super().add_row(*made, *cells[len(numbers) :], **settings)


@dataclass(frozen=True)
class _Whole:
    """A number that is shown whole or not at all: what is left of one that is cut off is another number."""

    number: RenderableType | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        shown = "" if self.number is None else self.number
        needed = Measurement.get(console, options.update(max_width=_WIDE), shown).maximum
        yield shown if needed <= options.max_width else "…"

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, "" if self.number is None else self.number)


def _add_columns(made: Table, columns: Iterable[str]) -> None:
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)


def indented(what: str | Table, style: str = "") -> Padding:
    """By two characters."""
    return Padding(Text(what, style) if isinstance(what, str) else what, (0, 0, 0, 2))


def beside(first: Text, said: Text, width: int | None = None, gap: int = 0) -> Table:
    """A short text, and another that is wrapped beside it."""
    grid = Table.grid(padding=(0, gap))
    grid.add_column(width=width, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(first, said)
    return grid


def command_line(verb: str, typed: str) -> str:
    """What to type next, of a network as it was typed before."""
    return f"rnnspect {verb} {typed}".rstrip()


def engine_line(engine: EngineInfo, subject: str = "") -> str:
    """torch.nn 2.9.0 on cpu, float32. `subject` names a recording, if it has a name: y.npy, float32."""
    made = f" {engine.version} on {engine.device}" if engine.version else ""
    name = printable(subject) if subject and engine.name == RECORDING else engine.name
    return f"{name}{made}, {engine.dtype}"


def engine_lines(engine: EngineInfo, stack_difference: float = 0.0) -> Iterator[Text]:
    """Who computed the numbers beside ours, under which settings of precision."""
    yield Text(engine_line(engine))
    if engine.precision:
        yield Text("in force: " + ", ".join(f"{name} = {value}" for name, value in engine.precision.items()))
    if stack_difference:
        yield Text(f"all layers in one run differ from each layer alone by up to {stack_difference:.2e}")


class _Console(Console):
    """Writes out the control characters in the texts that it is given: those of colours are made from it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment("\n".join(map(printable, text.split("\n"))), style, control)


def _console(screen: Screen) -> Console:
    return _Console(
        file=io.StringIO(),
        force_terminal=screen.terminal,
        force_jupyter=False,  # where rich finds itself in a notebook it would print there, not into the text
        width=screen.width or (80 if os.environ.get("COLUMNS") == "0" else None),  # as some editors say it
        markup=False,
        highlight=False,
        emoji=False,
        record=screen.picture is not None,
    )


_PLAIN = str.maketrans(
    {"─": "-", "━": "-", "·": ".", "×": "x", "…": "...", "−": "-", "–": "-", "▲": "^", "✓": "+", "✗": "x", "⊙": "*"}
    | {"σ": "sigmoid", "Σ": "sum", "α": "alpha", "β": "beta", "≤": "<=", "≥": ">=", "½": "1/2", "²": "^2"}
    | dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))
)


def encodable(text: str, encoding: str | None) -> str:
    """The same text in what the stream can encode: drawn characters become plain ones, others become escapes."""
    name = encoding or "utf-8"
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(name, "backslashreplace").decode(name)
    return text
