"""The state that is lost, counted twice or one step off where a chunk begins, planted in loops in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.causes.known.forms._chunk_edges import where_of
from tests.causes.chunked import AT_EDGES, OF_ITEMS, STEPS, cell_of, chunked

NAMED = {
    "zeros": ("chunk-state-lost", "zeros"),
    "initial": ("chunk-state-lost", "initial"),
    "doubled": ("chunk-state-doubled", "doubled"),
    "earlier": ("chunk-step-apart", "left out"),
    "twice": ("chunk-step-apart", "twice"),
}


def checked(cell: str, mistake: str, chunk: int = 8, once: bool = False, **keys: Any) -> Verdict:
    given = {"input_size": 3, "hidden_size": 6, "h0": "randn", "input": "randn:27", **keys}
    spec = Spec(cell=cell_of(cell), **given, **({"c0": "randn"} if cell == "lstm" else {}))
    return rnnspect.check(spec, engine=chunked(cell, chunk, mistake, once))


@pytest.mark.each_value_once
@pytest.mark.parametrize("keys", [{}, {"batch": 3}, {"dtype": "float64"}, {"input": "randn:9"}], ids=str)
@pytest.mark.parametrize("mistake", AT_EDGES)
@pytest.mark.parametrize("cell", STEPS)
def test_it_is_named_first(cell: str, mistake: str, keys: dict[str, Any]) -> None:
    found = checked(cell, mistake, **keys)
    assert found.verdict == "differ"
    assert found.causes
    cause = found.causes[0]
    assert (cause.name, cause.parameters["from"]) == NAMED[mistake]
    assert cause.parameters["step"] == 8
    assert cause.parameters.get("every") == (None if keys == {"input": "randn:9"} else 8)
    assert not cause.left
    assert not found.indistinguishable


@pytest.mark.each_value_once
@pytest.mark.parametrize("mistake", AT_EDGES)
@pytest.mark.parametrize("chunk", [2, 3])
@pytest.mark.parametrize("cell", STEPS)
def test_chunks_of_few_steps(cell: str, chunk: int, mistake: str) -> None:
    """The next chunk, wrong again, begins within the steps on which a state is tried."""
    cause = checked(cell, mistake, chunk).causes[0]
    assert (cause.name, cause.parameters["from"]) == NAMED[mistake]
    assert (cause.parameters["every"], cause.parameters["step"], cause.left) == (chunk, chunk, ())


@pytest.mark.each_value_once
@pytest.mark.parametrize("keys", [{}, {"dtype": "float64"}, {"input": "randn:9"}], ids=str)
@pytest.mark.parametrize("mistake", OF_ITEMS)
@pytest.mark.parametrize("cell", STEPS)
def test_items_that_begin_a_chunk_with_the_state_of_another(cell: str, mistake: str, keys: dict[str, Any]) -> None:
    found = checked(cell, mistake, batch=4, **keys)
    (cause,) = found.causes
    assert (cause.name, cause.parameters["from"], cause.parameters["step"]) == ("batch-mixed", mistake, 8)
    assert not cause.left


@pytest.mark.parametrize("cell", STEPS)
def test_of_two_items_one_exchange_is_told(cell: str) -> None:
    assert [cause.name for cause in checked(cell, "items reversed", batch=2).causes] == ["batch-mixed"]


@pytest.mark.each_value_once
@pytest.mark.parametrize("mistake", [*AT_EDGES, *OF_ITEMS])
@pytest.mark.parametrize("cell", STEPS)
def test_it_is_made_at_one_edge_alone(cell: str, mistake: str) -> None:
    found = checked(cell, mistake, once=True, batch=4)
    named, said = NAMED.get(mistake, ("batch-mixed", mistake))
    cause = found.causes[0]
    assert (cause.name, cause.parameters["from"], cause.parameters["step"]) == (named, said, 16)
    assert "every" not in cause.parameters


@pytest.mark.parametrize("keys", [{}, {"batch": 3}, {"dtype": "float64"}], ids=str)
@pytest.mark.parametrize("cell", STEPS)
def test_an_initial_state_that_counts_twice(cell: str, keys: dict[str, Any]) -> None:
    found = checked(cell, "initial twice", **keys)
    assert [(cause.name, cause.parameters["which"]) for cause in found.causes] == [
        ("chunk-state-doubled", "the initial state")
    ]


@pytest.mark.parametrize("cell", STEPS)
def test_a_right_run_is_given_no_cause(cell: str) -> None:
    assert checked(cell, "").agrees


@pytest.mark.each_value_once
@pytest.mark.parametrize("keys", [{}, {"batch": 3}, {"dtype": "float64"}, {"input": "randn:1", "h0": None}], ids=str)
@pytest.mark.parametrize("cell", STEPS)
def test_a_last_chunk_that_is_filled_with_zeros(cell: str, keys: dict[str, Any]) -> None:
    """It ends in the state after these."""
    found = checked(cell, "padded", **keys)
    assert found.verdict == "differ"
    assert [cause.name for cause in found.causes] == ["padding-not-masked"]
    more = 7 if keys.get("input") == "randn:1" else 5
    assert f"that after {more} steps of zeros more" in found.causes[0].explanation
    assert not found.causes[0].left


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("items", [[1, 0, 2], [0, 0, 2], [2, 2, 1]])
def test_beams_that_were_reordered(kind: str, items: list[int]) -> None:
    """Items go on with the states of others, and some with the same one."""
    torch.manual_seed(1)
    module, x = getattr(torch.nn, kind)(4, 6), torch.randn(15, 3, 4)
    with torch.no_grad():
        first, state = module(x[:7])
        state = tuple(one[:, items] for one in state) if kind == "LSTM" else state[:, items]
        second, _ = module(x[7:], state)
    (cause,) = rnnspect.check(module, x, recorded=torch.cat([first, second])).causes
    assert (cause.name, cause.parameters["from"], cause.parameters["step"]) == ("batch-mixed", "other items", 7)


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ((7,), "at step 7"),
        ((8, 16, 24), "every 8 steps"),
        ((3, 11, 19, 27), "every 8 steps from step 3 on"),
        ((3, 19), "at steps 3 and 19"),
        ((8, 16), "at steps 8 and 16"),
        ((8, 24), "at steps 8 and 24"),
        ((5, 18, 19), "at steps 5, 18 and 19"),
        (tuple(range(25, 32)), "at steps 25, 26, 27, 28, 29 and 2 more"),
    ],
)
def test_words(edges: tuple[int, ...], said: str) -> None:
    """Chunks of one step would be `state-not-carried`."""
    assert where_of(edges, 32)[0] == said


@torch.no_grad()
@pytest.mark.parametrize(("old", "said"), [((0,), "h is"), ((1,), "c is"), ((0, 1), "the state is")])
def test_one_state_is_a_step_old(old: tuple[int, ...], said: str) -> None:
    """As where output[:, -2] is handed on for h."""
    torch.manual_seed(0)
    module, x, calls, state = torch.nn.LSTM(4, 5, batch_first=True), torch.randn(2, 20, 4), [], None
    for call in x.split(6, 1):
        output, after = module(call, state)
        before = module(call[:, :-1], state)[1]
        state = tuple(before[one] if one in old else after[one] for one in (0, 1))
        calls.append(output)
    (cause,) = rnnspect.check(module, x, recorded=torch.cat(calls, 1)).causes
    assert (cause.name, cause.parameters["every"]) == ("chunk-step-apart", 6)
    assert cause.explanation.startswith(f"{said} one step old every 6 steps")


@pytest.mark.parametrize("each", [1, 3, 10])
@pytest.mark.parametrize("which", ["h", "c"])
def test_one_state_begins_each_chunk_from_the_initial_one(which: str, each: int) -> None:
    """As in a loop that hands on the other alone; with chunks of one step it is not carried at all."""
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(4, 5), torch.randn(20, 2, 4)
    first = h, c = torch.randn(2, 1, 2, 5)
    done = []
    for part in x.split(each):
        with torch.no_grad():
            output, (h, c) = module(part, (h, c))
        done.append(output)
        h, c = (first[0], c) if which == "h" else (h, first[1])
    found = rnnspect.check(module, x, *first, recorded=torch.cat(done))
    assert [cause.name for cause in found.causes] == ["chunk-state-lost"]
    where = {1: "at every step", 3: "every 3 steps", 10: "at step 10"}[each]
    assert f"{which} is lost {where}, where a chunk begins: it starts from the initial" in found.causes[0].explanation
