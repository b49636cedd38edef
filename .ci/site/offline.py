"""The built site loads nothing from another host: python .ci/site/offline.py site

Looks at scripts, styles, fonts, pictures and frames of every page, style sheet and SVG. Links that a person follows are
not loaded, and are left alone. Of what lies in the site, each file must be there.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = ("src", "poster", "data", "background")
LINKED = ("a", "area", "base")
NOT_LOADED = {"canonical", "prev", "next", "alternate", "author", "license"}
IN_STYLE = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Loads(HTMLParser):
    """What a page loads, in the order in which it stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._in_style = tag == "style"
        wanted = [given[name] for name in LOADS if name in given]
        wanted += [part.split()[0] for part in given.get("srcset", "").split(",") if part.split()]
        if tag not in LINKED and not NOT_LOADED & set(given.get("rel", "").split()):
            wanted += [given[name] for name in ("href", "xlink:href") if name in given]
        self.found += [*wanted, *in_style(given.get("style", ""))]

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.found += in_style(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"


def in_style(text: str) -> list[str]:
    return [one or other for one, other in IN_STYLE.findall(text)]


def loaded(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".css":
        return in_style(text)
    page = Loads()
    page.feed(text)
    return page.found


def wrong(site: Path) -> list[str]:
    """A line for each thing that is loaded from elsewhere, or that is not there."""
    said = []
    for path in sorted(one for one in site.rglob("*") if one.suffix in {".html", ".css", ".svg"}):
        for target in loaded(path):
            parts = urlsplit(target.strip())
            name = path.relative_to(site)
            if parts.scheme in {"data", "blob", "about"}:
                continue
            if parts.scheme or parts.netloc:
                said.append(f"{name} loads {target}")
            elif parts.path and not is_there(site, path, unquote(parts.path)):
                said.append(f"{name} loads {target}, which is not there")
    return said


def is_there(site: Path, page: Path, target: str) -> bool:
    return (site / target.lstrip("/") if target.startswith("/") else page.parent / target).exists()


def main(folder: str) -> int:
    site = Path(folder)
    pages = len(list(site.rglob("*.html")))
    said = wrong(site)
    print("\n".join(said) if said else f"{pages} pages, and nothing in them is loaded from another host")
    return bool(said) or not pages


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
