"""One verdict as text: what is told of many causes, and numbers near their limit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

import rnnspect
from rnnspect.judging.verdict import GateResolution
from rnnspect.views.check import report_text
from rnnspect.views.text import percent_of, times
from tests.views.results import agree, differ


def test_one_mistake_with_several_numbers_is_told_once() -> None:
    """In the place where it explains the run; in another place it is told again."""
    verdict = differ()
    alone = verdict.causes[0]
    several = [replace(alone, parameters={"steps": n}, explanation=f"truncated every {n} steps") for n in (2, 3, 4)]
    elsewhere = replace(several[0], scope=("layer 1 forward",))
    said = " ".join(report_text(replace(verdict, causes=(*several, elsewhere), indistinguishable=())).split())
    assert said.count("truncated every") == 2
    assert "2 other forms of this mistake explain the run as well; --format json has all [gate-order]" in said
    assert "of this mistake explain" not in report_text(verdict)


@pytest.mark.parametrize(
    ("ratio", "share", "factor"),
    [
        (0.0046, "0.46 %", "0.0046 ×"),
        (0.997, "100 %", "1 ×"),
        (99.7, "9,970 %", "100 ×"),
        (147644.2, "14,764,420 %", "147,644 ×"),
    ],
)
def test_large_numbers_have_no_exponent(ratio: float, share: str, factor: str) -> None:
    assert (percent_of(ratio), times(ratio)) == (share, factor)


@pytest.mark.usefixtures("no_causes")
def test_what_is_not_a_number_has_no_difference() -> None:
    def engine(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        return h * math.nan

    spec = rnnspect.Spec(cell="gru", hidden_size=3, input="randn:6")
    said = " ".join(str(rnnspect.check(spec, engine=engine)).split())
    assert "got nan not a number; a difference of " in said
    assert "Where step 0; 15 more values cannot be checked, as they follow from one that is not finite" in said
    assert "difference nan" not in said


def test_an_error_at_its_limit_is_at_100_percent() -> None:
    verdict = agree()
    assert verdict.worst is not None
    said = report_text(replace(verdict, worst=replace(verdict.worst, ratio=0.999)))
    assert "error: 100 % of the allowed" in said


@pytest.mark.parametrize(
    ("coarsest", "said"),
    [
        (
            4.8,
            "relative errors in the gradient of a gate of 2.0e-02 and more in half of the units, of 4.8e+00 and more",
        ),
        (0.05, "relative errors in the gradient of a gate of 5.0e-02 and more Network"),
    ],
)
def test_one_unit_that_tells_little_does_not_stand_for_all(coarsest: float, said: str) -> None:
    line = GateResolution(0, "forward", "i", 0.01, 0.02, coarsest, 3, 1)
    assert said in " ".join(report_text(replace(agree(), resolution=(line,), backward=True)).split())
