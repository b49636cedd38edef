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
    data = base64.b64decode(made["data"])
    if made["type"] == "b2":  # the first two bytes of a float32
        return (np.frombuffer(data, "<u2").astype("u4") << 16).view("f4").reshape(made["shape"])
    return np.frombuffer(data, "<" + made["type"]).reshape(made["shape"])


def cells_of(picture: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest number of each cell, as the page says them."""
    if "values" in picture:
        return array_of(picture["values"]), array_of(picture["values"])
    low, high = (
        picture["origin"] + array_of(picture[name]).astype(float) * picture["step"] for name in ("low", "high")
    )
    return low, high


def map_of(data: dict[str, Any], layer: int, quantity: str, shown: str = "equations") -> dict[str, Any] | None:
    """A picture, None where the page derives it."""
    maps = data["layers"][layer]["maps"]
    return next(one["picture"] for one in maps if (one["quantity"], one["shown"]) == (quantity, shown))


def values_of(data: dict[str, Any], layer: int, quantity: str, shown: str = "equations") -> np.ndarray:
    """What the page shows of a quantity, every number of it: derived from what the file keeps."""
    assert map_of(data, layer, quantity, shown) is None
    kept = data["layers"][layer]["kept"]
    if shown == "engine":
        return array_of(kept["gave"][quantity]).astype(float)
    if shown == "equations":
        if quantity == "x":
            return given_of(data, layer, "x")
        every = [Exported(data, layer, step) for step in range(data["length"])]
        units = every[0].units(quantity)
        return np.array([[one.quantity(quantity, unit) for unit in range(units)] for one in every])
    manual, engine = (values_of(data, layer, quantity, which) for which in ("equations", "engine"))
    with np.errstate(invalid="ignore"):
        same = (manual == engine) | (np.isnan(manual) & np.isnan(engine))
        apart = np.where(same, 0, engine - manual)
        if shown == "difference":
            return apart
        bound = array_of(kept["bound"])
        ratio = np.where(np.isinf(bound) | same, 0, np.abs(apart) / bound)
    return np.where(np.isnan(ratio), np.inf, ratio)


def given_of(data: dict[str, Any], layer: int, name: str) -> np.ndarray:
    """x, or h or c of the step before, at every kept step."""
    one = data["layers"][layer]
    if one["kept"]["given"][name] is not None:
        return array_of(one["kept"]["given"][name]).astype(float)
    if name == "x":
        below = [array_of(other["kept"]["gave"]["h"]) for other in data["layers"] if other["layer"] == one["layer"] - 1]
        return np.concatenate(below, 1) if below else array_of(data["x"]).astype(float)
    gave, first = array_of(one["kept"]["gave"]["h"]), array_of(one["kept"]["h0"])[None]
    return np.concatenate([gave[1:], first] if one["direction"] == "reverse" else [first, gave[:-1]])


class Exported:
    """The equations of a layer at a kept step, by nothing but what is in the file, as the page evaluates them."""

    def __init__(self, data: dict[str, Any], layer: int, step: int) -> None:
        self._weights, self._derivable = data["weights"], data["layers"][layer]["derivable"]
        self._kept = step if data["whole"] else data["kept"].index(step)
        self._given = {name: given_of(data, layer, name)[self._kept] for name in data["layers"][layer]["kept"]["given"]}
        self._known: dict[tuple[int, int], float] = {}
        projection = self._derivable["projection"]
        self._roots = self._derivable["equations"] | ({"input_projection": projection} if projection else {})

    def units(self, name: str) -> int:
        return self._roots[name]["units"]

    def quantity(self, name: str, unit: int) -> float:
        return self.value(self._roots[name]["at"], unit)

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
                return float(self._given[one["name"]][unit])
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
