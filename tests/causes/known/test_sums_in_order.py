"""Sums in float16 are recomputed where their order is a usual one, so that a few steps of a run name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.causes.functions import to_float16
from tests.causes.hooked import ROWS, Hooks, Network, sigmoid

Array = Any
Sum = Callable[..., Array]


def whole_products(start: Array, *products: tuple[Array, Array]) -> Array:
    """What a C compiler makes of `s += (_Float16)w * (_Float16)v` where the processor has no such product."""
    total = to_float16(start)
    for v, w in products:
        for k in range(w.shape[1]):
            total = to_float16(total + to_float16(v[:, k, None]) * to_float16(w[:, k]))
    return total


def rounded_products(start: Array, *products: tuple[Array, Array]) -> Array:
    total = start.astype(np.float16)
    for v, w in products:
        for k in range(w.shape[1]):
            total = total + v[:, k, None].astype(np.float16) * w[:, k].astype(np.float16)
    return total.astype(np.float32)


def once(start: Array, *products: tuple[Array, Array]) -> Array:
    return to_float16(start + sum(to_float16(v) @ to_float16(w).T for v, w in products))


def in_one_sum(network: Network, summed: Sum, h_first: bool = False) -> dict[str, Array]:
    """The run of a plain RNN or an LSTM, whose gates are one sum that begins with the biases."""
    p, (h, c), out = network.p["_l0"], network.states[:, 0], []
    for x in network.x:
        products = (x, p["weight_ih"]), (h, p["weight_hh"])
        s = summed(p["bias_ih"] + p["bias_hh"], *products[:: -1 if h_first else 1])
        if network.kind == "rnn":
            h = np.tanh(s)
        else:
            i, f, g, o = np.split(s, ROWS["lstm"], -1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return {"l0.forward.h": np.stack(out, 1).astype(np.float32)}


def its_causes(network: Network, recorded: dict[str, Array]) -> list[tuple[str, dict[str, Any]]]:
    verdict = network.check(recorded)
    assert verdict.verdict == "differ"
    return [(cause.name, cause.parameters) for cause in verdict.causes]


NAMED = [("float16-sums", {"how": "in a usual order"})]


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
@pytest.mark.parametrize("summed", [whole_products, rounded_products, once])
@pytest.mark.parametrize("h_first", [False, True])
def test_one_sum_of_both_products_is_named(kind: str, summed: Sum, h_first: bool) -> None:
    network = Network(kind, steps=6, batch=2)
    assert its_causes(network, in_one_sum(network, summed, h_first)) == NAMED


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("summed", [whole_products, rounded_products, once])
def test_a_sum_for_each_product_is_named(kind: str, summed: Sum) -> None:
    network = Network(kind, steps=6, batch=2)

    def product(v: Array, w: Array) -> Array:
        return summed(np.zeros(len(w), np.float32), (v, w))

    assert its_causes(network, network.recorded(Hooks(product, product))) == NAMED


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_another_order_of_a_short_run_is_not(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows in the size of errors alone, for which these are too few values."""
    monkeypatch.setattr("rnnspect.causes.search.scopes.PAIRED", ())  # none of these is one of two; pairs take seconds
    network = Network(kind, steps=8, batch=2)

    def backwards(v: Array, w: Array) -> Array:
        return whole_products(np.zeros(len(w), np.float32), (v[:, ::-1], w[:, ::-1]))

    assert its_causes(network, network.recorded(Hooks(backwards, backwards))) == []
