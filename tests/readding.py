"""A derivation's JSON document, added up again by nothing but what is printed in it: Python's own floats, math.fsum
and the functions as their formulas are written."""

from __future__ import annotations

import json
import math
from typing import Any

from rnnspect.views.documents import as_json, derivation_document

FUNCTIONS = {
    "sigmoid": lambda s: 1 / (1 + math.exp(-s)) if s >= 0 else math.exp(s) / (1 + math.exp(s)),
    "tanh": math.tanh,
    "relu": lambda s: max(0.0, s),
    "affine": lambda s, a, b: a * s + b,
    "leaky_relu": lambda s, a: s if s >= 0 else a * s,
    "thresholded_relu": lambda s, a: s if s > a else 0.0,
    "scaled_tanh": lambda s, a, b: a * math.tanh(b * s),
    "hard_sigmoid": lambda s, a, b: min(max(a * s + b, 0.0), 1.0),
    "elu": lambda s, a: s if s >= 0 else a * math.expm1(s),
    "softsign": lambda s: s / (1 + abs(s)),
    "softplus": lambda s: math.log1p(math.exp(-abs(s))) + max(s, 0.0),
    "limit": lambda s, m: min(max(s, -m), m),
    "within": lambda s, m: float(abs(s) <= m),
    "relu'": lambda s: float(s > 0),
    "affine'": lambda s, a, b: a,
    "leaky_relu'": lambda s, a: 1.0 if s >= 0 else a,
    "thresholded_relu'": lambda s, a: float(s > a),
    "scaled_tanh'": lambda s, a, b: a * b * (1 - math.tanh(b * s) ** 2),
    "hard_sigmoid'": lambda s, a, b: a if 0 <= a * s + b <= 1 else 0.0,
    "elu'": lambda s, a: 1.0 if s >= 0 else a * math.exp(s),
    "softsign'": lambda s: 1 / (1 + abs(s)) ** 2,
    "softplus'": lambda s: 1 / (1 + math.exp(-s)),
}
TWO_LIBRARIES = 8 * 2.0**-53
"""σ, tanh and the like by torch and by Python's math: each is right to a few units in the last place, absolute here
because none of them is above 1 unless it is nearly a straight line."""


def document_of(derivation: Any) -> dict[str, Any]:
    return json.loads(as_json(derivation_document(derivation)))


def readd(document: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Every printed number is what the printed numbers below it give; every parameter is the one it is called."""
    defined = {equation["address"]: equation["value"] for equation in document["equations"]}
    for equation in document["equations"]:
        _same(equation, defined, parameters)
    assert document["equations"][0]["value"] == document["point"]["manual"]


def _same(node: dict[str, Any], defined: dict[str, float], parameters: dict[str, Any]) -> float:
    value = node["value"]
    if "operation" not in node:
        if (address := node.get("address")) in defined:
            assert value == defined[address]
        elif address and address.startswith(("weight", "bias")):
            name, _, index = address.rstrip("]").partition("[")
            assert value == float(parameters[name][tuple(int(at) for at in index.split(", "))])
        return value
    if node["operation"] == "sum of products":
        for one in node["products"]:
            factors = [_same(one[factor], defined, parameters) for factor in ("weight", "operand")]
            assert one["value"] == factors[0] * factors[1]
        sizes = [abs(one["value"]) for one in node["products"]]
        assert sizes == sorted(sizes, reverse=True)
        _assert_sum([one["value"] for one in node["products"]], value)
        return value
    operands = [_same(one, defined, parameters) for one in node["operands"]]
    match node["operation"]:
        case "+":
            _assert_sum(operands, value)
        case "−":
            assert value == operands[0] - operands[1]
        case "·":
            assert value == operands[0] * operands[1]
        case function:
            again = FUNCTIONS[function](*operands, *node["numbers"])
            assert abs(value - again) <= TWO_LIBRARIES * max(1.0, abs(again)), function
    return value


def _assert_sum(terms: list[float], value: float) -> None:
    """Rounded once it is the very number; added one after the other, each of the k additions rounds a partial sum."""
    assert value == math.fsum(terms)
    assert abs(value - sum(terms)) <= len(terms) * 2.0**-53 * sum(map(abs, terms))
