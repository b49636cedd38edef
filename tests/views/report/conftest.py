"""A page in the browser, and what it does that it should not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Opened:
    """A page, and everything that it said, asked for, or got wrong."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def map(self, quantity: str, shown: str, layer: int = 0) -> Any:
        """The canvas of a heat map, by how its caption begins."""
        section = self.page.locator("section", has=self.page.locator("h2", has_text=f"Layer {layer}")).first
        return section.locator(f'canvas.map[aria-label^="{quantity}: {shown}"]')

    def at(self, canvas: Any, step: int, unit: int, steps: int, units: int) -> dict[str, float]:
        """The middle of a cell."""
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        return {"x": (step + 0.5) / steps * box["width"], "y": (unit + 0.5) / units * box["height"]}

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens the text of a page from disk. At the end nobody may have complained."""
    contexts, pages = [], []

    def open_page(text: str, width: int = 1200, scheme: str = "light") -> Opened:
        path = tmp_path / "report.html"
        path.write_text(text)
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        found = Opened(context.new_page())
        pages.append(found)
        note = found.complaints.append
        found.page.on("console", lambda message: note(f"console: {message.text}"))
        found.page.on("pageerror", lambda error: note(f"error: {error}"))
        found.page.on("dialog", lambda dialog: (note(f"dialog: {dialog.message}"), dialog.dismiss()))
        found.page.on("request", lambda request: request.url == path.as_uri() or note(f"request: {request.url}"))
        found.page.goto(path.as_uri())
        found.page.wait_for_selector("html[data-ready]")
        return found

    yield open_page
    found = [complaint for page in pages for complaint in page.complaints]
    for context in contexts:
        context.close()
    assert found == []
