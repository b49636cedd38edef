"""Which runs a sweep makes."""

from __future__ import annotations

from typing import Any

import pytest

from rnnspect import Spec, engines
from rnnspect.checking.sweep.result import SweepRun
from rnnspect.checking.sweep.sweep import lengths_of, planned
from rnnspect.network.split import Split
from rnnspect.tracing.prepare import Prepared, prepare
from tests.causes.chunked import chunked


def prepared(engine: Any, **keys: Any) -> Prepared:
    return prepare(Spec(cell="lstm", input="randn:1", **keys)).with_engine(engine)


def test_the_lengths_lie_around_the_chunk() -> None:
    assert lengths_of(64) == [1, 2, 63, 64, 65, 128, 131, 137]
    assert lengths_of(1) == [1, 2, 5, 7]


def test_each_length_runs_from_zeros_and_from_a_drawn_state_alone_and_in_a_batch() -> None:
    runs, left_out = planned(prepared("torch"), (4,))
    assert left_out == ()
    for steps in lengths_of(4):
        assert {SweepRun(steps), SweepRun(steps, 1, True), SweepRun(steps, 3, True)} <= set(runs)
    assert SweepRun(11, 3, True, (11, 5, 3)) in runs
    assert {run.split for run in runs} == {None, Split(1), *map(Split, (3, 4, 5, 10)), Split(4, 1), Split(5, 1)}


@pytest.mark.parametrize(
    ("engine", "keys", "said"),
    [
        (chunked("lstm", 4), {}, ["takes no lengths"]),
        ("torch", {"bidirectional": True}, ["several calls: a direction that starts at the end"]),
        (lambda x_t, state: state, {}, ["is called for every step as it is"]),
    ],
)
def test_what_an_engine_cannot_be_asked_is_left_out_and_said(engine: Any, keys: Any, said: list[str]) -> None:
    _, left_out = planned(prepared(engine, **keys), (4,))
    assert len(left_out) == len(said)
    assert all(words in one for words, one in zip(said, left_out, strict=True))


def test_the_options_of_a_run_make_it() -> None:
    """Beside a spec that has a batch and states of its own they are said, too."""
    run = SweepRun(9, 3, True, None, Split(4, 1))
    assert run.options(Spec(cell="lstm")) == (
        ["--input", "randn:9", "--batch", "3", "--h0", "randn", "--c0", "randn", "--split", "4:1"]
    )
    own = Spec(cell="gru", batch=2, h0="randn")
    assert SweepRun(9).options(own) == ["--input", "randn:9", "--batch", "1", "--h0", "zeros"]
    assert SweepRun(9, 2, False, (9, 4)).options(Spec(cell="gru"))[-2:] == ["--lengths", "9,4"]


def test_a_long_chunk_is_decoded_for_a_bounded_number_of_steps() -> None:
    assert engines.find("torch")
    runs, _ = planned(prepared("torch"), (4096,))
    single = [run for run in runs if run.split and run.split.each == 1]
    assert single
    assert all(len(run.split.calls(run.steps)) <= 65 for run in single if run.split)
