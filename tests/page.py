"""A campaign's table in a page of docs/, between two comments: `<!-- NAME -->` and `<!-- end of NAME -->`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def put_into(page: Path, name: str, lines: Iterable[str]) -> None:
    """Writes the lines in place of those that stand there. Raises `ValueError` for a page without the comments."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"{page} has no place for {name}")
    between = "\n".join(lines)
    page.write_text(f"{text[: found.end(1)]}\n{between}\n\n{text[found.start(2) :]}", encoding="utf-8")
