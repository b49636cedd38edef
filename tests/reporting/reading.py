"""A page read as a browser would read it: its data out of the script element, and arrays out of the data."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np


class Elements(HTMLParser):
    """Every element with its attributes, and the text inside of each script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def data_of(page: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def array_of(made: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(made["data"]), "<" + made["type"]).reshape(made["shape"])


def cells_of(picture: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest number of each cell, as the page says them."""
    if "values" in picture:
        return array_of(picture["values"]), array_of(picture["values"])
    low, high = (
        picture["origin"] + array_of(picture[name]).astype(float) * picture["step"] for name in ("low", "high")
    )
    return low, high


def map_of(data: dict[str, Any], layer: int, quantity: str, shown: str = "equations") -> dict[str, Any]:
    maps = data["layers"][layer]["maps"]
    return next(one["picture"] for one in maps if (one["quantity"], one["shown"]) == (quantity, shown))
