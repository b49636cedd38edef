"""Which runs a sweep makes, and that it finds at which length, split or batch an implementation breaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import InputError, Spec, engines
from rnnspect.checking.sweep.result import SweepRun, _edge
from rnnspect.checking.sweep.sweep import lengths_of, planned
from rnnspect.judging.verdict import Point
from rnnspect.network.split import Split
from rnnspect.tracing.prepare import Prepared, prepare
from tests.causes.chunked import AT_EDGES, STEPS, cell_of, chunked
from tests.marks import sampled


def swept(name: str, engine: Any, chunk: int = 8, **keys: Any) -> rnnspect.Sweep:
    return rnnspect.sweep(Spec(cell=cell_of(name), **keys), engine, chunk=chunk, explain=0)


@pytest.mark.each_value_once
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("chunk", [1, 5, 8])
def test_a_right_implementation_agrees_in_every_run(name: str, chunk: int) -> None:
    found = swept(name, chunked(name, chunk))
    assert found
    assert (found.verdict, found.exit_status, found.first, found.common) == ("agree", 0, None, "")


@pytest.mark.usefixtures("no_causes")
@pytest.mark.each_value_once
@pytest.mark.parametrize("name", sampled(STEPS, 2))
@pytest.mark.parametrize("mistake", sampled(AT_EDGES, 2))
def test_a_mistake_at_the_edge_of_a_chunk_is_found_at_the_shortest_length_that_has_one(name: str, mistake: str) -> None:
    found = swept(name, chunked(name, 8, mistake))
    assert not found
    assert found.exit_status == 1
    assert found.first is not None
    assert (found.first.run.steps, found.first.run.split) == (9, None)
    assert found.first.verdict is not None
    assert found.first.verdict.first is not None
    assert found.first.verdict.first.step == 8
    assert found.edge == "step 8 is the first of a chunk of 8"
    if mistake != "initial":
        assert found.common == "calls of more than 8 steps"


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", sampled(STEPS, 3))
def test_padded_steps_show_where_the_last_chunk_is_short(name: str) -> None:
    found = swept(name, chunked(name, 8, "padded"))
    assert found.first is not None
    assert found.first.run.steps == 1
    assert found.common == "calls whose steps are not a multiple of 8"
    assert found.edge == "the last chunk of 8 is short: step 0 alone"


def decoding(x: Tensor, state: Tensor, parameters: dict[str, Tensor]) -> Any:
    """A minimal GRU that is right for more than one step, and forgets the state in a call of one."""
    return chunked("mingru", 8)(x, state if x.shape[1] > 1 else torch.zeros_like(state), parameters)


@pytest.mark.usefixtures("no_causes")
def test_a_state_that_is_lost_in_calls_of_one_step() -> None:
    found = swept("mingru", decoding)
    assert found.first is not None
    assert (found.first.run.steps, found.first.run.drawn) == (1, True)
    wrong = {(one.run.steps, one.run.calls) for one in found.runs if one.answer == "differ"}
    assert wrong == {(1, "one"), (19, "1 + 18"), (19, "18 + 1"), (19, "8 + 11 × 1"), (20, "9 + 11 × 1")}


def only_whole_chunks(x: Tensor, state: Tensor, parameters: dict[str, Tensor]) -> Any:
    x.reshape(len(x), -1, 8, x.shape[-1])
    return chunked("mingru", 8)(x, state, parameters)


def test_code_that_fails_at_some_lengths_is_told_of_these() -> None:
    found = swept("mingru", only_whole_chunks)
    assert (found.verdict, found.exit_status) == ("error", 2)
    assert found.common == "calls whose steps are not a multiple of 8"
    assert found.first is not None
    assert "failed with RuntimeError" in str(found.first.found)


def always_fails(x: Tensor, state: Tensor) -> Any:
    raise ValueError("not today")


def test_code_that_fails_in_every_run_raises() -> None:
    with pytest.raises(rnnspect.InputError, match="not today"):
        swept("mingru", always_fails)


@pytest.mark.usefixtures("no_causes")
def test_an_engine_that_mixes_the_items_of_a_batch_is_found_in_a_batch() -> None:
    def mixing(x: Tensor, state: Tensor, parameters: dict[str, Tensor]) -> Any:
        return chunked("mingru", 8)(x.mean(0, keepdim=True).expand_as(x), state, parameters)

    found = swept("mingru", mixing)
    assert found.common == "batches of more than one"


@pytest.mark.each_value_once
@pytest.mark.parametrize("keys", [{}, {"num_layers": 2}, {"bidirectional": True}, {"dtype": "float64"}])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_the_engines_of_frameworks_agree(name: str, keys: dict[str, Any]) -> None:
    assert rnnspect.sweep(Spec(cell=name, **keys), chunk=4).agrees
    if not keys:
        assert rnnspect.sweep(Spec(cell=name), "torch-cell", chunk=4).agrees


def test_a_run_of_a_sweep_is_the_plain_check_of_its_options() -> None:
    """So that the command that is told gives the same numbers: the same first value to the last bit."""
    cell = cell_of("mingru")
    found = rnnspect.sweep(Spec(cell=cell), chunked("mingru", 8, "zeros"), chunk=8, explain=0)
    assert found.first is not None
    keys = found.first.run.keys(Spec(cell=cell))
    alone = rnnspect.check(Spec(cell=cell, **keys), engine=chunked("mingru", 8, "zeros"), explain=0)
    assert found.first.verdict is not None
    assert found.first.verdict.first == alone.first


def test_what_it_is_not_for_is_refused() -> None:
    given: Any = torch.nn.GRU(2, 2)
    with pytest.raises(rnnspect.InputError, match="this is a GRU; expected a Spec"):
        rnnspect.sweep(given)
    with pytest.raises(rnnspect.InputError, match="chunk=0"):
        rnnspect.sweep(Spec(), chunk=0)
    for chunk in ("4", 4.0, ["16", 4], None, []):
        with pytest.raises(InputError, match="a number of steps, such as 64, or several"):
            rnnspect.sweep(Spec(), chunk=chunk)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="explain='3'"):
        rnnspect.sweep(Spec(), chunk=4, explain="3")  # type: ignore[arg-type]


def early_state(x: Tensor, state: Tensor, parameters: dict[str, Tensor]) -> Any:
    """A minimal GRU whose final state is that before the last step: prefill and decode are one token apart."""
    output, final = chunked("mingru", 8)(x, state, parameters)
    return output, output[None, :, -2].clone() if x.shape[1] > 1 else final


@pytest.mark.parametrize(
    ("engine", "cause"),
    sampled(
        [
            (early_state, ("shifted-by-one", "the final state is that of the step before the last")),
            (chunked("mingru", 8, "zeros"), ("chunk-state-lost", "the state is lost every 8 steps")),
            (chunked("mingru", 6, "twice"), ("chunk-step-apart", "one step ahead every 6 steps")),
            (chunked("mingru", 8, "padded"), ("padding-not-masked", "that after 1 step of zeros more")),
        ],
        2,
    ),
)
def test_the_cause_is_looked_for_in_a_run_that_is_long_enough(engine: Any, cause: tuple[str, str]) -> None:
    """Of two steps the state before the last is that after the first, too."""
    found = rnnspect.sweep(Spec(cell=cell_of("mingru"), hidden_size=6), engine, chunk=8)
    assert found.first is not None
    assert found.first.verdict is not None
    first = found.first.verdict.causes[0]
    assert first.name == cause[0]
    assert cause[1] in first.explanation
    assert "in the run of 23 steps" in found.first.verdict.notes[-1]
    assert found.common


def test_a_chunk_that_nobody_named_is_told_by_the_least_length_that_is_wrong() -> None:
    assert swept("mingru", chunked("mingru", 12, "zeros")).common == "calls of 16 steps and more"


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
        ("torch", {"bidirectional": True}, ["several calls: the reverse direction has no state"]),
        (lambda x_t, state: state, {}, ["is called once per step anyway"]),
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


def test_a_chunk_is_not_taken_for_one_whose_number_begins_with_its_own() -> None:
    end = Point("h_n", 0, "forward", -1, 0, 0, 0.0, 1.0, 0.1, 10.0)
    for chunks in ((6, 64), (64, 6)):
        said = _edge(SweepRun(65), end, chunks, "calls whose steps are not a multiple of 64")
        assert said == "the last chunk of 64 is short: step 64 alone"
