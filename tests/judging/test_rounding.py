"""Ways of rounding by their names."""

from __future__ import annotations

import pytest
import torch

import rnnspect
from rnnspect.errors import InputError
from rnnspect.judging.rounding import EXACT, Rounding, named


@pytest.mark.parametrize(
    ("text", "rounding"),
    [
        ("exact", Rounding()),
        ("float16", Rounding(torch.float16)),
        ("float16:1/1024", Rounding(torch.float16, scale=2.0**-10)),
        ("bfloat16", Rounding(torch.bfloat16)),
        ("float32", Rounding(torch.float32)),
        ("decimals:4", Rounding(decimals=4)),
        ("decimals:0", Rounding(decimals=0)),
        ("digits:5", Rounding(digits=5)),
        ("%.4f", Rounding(decimals=4)),
        ("%.3e", Rounding(digits=4)),
        ("%.3E", Rounding(digits=4)),
        ("%.6g", Rounding(digits=6)),
        ("%.0g", Rounding(digits=1)),
        ("truncated:decimals:4", Rounding(decimals=4, cut="truncated")),
        ("floored:bits:15", Rounding(bits=15, cut="floored")),
        ("truncated:bfloat16", Rounding(torch.bfloat16, cut="truncated")),
    ],
)
def test_a_name(text: str, rounding: Rounding) -> None:
    assert named(text) == rounding
    assert named(rounding.name) == rounding


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("float61", "float16"),
        ("bfloat", "bfloat16"),
        ("float16:1/1000", "float16"),
        ("decimal:4", "decimals:4"),
        ("digits:0", "digits:5"),
        ("4", None),
        ("truncated:exact", None),
        ("floored:", None),
    ],
)
def test_no_name(text: str, nearest: str | None) -> None:
    with pytest.raises(InputError) as caught:
        named(text, "--recorded-as")
    (problem,) = caught.value.problems
    assert problem.where == "--recorded-as"
    assert problem.found == f"no way of rounding is called {text!r}"
    assert problem.allowed is not None
    assert "decimals:4, digits:5, bits:7, %.4f, %.3e, %.6g" in problem.allowed
    assert problem.nearest == nearest


def test_what_each_may_be_off() -> None:
    def off(text: str, dtype: torch.dtype = torch.float32) -> tuple[float, float, str]:
        rounding = named(text)
        kept = rounding.kept(rounding.dtype or torch.float64, dtype)
        return kept.relative, kept.absolute, kept.how

    assert off("exact") == (0.0, 0.0, "")
    assert off("decimals:1") == (0.0, 0.05, "1 decimal")
    assert off("decimals:0") == (0.0, 0.5, "0 decimals")
    assert off("%.3e") == (0.5e-3, 0.0, "4 significant digits")
    assert off("float16") == (2.0**-11, 2.0**-24, "float16")
    assert off("float16", torch.float16) == (0.0, 0.0, "")
    assert off("%.9g") == (0.0, 0.0, ""), "a float32 loses nothing in nine digits"
    assert named("float16").kept(torch.float16, torch.float32).largest == 65504
    assert EXACT.times(8) == EXACT


def test_a_zero_that_was_cut_off_may_have_been_nearly_a_step_of_either_sign() -> None:
    """Other truncated numbers are moved to the middle of their step, and are off by half of it at most."""
    torch.manual_seed(0)
    rnn, x = torch.nn.RNN(3, 4), torch.randn(60, 1, 3)
    with torch.no_grad():
        rnn.weight_hh_l0.zero_()  # what the h before was rounded by is not in the limit of the next one
        h, _ = rnn(x)
    cut = (h.double() * 20).trunc() / 20
    assert bool(((cut == 0) & (h.abs() > 0.04)).any())
    found = rnnspect.check(rnn, x, recorded=cut.float(), recorded_as="truncated:multiples:0.05", explain=0)
    assert found.verdict != "differ", found.first
    wrong = torch.where((cut != 0) & (cut.abs() < 0.5), cut - 0.05 * cut.sign(), cut)
    found = rnnspect.check(rnn, x, recorded=wrong.float(), recorded_as="truncated:multiples:0.05", explain=0)
    assert found.verdict == "differ"


def test_a_step_below_any_number_is_written() -> None:
    """Gradients of tiny numbers may lie on the grid of a float16 that was scaled by less than 1 / 10^308."""
    assert "times 4.9" in str(Rounding(torch.float16, scale=5e-324).kept(torch.float32, torch.float64).how)
