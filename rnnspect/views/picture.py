"""What a terminal shows, as an SVG that stands alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.views.text import printable

if TYPE_CHECKING:
    from rich.console import Console

# rich's own template asks a web server for its font.
_TEMPLATE = """\
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


def as_svg(console: Console, title: str) -> str:
    """All that a recording console was given, in colour, under a title. The picture loads nothing from anywhere."""
    return console.export_svg(title=printable(title), code_format=_TEMPLATE)
