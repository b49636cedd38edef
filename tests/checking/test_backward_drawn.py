"""No right pass backwards is called wrong.

A sample here; as many as DRAWN says, from the seed FIRST on, with
`pytest -m campaign -s tests/checking/test_backward_drawn.py`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.checking import backward_variants
from tests.checking.backward_drawn import ENGINES, KINDS, checked, draw, judged_by_results
from tests.judging.test_drawn import kind_of

QUICK, RESULTS, SLOW = 50, 30, 400
DRAWN, FIRST = int(os.environ.get("DRAWN", "10000")), int(os.environ.get("FIRST", "0"))


def test_every_cell_is_drawn_by_every_engine_and_in_every_dtype() -> None:
    drawn = [draw(seed) for seed in range(3000)]
    assert {(one.engine, one.kind) for one in drawn} == {(engine, kind) for engine in ENGINES for kind in KINDS[engine]}
    assert {one.run.dtype for one in drawn} == {"float32", "float64", "float16", "bfloat16"}
    assert draw(7) == draw(7)


def _most_agree(seeds: range) -> None:
    """Of single float types nine of ten agree: a generator of passes that nobody can judge would show nothing."""
    answers: Counter[str] = Counter()
    for one in map(draw, seeds):
        verdict = checked(one)
        assert verdict.verdict != "differ", (one, verdict.first)
        if one.run.dtype in ("float32", "float64"):
            answers[verdict.verdict] += 1
    assert 10 * answers["agree"] > 7 * answers.total(), answers


def test_right_passes_are_not_called_wrong() -> None:
    _most_agree(range(QUICK))


EARLIER = (
    *(3419, 3638, 4171, 4314, 11710, 30012888, 30021077, 30022471, 30022892, 30027599, 30028443, 30082096),
    *(30093586, 30102053, 30111157, 30113063, 30117327, 30119569, 30132717, 30133678, 90000111),
    *(36064955, 92004716, 92009099, 92014805, 93019037, 94039666, 95052313, 96053158),
)


@pytest.mark.parametrize("seed", EARLIER)
def test_what_was_once_called_wrong_is_not(seed: int) -> None:
    """3419: on constant input our own sum over time, in float64, was the less exact one. 3638 to 11710 overflow
    float32: in one of two directions, or in a partial sum of a product only. 30012888 and 30093586: gradients
    that explode, of which no two passes have a digit in common. 30028443: squares of tiny gradients that are zero
    in float64. 30082096, of bfloat16: a gradient that is shown as zero, times an h of 168. 30102053: terms that
    grow towards the first step, which the engine adds up from there. 30111157: a sum over time beyond float16's
    largest number. 30113063 and 30117327: of rows of odd length in bfloat16 the last number is multiplied
    together with the first of the next row in memory, times zero; there it is infinite. 30119569: an item that
    ends with an infinite h, from which the loop goes on. 30132717: the slope of relu where h is NaN. 90000111:
    items of two lengths that are read in reverse, whose large terms come at one step, before hundreds of small
    ones. 92009099: softsign's derivative as the difference of two larger numbers. 92014805: a sum over time of
    terms that hardly change, of which only the results were seen. 94039666, of bfloat16: a gradient that is shown
    as zero, times 85. 95052313: a sum at the end of bfloat16's range, whose infinity makes the row that it is
    shown in NaN. The others are of float16: 0.3 s + 0.4 near 0, of which each operation is stored; dL/dc of a
    step, or what one gate or a sum on the way adds to dL/dh0, beyond its largest number; dL/dh0 itself beyond it
    and a gradient below its smallest; the products of each gate stored; pre-activations within a rounding of where
    they are clipped; and NaN beyond an item's end where the run leaves the range."""
    assert checked(draw(seed)).verdict != "differ"


@pytest.mark.parametrize(
    "elu",
    [torch.nn.functional.elu, lambda s, a: torch.where(s < 0, a * torch.expm1(s.clamp(max=0)), s)],
    ids=["a", "1"],
)
def test_an_engine_may_go_by_either_side_of_every_kink(elu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """121007245: whole numbers, some of whose sums are exactly 0, the kink of elu, where its derivative is a or 1."""
    monkeypatch.setattr(backward_variants, "elu", elu)
    assert checked(draw(121007245)).verdict != "differ"


@pytest.mark.slow
def test_a_gate_that_hardly_moves_may_round_with_what_moves_it() -> None:
    """446 steps of a sine: an update gate is some 25 roundings below 1, and its own rounding goes up and down with x,
    so that roundings do not cancel in the gradient of its weights, where what comes from x does."""
    assert checked(replace(draw(301016874), whole=True)).verdict != "differ"


@pytest.mark.slow
def test_more_right_passes_are_not_called_wrong() -> None:
    _most_agree(range(QUICK, SLOW))


def test_right_passes_are_not_called_wrong_by_their_results() -> None:
    for one in map(draw, range(RESULTS)):
        verdict = judged_by_results(one)
        assert verdict.verdict != "differ", (one, verdict.first)


def test_a_row_of_one_term_in_bfloat16_is_not_called_wrong() -> None:
    """One step alone is not clipped, and in few replicas: all numbers of a row of dL/dW_ih are that one's."""
    assert judged_by_results(draw(44003870)).verdict != "differ"


def test_two_kinks_whose_terms_cancel_are_not_called_wrong() -> None:
    """A relu unit in float16 whose s is 0.00001 at one step, 0.0002 at another: an engine may be open at one alone."""
    assert judged_by_results(draw(45501657)).verdict != "differ"


@pytest.mark.slow
def test_more_right_passes_are_not_called_wrong_by_their_results() -> None:
    for one in map(draw, range(RESULTS, SLOW)):
        verdict = judged_by_results(one)
        assert verdict.verdict != "differ", (one, verdict.first)


@pytest.mark.campaign
def test_no_drawn_pass_is_called_wrong_by_its_results() -> None:
    """Prints how near its bound the worst correct gradient is."""
    answers: Counter[tuple[str, str]] = Counter()
    wrong, largest = [], 0.0
    for one in map(draw, range(FIRST, FIRST + DRAWN)):
        verdict = judged_by_results(one)
        answers[one.run.dtype, verdict.verdict] += 1
        largest = max(largest, verdict.worst.ratio if verdict.worst is not None else 0)
        if verdict.verdict == "differ":
            wrong.append(one)
            print(f"differ: {one} {verdict.first}", flush=True)
    print(f"\n{DRAWN} passes, {len(wrong)} called wrong, {100 * largest:.0f} % of the bound at most: {answers}")
    assert not wrong


@pytest.mark.campaign
def test_no_drawn_pass_is_called_wrong() -> None:
    """Prints how many agree, by engine and dtype, and why others cannot be told."""
    answers: Counter[tuple[str, str, str]] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    wrong, begun = [], time.perf_counter()
    for one in map(draw, range(FIRST, FIRST + DRAWN)):
        verdict = checked(one)
        answers[one.engine, one.run.dtype, verdict.verdict] += 1
        if verdict.verdict == "differ":
            wrong.append(one)
            print(f"differ: {one} {verdict.first}", flush=True)
        if verdict.reason is not None:
            reasons[kind_of(verdict.reason), one.run.dtype] += 1
    print(f"\n{DRAWN} passes, {1e3 * (time.perf_counter() - begun) / DRAWN:.0f} ms each, {len(wrong)} called wrong")
    for (engine, dtype, answer), count in sorted(answers.items()):
        print(f"{count:6d}  {engine} {dtype} {answer}")
    for (reason, dtype), count in reasons.most_common():
        print(f"{count:6d}  cannot tell, {dtype}: {reason}")
    assert not wrong
