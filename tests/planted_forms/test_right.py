"""No right form of the cells of examples/cells is called wrong, whatever its cell, form, network, length and dtype.

A few here; 10,000 with `pytest -m campaign -s tests/planted_forms/test_right.py`, or as many as DRAWN says, from the
seed FIRST on.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import replace

import pytest
import torch

from tests.planted_forms.judged import CELLS, PLANTED, draw, draw_with, given, in_full, judged, run_in_float64
from tests.planted_forms.plans import How

QUICK = 16
DRAWN, FIRST = int(os.environ.get("DRAWN", "10000")), int(os.environ.get("FIRST", "0"))


@pytest.mark.parametrize("cell", CELLS)
def test_all_forms_give_the_numbers_of_single_steps(cell: str) -> None:
    """In float64, with a state carried in, a last chunk that is short, and a prompt before single steps. They differ by
    a few roundings of 1e-16 in each of some 20 steps; a mistake moves numbers by parts of a thousand and more."""
    drawn = draw_with(1, cell, None)
    drawn = replace(drawn, dtype="float64", steps=11, zeros=False, scale=1.0)
    run = given(drawn)
    expected = run_in_float64(replace(drawn, how=How("steps", 4)), run)
    for form in PLANTED[cell].forms:
        for how in (How(form, 4), How(form, 16), How(form, 4, prefill=6)):
            found = run_in_float64(replace(drawn, how=how), run)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_batch_whose_sums_of_logarithms_begin_anew() -> None:
    """Of a cell that hands on some blocks of its state as they are, beside one that decays: this ended in an error."""
    drawn = replace(draw_with(1, "mamba", None), how=How("matrix", 4), dtype="float32", batch=2, steps=11)
    assert judged(drawn, given(drawn)).agrees


@pytest.mark.slow
def test_right_forms_are_not_called_wrong() -> None:
    """And nearly all of those in float32 and float64 are said to agree: runs that nobody can judge would show
    nothing."""
    answers: Counter[str] = Counter()
    for seed in range(QUICK):
        drawn = draw(seed, wrong=False)
        verdict = judged(drawn, given(drawn), explain=0)
        assert verdict.verdict != "differ", (in_full(drawn, verdict), verdict.first)
        if drawn.dtype != "bfloat16":
            answers[verdict.verdict] += 1
    assert answers["agree"] >= 0.9 * answers.total(), answers


@pytest.mark.campaign
def test_no_drawn_form_is_called_wrong() -> None:
    """Prints the answers by cell and dtype."""
    answers: Counter[tuple[str, str, str]] = Counter()
    wrong: list[str] = []
    begun = time.perf_counter()
    for seed in range(FIRST, FIRST + DRAWN):
        drawn = draw(seed, wrong=False)
        verdict = judged(drawn, given(drawn), explain=0)
        answers[drawn.cell, drawn.dtype, verdict.verdict] += 1
        if verdict.verdict == "differ":
            wrong.append(f"{in_full(drawn, verdict)}\n  {verdict.first}")
            print(wrong[-1], flush=True)
    print(
        f"\n{DRAWN} right forms, {1e3 * (time.perf_counter() - begun) / DRAWN:.0f} ms each, {len(wrong)} called wrong"
    )
    for (cell, dtype, answer), count in sorted(answers.items()):
        print(f"{count:6}  {cell} {dtype}: {answer}")
    assert not wrong
