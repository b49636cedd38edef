"""Mistakes in some items of a batch alone: a lost initial state, a wrong length."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnspect
from rnnspect import Verdict

LENGTHS = [9, 7, 5, 4]
State = tuple[Tensor, ...]


def drawn(kind: str, layers: int = 1, bidirectional: bool = False) -> tuple[nn.RNNBase, Tensor, State]:
    """A module, x (9, 4, 3) and initial states."""
    torch.manual_seed(3)
    module: nn.RNNBase = getattr(nn, kind)(3, 6, layers, bidirectional=bidirectional)
    rows = layers * (1 + bidirectional)
    return module, torch.randn(9, 4, 3), tuple(torch.randn(2 if kind == "LSTM" else 1, rows, 4, 6))


def ran(module: nn.RNNBase, x: Tensor, state: State, lengths: list[int] | None = None) -> tuple[Tensor, State]:
    """The output and the final states, with these lengths."""
    given = x if lengths is None else pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, ended = module(given, state if len(state) > 1 else state[0])
    y = y if lengths is None else pad_packed_sequence(y, total_length=len(x))[0]
    return y, ended if len(state) > 1 else (ended,)


def told(verdict: Verdict) -> list[tuple[str, str]]:
    assert not any(cause.left for cause in verdict.causes)
    return [(cause.name, cause.explanation) for cause in verdict.causes]


@pytest.mark.parametrize(
    ("kind", "lost", "words"),
    [
        ("RNN", (0,), "h0 is ignored"),
        ("GRU", (0,), "h0 is ignored"),
        ("LSTM", (0, 1), "h0 and c0 are ignored"),
        ("LSTM", (1,), "c0 is ignored"),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_a_lost_state_of_some_items_is_named(kind: str, lost: tuple[int, ...], words: str, bidirectional: bool) -> None:
    module, x, state = drawn(kind, bidirectional=bidirectional)
    items = torch.tensor([1, 3])
    begun = tuple(one.index_fill(1, items, 0) if n in lost else one for n, one in enumerate(state))
    given = state if len(state) > 1 else state[0]
    found = rnnspect.check(module, x, given, recorded=ran(module, x, begun)[0])
    assert told(found) == [("state-ignored", f"{words} for batch items 1, 3: the engine starts from zeros there")]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@torch.no_grad()
def test_so_is_one_in_every_layer_of_a_stack_of_which_the_output_alone_was_recorded(kind: str) -> None:
    module, x, state = drawn(kind, 2)
    begun = tuple(one.index_fill(1, torch.tensor([2]), 0) for one in state)
    given, which = (state, "h0 and c0 are") if len(state) > 1 else (state[0], "h0 is")
    found = rnnspect.check(module, x, given, recorded=ran(module, x, begun)[0])
    assert told(found) == [("state-ignored", f"{which} ignored for batch item 2: the engine starts from zeros there")]
    assert len(found.causes[0].scope) == 2


@torch.no_grad()
def test_an_item_that_is_wrong_for_another_reason_did_not_lose_its_state() -> None:
    module, x, state = drawn("GRU")
    other = x.clone()
    other[:, 2] += 1
    found = rnnspect.check(module, x, state[0], recorded=ran(module, other, state)[0])
    assert not found.agrees
    assert not found.causes


@pytest.mark.parametrize(("kind", "layers"), [("RNN", 1), ("GRU", 2), ("LSTM", 1)])
@pytest.mark.parametrize(
    ("used", "words"),
    [
        ([9, 7, 4, 4], "the length of batch item 2 is wrong: the engine used 4, not 5"),
        ([9, 7, 3, 2], "the lengths of batch items 2, 3 are wrong: the engine used 3, 2, not 5, 4"),
    ],
)
@torch.no_grad()
def test_a_length_that_is_too_short_is_named(kind: str, layers: int, used: list[int], words: str) -> None:
    module, x, state = drawn(kind, layers)
    y, ended = ran(module, x, state, used)
    given = state if len(state) > 1 else state[0]
    assert told(rnnspect.check(module, x, given, lengths=LENGTHS, recorded=y)) == [("lengths-wrong", words)]
    recorded = {"output": y, "h_n": ended[0]}
    assert told(rnnspect.check(module, x, given, lengths=LENGTHS, recorded=recorded)) == [("lengths-wrong", words)]


@torch.no_grad()
def test_a_length_that_is_too_long_moves_the_reverse_direction() -> None:
    module, x, state = drawn("GRU", bidirectional=True)
    y, _ = ran(module, x, state, [9, 7, 8, 4])
    found = rnnspect.check(module, x, state[0], lengths=LENGTHS, recorded=y)
    assert told(found) == [("lengths-wrong", "the length of batch item 2 is wrong: the engine used 8, not 5")]


SHIFTED = ("shifted-by-one", "the final state is that of the step before the last")
SORTED = ("lengths-wrong", "the lengths are those of other batch items: the engine used 4, 5, 7, 9")
PADDED = (
    "padding-not-masked",
    "the final state is taken at the last step of the batch, which is padding for shorter sequences",
)
LONG = ("lengths-wrong", "the length of batch item 2 is wrong: the final state is that after 8 steps, not after 5")


@pytest.mark.parametrize(("kind", "layers"), [("RNN", 1), ("GRU", 2), ("LSTM", 2)])
@pytest.mark.parametrize(
    ("used", "said"),
    [([9, 7, 8, 4], LONG), ([8, 6, 4, 3], SHIFTED), ([4, 5, 7, 9], SORTED), ([9, 9, 9, 9], PADDED)],
)
@torch.no_grad()
def test_final_states_alone_tell_after_which_step_they_were_taken(
    kind: str, layers: int, used: list[int], said: tuple[str, str]
) -> None:
    """Nothing but the final states was recorded; in a stack the upper layer reads in the padding what the lower one
    gives there."""
    module, x, state = drawn(kind, layers)
    _, ended = ran(module, x, state, used)
    given = state if len(state) > 1 else state[0]
    recorded = dict(zip(("h_n", "c_n"), ended, strict=False))
    found = rnnspect.check(module, x, given, lengths=LENGTHS, recorded=recorded)
    assert told(found) == [said]
    assert len(found.causes[0].scope) == layers * len(state)


@torch.no_grad()
def test_few_coarse_numbers_tell_no_step() -> None:
    """One unit in bfloat16: some step of 200 has nearly any number, here that of step 150."""
    torch.manual_seed(0)
    module, x = nn.RNN(2, 1).bfloat16(), torch.randn(200, 2, 2).bfloat16()
    _, (h_n,) = ran(module, x, (torch.zeros(1, 2, 1).bfloat16(),), [200, 150])
    found = rnnspect.check(module, x, lengths=[200, 100], recorded={"h_n": h_n})
    assert not found.agrees
    assert "lengths-wrong" not in [cause.name for cause in found.causes]
