"""Items of a batch in the places of others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnspect


def of(kind: type[nn.RNNBase], **keys: Any) -> tuple[nn.RNNBase, Tensor]:
    torch.manual_seed(0)
    return kind(3, 4, batch_first=True, **keys), torch.randn(4, 9, 3)


@pytest.mark.parametrize(
    ("kind", "keys", "items", "said"),
    [
        (nn.RNN, {}, [0, 1, 1, 3], "batch item 2 holds the output of batch item 1"),
        (nn.RNN, {"bidirectional": True}, [0, 0, 0, 0], "batch items 1, 2, 3 hold the output of batch items 0, 0, 0"),
        (nn.GRU, {"num_layers": 2}, [1, 2, 3, 3], "batch items 0, 1, 2 hold the output of batch items 1, 2, 3"),
    ],
)
@torch.no_grad()
def test_an_item_in_the_place_of_another_is_named(
    kind: type[nn.RNNBase], keys: dict[str, Any], items: list[int], said: str
) -> None:
    module, x = of(kind, **keys)
    found = rnnspect.check(module, x, recorded=module(x)[0][items])
    assert [(cause.name, cause.explanation, cause.left) for cause in found.causes] == [("batch-mixed", said, ())]


@torch.no_grad()
def test_one_with_its_own_length_is_named() -> None:
    module, x = of(nn.RNN)
    lengths = [9, 5, 7, 4]
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    y = pad_packed_sequence(module(packed)[0], batch_first=True)[0]
    found = rnnspect.check(module, x, recorded=y[[0, 1, 1, 3]], lengths=lengths)
    assert [cause.name for cause in found.causes] == ["batch-mixed"]


@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_items_in_another_order_with_their_lengths_are_named_once_for_both_directions(layers: int) -> None:
    module, x = of(nn.LSTM, num_layers=layers, bidirectional=True)
    lengths = [9, 6, 5, 3]
    y = pad_packed_sequence(module(pack_padded_sequence(x, lengths, batch_first=True))[0], batch_first=True)[0]
    found = rnnspect.check(module, x, recorded=y[[2, 0, 3, 1]], lengths=lengths)
    said = "the items of the batch are given in another order: 2, 0, 3, 1"
    assert [(cause.name, cause.explanation, cause.left) for cause in found.causes] == [("batch-mixed", said, ())]


@torch.no_grad()
def test_items_of_the_same_x_are_not_told_apart_by_chance() -> None:
    """Two items are the same, and two others stand in each other's places."""
    module, x = of(nn.RNN)
    x[1] = x[0]
    found = rnnspect.check(module, x, recorded=module(x)[0][[0, 1, 3, 2]])
    assert [cause.explanation for cause in found.causes] == [
        "the items of the batch are given in another order: 0, 1, 3, 2"
    ]


@torch.no_grad()
def test_an_initial_state_for_all_is_no_item_for_all() -> None:
    module, x = of(nn.RNN)
    x[:] = x[0]
    h0 = torch.randn(1, 4, 4)
    y = module(x, h0[:, :1].expand(-1, 4, -1).contiguous())[0]
    found = rnnspect.check(module, x, recorded=y, h0=h0)
    assert [cause.parameters["what"] for cause in found.causes] == ["the state of item 0"]
