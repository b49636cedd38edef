"""A picture with fewer cells than numbers leaves none of them outside of its cell, as kept and as the page reads it."""

from __future__ import annotations

import itertools

import hypothesis.extra.numpy as numbers
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnspect.reporting.downsampling import HUGE, LEAST, MINUS, NAN, PLUS, blank, picture_of
from rnnspect.views.report.pictures import EMPTY, picture_document, wide_picture_document
from tests.reporting.reading import array_of, cells_of

SHAPES = st.tuples(st.integers(1, 60), st.integers(1, 30))
ANY = numbers.arrays(np.float64, SHAPES, elements=st.floats(width=64))


def cell_of_each(picture, values):
    """For every number the place of its cell."""
    steps, units = np.indices(values.shape)
    return steps // picture.per_step, units // picture.per_unit


@given(ANY, st.integers(0, 3000))
@example(np.pad([[2.22507386e-313]], ((0, 20), (0, 20))), 0)
def test_every_number_is_inside_of_its_cell(values, cells):
    picture = picture_of(values, cells)
    assert picture.low.size <= max(cells, LEAST)
    at = cell_of_each(picture, values)
    document = picture_document(picture, "<f8")
    low, high = cells_of(document)
    finite = np.abs(values) < HUGE
    assert (low[at] <= values)[finite].all()
    assert (values <= high[at])[finite].all()
    if picture.exact:
        np.testing.assert_array_equal(low, values)
        return
    flags = array_of(document["flags"]) if "flags" in document else np.zeros(low.shape, int)
    for flag, is_odd in ((NAN, np.isnan(values)), (PLUS, values >= HUGE), (MINUS, values <= -HUGE)):
        expected = np.zeros(low.shape, bool)
        np.logical_or.at(expected, at, is_odd)
        np.testing.assert_array_equal(flags & flag > 0, expected)
    has_finite = np.zeros(low.shape, bool)
    np.logical_or.at(has_finite, at, finite)
    np.testing.assert_array_equal(flags & EMPTY > 0, ~has_finite)


@given(numbers.arrays(np.float64, SHAPES, elements=st.floats(-1e300, 1e300)), st.integers(0, 3000))
def test_a_cell_is_no_wider_than_its_numbers(values, cells):
    """To a level of the 65,535 between the smallest and the largest number of all."""
    picture = picture_of(values, cells)
    document = picture_document(picture, "<f8")
    low, high = cells_of(document)
    at = cell_of_each(picture, values)
    smallest, largest = np.full(low.shape, np.inf), np.full(low.shape, -np.inf)
    np.minimum.at(smallest, at, values)
    np.maximum.at(largest, at, values)
    # Two levels: one for rounding outwards, one for the rounding of origin + n · step itself.
    level = 2 * document.get("step", 0.0)
    assert (smallest - low <= level).all()
    assert (high - largest <= level).all()


@given(ANY, st.integers(0, 3000), st.randoms())
def test_the_order_in_which_it_is_painted_does_not_matter(values, cells, random):
    whole = picture_of(values, cells)
    edges = sorted({0, len(values), *(random.randrange(len(values)) for _ in range(4))})
    pieces = list(itertools.pairwise(edges))
    random.shuffle(pieces)
    painted = blank(*values.shape, cells)
    for start, stop in pieces:
        painted.paint(start, values[start:stop])
    for name in ("low", "high", "flags"):
        np.testing.assert_array_equal(getattr(painted, name), getattr(whole, name))


SPANNING = st.one_of(
    st.floats(width=64),
    st.builds(lambda size, power: size * 10.0**power, st.floats(-10, 10), st.integers(-300, 300)),
    st.just(0.0),
)


@pytest.mark.slow
@given(numbers.arrays(np.float64, SHAPES, elements=SPANNING), st.integers(0, 3000))
def test_of_gradients_every_number_is_inside_of_its_cell_however_small(values, cells):
    """What float32 cannot hold is infinite on the page, and said to be there."""
    picture = picture_of(values, cells)
    document = wide_picture_document(picture)
    low, high = cells_of(document)
    if picture.exact:
        np.testing.assert_array_equal(low, values)
        return
    at = cell_of_each(picture, values)
    largest = float(np.finfo("f4").max) * (1 - 2.0**-8)
    held = np.abs(values) <= largest
    flags = array_of(document["flags"]) if "flags" in document else np.zeros(low.shape, int)
    inside = (low[at] <= values) & (values <= high[at])
    assert inside[held & (flags[at] & EMPTY == 0)].all()
    for flag, beyond in ((PLUS, values > float(np.finfo("f4").max)), (MINUS, values < -float(np.finfo("f4").max))):
        assert (flags[at] & flag > 0)[beyond].all()
    assert (flags[at] & NAN > 0)[np.isnan(values)].all()
    assert (flags[at] & EMPTY == 0)[held].all()


@pytest.mark.slow
@given(numbers.arrays(np.float64, SHAPES, elements=SPANNING.filter(np.isfinite)), st.integers(0, 500))
def test_of_gradients_a_cell_ends_within_one_percent_of_its_numbers(values, cells):
    """Two bytes of a float32 keep 8 bits of a number: cutting off the others changes it by less than 2⁻⁷. Below 2⁻¹²⁶
    float32 has fewer bits: there by less than 2⁻¹³³, the smallest number of two bytes."""
    values = np.clip(values, -1e38, 1e38)
    picture = picture_of(values, cells)
    low, high = cells_of(wide_picture_document(picture))
    at = cell_of_each(picture, values)
    smallest, largest = np.full(low.shape, np.inf), np.full(low.shape, -np.inf)
    np.minimum.at(smallest, at, values)
    np.maximum.at(largest, at, values)
    assert (smallest - low <= np.abs(smallest) * 2.0**-7 + 2.0**-133).all()
    assert (high - largest <= np.abs(largest) * 2.0**-7 + 2.0**-133).all()
