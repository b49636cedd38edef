"""Where x fits with its axes in another order, the message says so first, and what to do."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from rnnspect import SequenceError, Spec, check
from rnnspect.network.axes import assumed, source_of
from rnnspect.network.losses import loss_of
from rnnspect.tracing.prepare import prepare

TIME_FIRST = "an x of (step, batch, feature); x is read as (batch, step, feature); add --no-batch-first (in a spec, "
BATCH_FIRST = "an x of (batch, step, feature); x is read as (step, batch, feature); add --batch-first (in a spec, "
NETWORK: dict[str, Any] = {"cell": "lstm", "input_size": 3, "hidden_size": 4}


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 7), "x (3, 7) has its 3 features in axis 0; they come last; pass x.T, whose shape is (7, 3)"),
        ((2, 3, 7), "in axis 1; they come last; pass np.moveaxis(x, 1, -1), whose shape is (2, 7, 3)"),
        ((3, 2, 7), "in axis 0; they come last; pass np.moveaxis(x, 0, -1), whose shape is (2, 7, 3)"),
        ((3, 3, 7), "x has 7 features per step, input_size is 3; expected the shape (T, 3) or (B, T, 3)"),
    ],
)
def test_features_that_are_not_the_last_axis(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(SequenceError, match=re.escape(said)):
        prepare(Spec(**NETWORK), np.zeros(shape))
    if " pass " in said:  # what it says to pass does run, and is of the shape that it says
        x = np.zeros(shape)  # noqa: F841 - the expression names it
        advised = eval(said.partition(" pass ")[2].partition(", whose")[0])
        assert said.endswith(str(advised.shape))
        prepare(Spec(**NETWORK), advised)


@pytest.mark.parametrize(("batch_first", "said"), [(True, TIME_FIRST + "batch_first: false)"), (False, BATCH_FIRST)])
@pytest.mark.parametrize("given", ["h0", "c0", "lengths"])
def test_a_state_or_lengths_that_fit_the_other_order_only(batch_first: bool, said: str, given: str) -> None:
    """7 steps of 2 sequences, read as 2 steps of 7 sequences."""
    x = np.zeros((7, 2, 3) if batch_first else (2, 7, 3))
    beside: dict[str, Any] = {given: [7, 4] if given == "lengths" else np.zeros((1, 2, 4))}
    with pytest.raises(SequenceError, match=re.escape(said)):
        prepare(Spec(**NETWORK, batch_first=batch_first), x, **beside)
    prepare(Spec(**NETWORK, batch_first=not batch_first), x, **beside)


def test_a_recorded_state_or_a_target_that_fits_the_other_order_only() -> None:
    spec, x = Spec(**NETWORK), np.zeros((7, 2, 3), np.float32)
    with pytest.raises(SequenceError, match=re.escape(f"h_n (1, 2, 4) fits only {TIME_FIRST}")):
        check(spec, x, recorded={"h_n": np.zeros((1, 2, 4), np.float32)})
    sequence = prepare(spec, x).sequence
    with pytest.raises(SequenceError, match=r"its first two axes are swapped: y.swapaxes\(0, 1\) fits"):
        loss_of(np.zeros((2, 7, 4)), spec, sequence, "loss")


def test_it_is_asked_only_where_nobody_said_it() -> None:
    assert assumed(Spec(**NETWORK), 5, 2) == (
        "x (2, 5, 3) is read as (batch, step, feature): 2 sequences of 5 steps; "
        "if it is (step, batch, feature), add --no-batch-first"
    )
    assert assumed(Spec(**NETWORK, batch_first=True), 5, 2) is None
    assert assumed(Spec(**NETWORK, batch=2), 5, 2) is None, "a generator makes what is read"
    assert assumed(Spec(**NETWORK), 5, 1) is None, "a batch of one"


def test_where_x_comes_from() -> None:
    assert source_of(Spec()) == "ramp:3 (the default)"
    assert source_of(Spec(input="ramp:3")) == "ramp:3"
    assert source_of(Spec(input="x.npz:first")) == "x.npz:first"
    assert source_of(Spec(input=[[1.0] * 5])) == source_of(Spec(input="[[1, 2]]")) == "the numbers in the spec"
    assert source_of(prepare(Spec(), torch.zeros(4, 5)).spec) == "", "an array of the caller has no name"
    assert source_of(prepare(Spec(), "randn:4").spec) == "randn:4"
