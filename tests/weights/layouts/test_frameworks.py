"""Every row of the table against the framework itself, and every mistake in a row noticed there."""

from __future__ import annotations

import itertools
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from rnnspect.weights import layouts
from rnnspect.weights.layouts.packing import lost, pack
from tests.marks import sampled
from tests.weights.layouts import equations
from tests.weights.layouts.runners import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnspect.network.parameters import LayerParameters
    from rnnspect.weights.layouts import Layout, Packing

ROWS = [(name, form) for name in RUNNERS for form in layouts.find(name).cells]
RELU = {"haiku"}
"""Whose RNN cannot have tanh."""
EQUAL = 5
"""I = H too: there a transposed matrix passes every check of shapes."""


def framework(name: str, form: str, layout: Layout, p: LayerParameters, width: int) -> np.ndarray:
    arrays = {key: value.numpy() for key, value in pack(layout, form, p).items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the framework, about itself
            return RUNNERS[name](form, arrays, *equations.sequence(width=width))
    except ImportError as error:
        pytest.skip(f"skipped: {name} is not installed ({error})")


def holdable(layout: Layout, form: str, p: LayerParameters) -> LayerParameters:
    """The same parameters without what the layout has no place for: zeros there."""
    for one in lost(layout, form, p):
        assert one.name == "b_hn"
        p.bias_hh[-equations.H :] = 0  # type: ignore[index]
    return p


@pytest.mark.parametrize("width", [equations.I, EQUAL])
@pytest.mark.parametrize(("name", "form"), ROWS)
def test_the_framework_computes_the_equations(name: str, form: str, width: int):
    layout = layouts.find(name)
    p = holdable(layout, form, equations.parameters(form, width=width))
    expected = equations.run(form, p, *equations.sequence(width=width), relu=name in RELU)
    found = framework(name, form, layout, p, width)
    assert np.abs(found - expected).max() < equations.TOLERANCE * max(1, np.abs(expected).max())


def add_up(packing: Packing, word: str, other: str) -> bool:
    """Whether two blocks are the two biases of one sum: exchanging them is no mistake."""
    return word[0] == other[0] == "b" and word[-1] == other[-1] and (packing.form, word[-1]) != ("gru", "n")


def mutants(packing: Packing) -> Iterator[tuple[str, Packing]]:
    """Each packing with one mistake that leaves every shape as it is."""
    names = list(packing.arrays)
    for name, line in packing.arrays.items():
        words = re.findall(r"[^ ;]+", line)
        for word, other in itertools.pairwise(words):
            if add_up(packing, word, other):
                continue
            exchanged = re.sub(r"[^ ;]+", lambda m: {word: other, other: word}.get(m[0], m[0]), line)  # noqa: B023
            yield f"{name}: {word} and {other} exchanged", replace(packing, arrays={**packing.arrays, name: exchanged})
        for word in words:
            turned = word.removeprefix("-") if word.startswith("-") else "-" + word
            line_turned = re.sub(r"[^ ;]+", lambda m: turned if m[0] == word else m[0], line)  # noqa: B023
            yield f"{name}: the sign of {word}", replace(packing, arrays={**packing.arrays, name: line_turned})
            if re.fullmatch(r"b_[ifgorznh]", word):
                for side in "ih":
                    half = re.sub(r"[^ ;]+", lambda m: f"b_{side}{m[0][-1]}" if m[0] == word else m[0], line)  # noqa: B023
                    other_side = {"i": "h", "h": "i"}[side]
                    dropped = replace(packing, arrays={**packing.arrays, name: half})
                    yield f"{name}: b_{other_side}{word[-1]} dropped", dropped
    for name, other in [(a, b) for a in names for b in names if a < b]:
        one, two = packing.arrays[name], packing.arrays[other]
        if len(one.split()) == len(two.split()) == 1 and one[0] == two[0] and not add_up(packing, one, two):
            yield f"{name} and {other} exchanged", replace(packing, arrays={**packing.arrays, name: two, other: one})
    yield "turned", replace(packing, orientation="in×out" if packing.orientation == "out×in" else "out×in")
    yield "forget bias", replace(packing, forget_bias=1.0 - packing.forget_bias)


@pytest.mark.parametrize(("name", "form"), sampled(ROWS, 2))
def test_every_mistake_in_a_row_is_noticed(name: str, form: str):
    """With I = H, so that none of them is a matter of shapes."""
    layout = layouts.find(name)
    packing = layout.cells[form]
    p = holdable(layout, form, equations.parameters(form, width=EQUAL))
    expected = equations.run(form, p, *equations.sequence(width=EQUAL), relu=name in RELU)
    survivors, tried = [], 0
    for mistake, mutant in mutants(packing):
        arrays, as_it_is = (pack(replace(layout, packings=(one,)), form, p) for one in (mutant, packing))
        same_shapes = all(arrays[key].shape == as_it_is[key].shape for key in as_it_is)
        if not same_shapes or all(torch.equal(arrays[key], as_it_is[key]) for key in as_it_is):
            continue  # another shape is refused by the framework; one-gate cells have nothing to exchange
        tried += 1
        found = framework(name, form, replace(layout, packings=(mutant,)), p, EQUAL)
        if np.abs(found - expected).max() < equations.NOTICED:
            survivors.append(mistake)
    assert survivors == []
    assert tried >= 3
