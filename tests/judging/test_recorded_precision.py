"""How a recording was rounded is read off its numbers: rightly where it was, and not at all where it was not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rnnspect.judging.recorded_precision import kept_exactly, otherwise
from rnnspect.judging.recorded_sample import Sample
from rnnspect.judging.rounding import RecordedPrecision, Rounding

pytestmark = pytest.mark.usefixtures("no_causes")

EXACT = RecordedPrecision()
FORMATS = {"%.2f": 2, "%.3f": 3, "%.4f": 4, "%.6f": 6, "%.1f": 1}
DIGITS = {"%.2g": 2, "%.3g": 3, "%.4g": 4, "%.3e": 4, "%.5g": 5}


def numbers(seed: int, *shape: int, scale: float = 1.0) -> Any:
    """What an RNN gives, in float64, with random mantissas."""
    return np.tanh(scale * np.random.default_rng(seed).standard_normal(shape))


def written(form: str, values: Any) -> Any:
    return np.array([float(form % v) for v in values.flat]).reshape(values.shape)


def kept(values: Any, dtype: torch.dtype = torch.float32) -> RecordedPrecision:
    array = values if isinstance(values, torch.Tensor) else torch.from_numpy(np.asarray(values))
    return kept_exactly({"output": array}, dtype)["output"]


seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, count=st.integers(2, 400), scale=st.sampled_from([1e-3, 0.1, 1.0, 5.0]), wide=st.booleans())
def test_random_mantissas_are_read_as_exact(seed: int, count: int, scale: float, wide: bool) -> None:
    """Two random float32 numbers lie on a grid that would be taken once in a thousand times at most, and then on one
    that is finer than 1e-4: whatever is allowed is far below the numbers themselves."""
    values = numbers(seed, count, scale=scale).astype(np.float32)
    assume(bool((np.abs(values) < 1).any()))  # of ones alone nothing can be known
    found = kept(values.astype(np.float64) if wide else values)
    largest = np.abs(values).max()
    assert found.relative * largest + found.absolute <= 1e-4 * largest
    if count >= 16:
        assert found.relative * largest + found.absolute <= 2.0**-22 * largest  # of a last place or two
    assert kept(numbers(seed, count, scale=scale), torch.float64).relative <= 1e-14


@given(seed=seeds, count=st.integers(8, 400), form=st.sampled_from([*FORMATS, *DIGITS]), narrow=st.booleans())
def test_what_was_written_with_few_digits_covers_what_it_lost(seed: int, count: int, form: str, narrow: bool) -> None:
    values = numbers(seed, count).astype(np.float32).astype(np.float64)
    given_ = written(form, values)
    if narrow:
        given_ = given_.astype(np.float32).astype(np.float64)
    found = kept(given_.astype(np.float32) if narrow else given_)
    lost = np.abs(given_ - values)
    allowed = found.relative * np.abs(given_) + found.absolute + 2.0**-24 * np.abs(values)
    if form != "%.6f" or not narrow or count >= 64:  # six decimals of a few float32 numbers may be all that they have
        assert bool((lost <= allowed).all())
    most = 0.5 * 10.0 ** -FORMATS[form] if form in FORMATS else 0.5 * 10.0 ** (1 - DIGITS[form])
    assert found.absolute <= 1.001 * most
    may_be_digits = form in FORMATS and count < 100
    assert found.relative <= (10.01 if may_be_digits else 1.001) * most


@pytest.mark.parametrize(
    ("half", "relative"), [(torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8)], ids=["float16", "bfloat16"]
)
@pytest.mark.parametrize("stored", [torch.float32, torch.float64])
def test_half_numbers_in_a_wider_dtype(half: torch.dtype, relative: float, stored: torch.dtype) -> None:
    values = torch.from_numpy(numbers(0, 20, 3, 4)).to(half).to(stored)
    assert kept(values).relative == relative
    assert kept(values[:1, :1, :2]).relative == relative, "two numbers are enough"
    assert kept(values, half) == EXACT, "a run in that dtype lost nothing"


def test_a_float64_run() -> None:
    values = numbers(0, 50, 4)
    assert kept(values, torch.float64) == EXACT
    assert kept(np.round(values, 8), torch.float64) == RecordedPrecision(0.0, 0.5e-8, "8 decimals")
    for stored in (np.float32, np.float64):
        assert kept(values.astype(np.float32).astype(stored), torch.float64).relative == 2.0**-24


def test_the_text_of_a_float32_loses_nothing() -> None:
    values = numbers(0, 50, 4).astype(np.float32)
    assert kept(np.array([[float(str(v)) for v in row] for row in values])) == EXACT
    for form in ("%.9g", "%.18e"):
        found = kept(written(form, values))
        assert not found.rounded
        assert torch.equal(found.numbers(torch.from_numpy(written(form, values))), torch.from_numpy(values))


def test_four_digits_tell_the_numbers_of_bfloat16_apart() -> None:
    """So what was rounded off of h at the step before is no error of the next one, however large the weights are."""
    values = torch.from_numpy(numbers(0, 300, 4)).bfloat16()
    text = torch.from_numpy(written("%.3e", values.double().numpy()))
    found = kept(text, torch.bfloat16)
    assert not found.rounded
    assert torch.equal(found.numbers(text), values)
    other = torch.from_numpy(written("%.3e", numbers(1, 300, 4)))
    assert torch.equal(kept(other, torch.bfloat16).numbers(other), other), "these are no numbers of bfloat16"


def test_a_number_just_above_a_power_of_ten_is_told_apart_too() -> None:
    """1.0004e-10 is written as 1.000e-10, which is off by half of 1e-13: ten times as much as just below 1e-10. With
    it the whole recording was taken for numbers of four digits that are exact."""
    values = torch.cat([torch.tensor([1.0004e-10]), torch.from_numpy(numbers(0, 300, 4)).flatten()]).bfloat16()
    text = torch.from_numpy(written("%.3e", values.double().numpy()))
    assert torch.equal(kept(text, torch.bfloat16).numbers(text), values)


def test_what_grows_without_end_is_looked_at_where_it_is_finite() -> None:
    """Of 2,320 steps in a relu RNN of large weights twenty were finite, and two numbers of those in the sample."""
    values = np.full((4, 3000, 8), np.inf, np.float32)
    values[0, :12] = np.round(numbers(0, 12, 8, scale=50), 4)
    assert kept(values).how == "4 decimals"


def test_decimals_and_digits_are_told_apart() -> None:
    values = numbers(0, 200, scale=3)
    values[::7] *= 0.01
    assert kept(written("%.3f", values)).how == "3 decimals"
    assert kept(written("%.3g", values)).how == "3 significant digits"
    assert kept(written("%.3g", 30 * values)).how == "3 significant digits"
    assert kept(written("%.3g", np.clip(np.abs(values[1:7]), 0.2, 0.9))).how == "3 decimals", (
        "equal, and less is allowed"
    )


@pytest.mark.parametrize("count", [12, 15])
@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_fixed_point(count: int, stored: type[np.floating[Any]]) -> None:
    values = (np.round(numbers(3, 60) * 2**count) / 2**count).astype(stored)
    assert kept(values) == RecordedPrecision(0.0, 2.0 ** -(count + 1), f"multiples of 1/{2**count}")


@pytest.mark.parametrize(("count", "half"), [(7, "bfloat16"), (8, "bfloat16"), (10, "float16")])
def test_fixed_point_that_may_be_a_half_type_is_kept_in_mind(count: int, half: str) -> None:
    values = np.round(numbers(3, 60) * 2**count) / 2**count
    assert kept(values).how == half
    assert f"bits:{count}" in more(values)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_types_are_not_taken_for_fixed_point(half: torch.dtype) -> None:
    values = torch.from_numpy(numbers(4, 60)).to(half).float().numpy()
    assert kept(values).how == str(half).removeprefix("torch.")


@pytest.mark.parametrize("value", [0.01, -0.1, 0.37])
def test_one_short_number_may_be_a_limit(value: float) -> None:
    """Gradients that were clipped to 0.01 are not rounded, however many have it."""
    arrays = {"grad.bias_ih_l0": torch.full((3, 4), value)}
    assert kept_exactly(arrays, torch.float32, limited=arrays) == dict.fromkeys(arrays, EXACT)
    ways = {way.name for way, _ in otherwise(arrays, torch.float32, arrays)}
    assert ("decimals:2" in ways) == (value != 0.01)  # nobody keeps less than two digits


def test_one_short_number_that_is_no_limit_was_rounded() -> None:
    """A state of one unit in four decimals."""
    assert kept(np.full((1, 1, 1), -0.0002, np.float32)).how == "4 decimals"


def test_zeros_beside_all_digits_were_not_rounded() -> None:
    """But where they are of numbers as small as three decimals lose."""
    arrays = {"x": torch.from_numpy(numbers(1, 200)), "h0": torch.zeros(4)}
    ways = {way.name for way, _ in otherwise(arrays, torch.float32)}
    assert "decimals:3" in ways
    assert "decimals:2" not in ways
    assert "decimals:2" in {way.name for way, _ in otherwise({"h0": torch.zeros(4)}, torch.float32)}


def test_digits_that_end_at_a_power_of_ten_are_not_decimals() -> None:
    """1.000 is 1.0004 or 0.99996 in four digits; the array beside it shows that they are digits."""
    x, c = torch.tensor([0.1234, 0.5678, 0.9012, 1.0]), torch.tensor([1.234, 2.345, 0.01234])
    assert {one.how for one in kept_exactly({"x": x, "c": c}, torch.float32).values()} == {"4 significant digits"}
    assert kept(x.numpy()).how == "4 decimals"
    assert "digits:4" in more(x.numpy())


@pytest.mark.parametrize("count", [2, 3, 15])
def test_a_few_numbers_with_two_decimals(count: int) -> None:
    for stored in (np.float32, np.float64):
        values = np.array([0.37, -0.42, 0.11, 0.93, -0.67] * 3)[:count].astype(stored)
        assert kept(values) == RecordedPrecision(0.0, 0.005, "2 decimals")


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.5, 3.0])
def test_round_numbers_tell_nothing(value: float) -> None:
    """Where gates saturate and relus are shut."""
    assert kept(np.full((500, 3, 2), value, np.float32)) == EXACT
    values = np.full((500, 16), value, np.float32)
    values[400:, :3] = numbers(1, 100, 3)
    assert kept(values) == EXACT


def test_rows_from_all_over_are_looked_at() -> None:
    values = np.round(numbers(0, 9000, 8), 2)
    assert kept(values).how == "2 decimals"
    values[6000:] = numbers(1, 3000, 8)
    assert kept(values) == EXACT
    silent = np.zeros((9000, 8))
    silent[5000:] = np.round(numbers(0, 4000, 8), 2)
    assert kept(silent).how == "2 decimals"


def test_one_unit_of_many_is_looked_at_and_little_of_a_long_run_is() -> None:
    """One long row, as a run in a batch of one may be kept; and a period that is the width of a row."""
    values = np.zeros((1, 4096 * 4, 64), np.float32)
    values[..., 37] = np.round(numbers(0, 1, 4096 * 4), 2)
    assert kept(values).how == "2 decimals"
    values[..., 5] = numbers(1, 1, 4096 * 4)
    assert kept(values) == EXACT


def test_large_numbers_beside_small_ones_may_still_have_been_rounded() -> None:
    """A run of large weights: what tells are its first few numbers."""
    values = torch.tensor([8.5627, 43.3703, 246.7017, 1210.3503, 5777.3701, 27421.8457, 130001.5], dtype=torch.float32)
    ways = otherwise({"output": values}, torch.float32)
    assert "decimals:4" in [way.name for way, _ in ways]
    assert "decimals:4" not in [way.name for way, _ in otherwise({"output": values + 0.00003}, torch.float32)]


def test_rounded_and_then_stored_in_less() -> None:
    values = np.round(numbers(0, 50, 8), 2).astype(np.float16)
    for stored in (np.float16, np.float32, np.float64):
        found = kept(values.astype(stored))
        assert found.how == "float16, 2 decimals"
        assert found.relative == 2.0**-11
        assert found.absolute == pytest.approx(0.005, abs=1e-6)


def test_arrays_with_too_few_numbers_are_read_as_the_others() -> None:
    """One number with five decimals may be any float32."""
    output = np.round(numbers(0, 50, 4), 5).astype(np.float32)
    arrays = {
        "output": output,
        "h_n": output[-1:, :1],
        "i": np.ones((50, 4)),
        "c": numbers(0, 50, 4).astype(np.float32),
    }
    found = kept_exactly({name: torch.from_numpy(values) for name, values in arrays.items()}, torch.float32)
    assert {name: how.how for name, how in found.items()} == {
        "output": "5 decimals", "h_n": "5 decimals", "i": "5 decimals", "c": "",
    }  # fmt: skip


def test_zeros_beside_decimals_and_digits_may_have_been_small_numbers() -> None:
    """0.0001 is 0 in 3 decimals, and 0.0001 in 2 digits."""
    arrays = {"x": written("%.3f", 0.01 * numbers(1, 200)), "h": written("%.2g", numbers(2, 200)), "h0": np.zeros(4)}
    found = kept_exactly({name: torch.from_numpy(values) for name, values in arrays.items()}, torch.float32)
    assert (found["x"].how, found["h"].how) == ("3 decimals", "2 significant digits")
    assert found["h0"].absolute == pytest.approx(0.5e-3)


def test_what_is_no_number_and_padding_are_passed_over() -> None:
    values = np.round(numbers(0, 50, 4), 3)
    values[30:] = np.nan
    values[3, 1] = np.inf
    assert kept(values).how == "3 decimals"
    assert kept(np.full((3, 4), np.nan)) == EXACT
    assert kept(np.zeros((3, 4), np.int64)) == EXACT


def test_few_numbers_that_may_be_decimals_or_digits() -> None:
    """1.46 and 0.012 may be of three decimals or of three digits, in which 1.46 is ten times as coarse: the decimals
    are likelier, and the digits are kept in mind."""
    few = np.array([1.46, 0.012])
    assert kept(few).how == "3 decimals"
    assert "digits:3" in more(few)
    many = np.round(numbers(0, 400), 2)
    assert kept(many).how == "2 decimals"
    assert "digits:2" not in more(many)


@pytest.mark.parametrize("decimals", [4, 5, 6])
def test_large_numbers_of_a_half_type_do_not_make_decimals_digits(decimals: int) -> None:
    """12.0625 has six digits as bfloat16 gives it, and any number of decimals: small numbers beside it tell which of
    both was written."""
    draw = np.random.default_rng(decimals)
    h, c = (
        torch.from_numpy(values).bfloat16().double()
        for values in (np.tanh(draw.standard_normal(300)), np.append(12 * draw.standard_normal(300), 2.54e-5))
    )
    arrays = {"output": h.numpy().round(decimals), "c": c.numpy().round(decimals)}
    found = kept_exactly({name: torch.from_numpy(values) for name, values in arrays.items()}, torch.bfloat16)["c"]
    lost = np.abs(arrays["c"] - c.numpy())
    assert lost.max() > 2.0**-30
    assert bool((lost <= found.relative * c.abs().numpy() + found.absolute + 2.0**-40).all())
    alone = kept(arrays["c"], torch.bfloat16).how, more(arrays["c"], torch.bfloat16)
    assert alone[0] == f"{decimals} decimals" or f"decimals:{decimals}" in alone[1]


def more(values: Any, dtype: torch.dtype = torch.float32) -> list[str]:
    """The ways in which an array may have been rounded more than it is taken to be."""
    arrays = {"output": torch.from_numpy(np.asarray(values))}
    return [way.name for way, _ in otherwise(arrays, dtype)]


@pytest.mark.parametrize(
    ("form", "name"), [("%.3e", "digits:4"), ("%.2g", "digits:2"), ("%.0f", "decimals:0"), ("%.5g", "digits:5")]
)
def test_integers_may_have_been_rounded(form: str, name: str) -> None:
    """44700 may be 44699.19 in four digits, or a number of a network of integers: nothing in it tells."""
    values = 4e4 + 1e4 * np.random.default_rng(0).random(20)
    given_ = written(form, values)
    assert kept(given_) == EXACT
    assert name in more(given_)


@pytest.mark.parametrize("narrow", [False, True])
def test_integers_that_a_run_gives_because_they_are_large_tell_by_their_zeros(narrow: bool) -> None:
    """Above 2²⁴ every number of float32 is an integer, but few of them end in so many zeros."""
    large = (1e12 * (1 + np.random.default_rng(0).random(20))).astype(np.float32)
    assert kept(large if narrow else large.astype(np.float64)) == EXACT
    given_ = written("%.3e", large.astype(np.float64))
    assert kept(given_.astype(np.float32) if narrow else given_).how == "4 significant digits"


def test_a_number_that_is_hardly_there_is_as_a_zero() -> None:
    """Of six digits, and one is the smallest float64: it lies on the grid of any decimals, and says nothing of them."""
    values = np.append(written("%.6g", np.random.default_rng(0).random(20)), 5e-324)
    assert kept(values, torch.float64).how == "6 significant digits"


def test_ones_and_zeros_may_have_been_rounded_to_any_decimals_but_none() -> None:
    ones = np.array([1.0, -1.0, 0.0], np.float32)
    assert {"decimals:1", "decimals:4", "decimals:6", "digits:2", "float16", "bfloat16"} <= {*more(ones)}
    assert "decimals:0" not in more(ones), "then nothing would be left of a number"
    assert more(ones).index("decimals:6") < more(ones).index("decimals:4") < more(ones).index("bfloat16")


@pytest.mark.slow
@given(seed=seeds, count=st.integers(16, 400), scale=st.sampled_from([1e-3, 1.0, 5.0]))
def test_random_mantissas_cannot_have_been_rounded(seed: int, count: int, scale: float) -> None:
    """Of 16 float32 numbers each lies on seven digits with a chance of at most 0.36 on average over a decade, as
    `chance` counts; and on fewer of them less often: 0.36^16 is 1e-7."""
    values = numbers(seed, count, scale=scale).astype(np.float32)
    assert {*more(values)} <= {"digits:7", "decimals:7"}
    assert {*more(values.astype(np.float64) + 1e-12, torch.float64)} <= {"digits:15", "decimals:15"}  # some are ±1


def test_small_float16_numbers_are_not_taken_for_bfloat16_alone() -> None:
    """Below 2⁻¹⁴ float16 has ever fewer bits, so that its numbers fit bfloat16 too; they are off by half a step of
    2⁻²⁴ there, far more than 2⁻⁸ of the smallest."""
    values = torch.from_numpy(1e-6 * numbers(0, 200)).float()
    half = values.half().float()
    found = kept(half)
    assert bool(((half - values).double().abs() <= found.error(half)).all())
    assert found.absolute == 2.0**-24


def test_digits_of_numbers_that_are_hardly_there() -> None:
    """Below the smallest normal number a dtype holds fewer digits, and 10ⁿ for them overflows."""
    assert kept(np.array([0.784, 0.0497, 5.15e-232, 4.53e-309]), torch.float64).how == "3 significant digits"


def test_large_numbers_in_half() -> None:
    """From 64 on every float16 is a multiple of 1/16."""
    values = torch.from_numpy(200 * np.abs(numbers(0, 20))).half().float()
    assert kept(values).how == "float16"


def test_one_number_of_many_says_that_they_were_not_rounded() -> None:
    """Wherever it lies: few numbers are asked first, and then all."""
    numbers = (torch.arange(1, 2001).double() * 7 + 3) / 1000
    assert str(kept_exactly({"h": numbers.float()}, torch.float32)["h"].how) == "3 decimals"
    for at in (0, 1, 17, 40, 1000, 1998, 1999):
        other = numbers.clone()
        other[at] += 0.0004
        kept = kept_exactly({"h": other.float()}, torch.float32)["h"]
        assert str(kept.how) != "3 decimals"


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_a_coarse_grid_is_kept_in_mind(bits: int) -> None:
    """Of a few multiples of a step, which may be as short by chance."""
    values = np.round(numbers(1, 200) * 2**bits) / 2**bits
    assert f"bits:{bits}" in more(values.astype(np.float32))


@given(seed=seeds, count=st.integers(30, 400), power=st.integers(4, 24), wide=st.booleans())
def test_float16_of_a_scaled_loss_covers_what_it_lost(seed: int, count: int, power: int, wide: bool) -> None:
    """Gradients times 2ᵏ that went through float16, many of them below its range, and were divided again."""
    values = torch.from_numpy(numbers(seed, count) * 10 ** np.linspace(-9, 0, count)).div(2.0 ** (power - 4))
    given_ = values.mul(2.0**power).half().double().div(2.0**power)
    found = kept(given_ if wide else given_.float())
    assert bool(((given_ - values).abs() <= found.error(given_)).all())
    assert found.at(float(values.abs().max())) <= 2.0**-10 * float(values.abs().max()) + 2.0 ** -(power + 15)


def test_zeros_are_exact_where_others_have_all_their_digits() -> None:
    """One short number beside them has two decimals by chance."""
    short, full = torch.full((100,), 0.01), torch.from_numpy(numbers(0, 100)).float()
    zeros = torch.zeros(4)
    assert kept_exactly({"short": short, "zeros": zeros, "full": full}, torch.float32)["zeros"] == EXACT
    assert kept_exactly({"short": short, "zeros": zeros}, torch.float32)["zeros"].how == "2 decimals"


@pytest.mark.parametrize(("count", "refuted"), [(4, False), (64, True)])
def test_few_numbers_refute_no_rounding(count: int, refuted: bool) -> None:
    sample = Sample.of(torch.rand(count, generator=torch.Generator().manual_seed(0)) / 7)
    assert not sample.lies_on(Rounding(decimals=4))
    assert sample.refutes(Rounding(decimals=4)) is refuted
