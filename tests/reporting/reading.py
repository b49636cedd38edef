"""A page read as a browser would read it: its data out of the script element, and arrays out of the data."""

from __future__ import annotations

import base64
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np

from tests.readding import FUNCTIONS


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


class Exported:
    """The equations of a layer at a kept step, by nothing but what is in the file, as the page evaluates them."""

    def __init__(self, data: dict[str, Any], layer: int, step: int) -> None:
        self._weights, self._derivable = data["weights"], data["layers"][layer]["derivable"]
        self._kept = self._derivable["steps"].index(step)
        self._known: dict[tuple[int, int], float] = {}

    def quantity(self, name: str, unit: int) -> float:
        return self.value(self._derivable["equations"][name]["at"], unit)

    def value(self, at: int, unit: int) -> float:
        if (at, unit) not in self._known:
            self._known[at, unit] = self._evaluated(self._derivable["expressions"][at], unit)
        return self._known[at, unit]

    def _evaluated(self, one: dict[str, Any], unit: int) -> float:
        if "values" in one:
            values = array_of(one["values"])
            return float(values[self._kept, unit] if values.ndim > 1 else values[unit])
        match one["kind"]:
            case "given":
                return float(array_of(self._derivable["given"][one["name"]])[self._kept, unit])
            case "quantity":
                return self.quantity(one["name"], unit)
            case "parameter":
                return float(array_of(self._weights[one["name"]]["values"])[one["row"] + unit, 0])
            case "sum":
                weights = array_of(self._weights[one["name"]]["values"])[one["row"] + unit].astype(float)
                return math.fsum(float(w) * self.value(one["of"][0], k) for k, w in enumerate(weights))
            case "number":
                return one["numbers"][0]
        operands = [self.value(part, unit) for part in one["of"]]
        match one["kind"]:
            case "+":
                return math.fsum(operands)
            case "−":
                return operands[0] - operands[1]
            case "·":
                return operands[0] * operands[1]
        return FUNCTIONS[one["kind"]](*operands, *one["numbers"])
