"""The plain loops that mistakes are planted in are right without one: against torch.nn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.causes.mistakes import HIDDEN, Setting
from tests.causes.planted import Planted

# float32 sums of at most 2 × 5 products of numbers near 1, through 7 steps of at most 2 layers.
CLOSE = 2e-6


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "proj"), [("rnn", 0), ("gru", 0), ("lstm", 0), ("lstm", 3)])
def test_a_run_without_a_mistake_is_that_of_torch(
    kind: str, proj: int, layers: int, directions: int, packed: bool
) -> None:
    planted = Planted(Setting(kind, layers, directions, proj=proj, packed=packed))
    given = planted.given
    more = {"proj_size": proj} if proj else {}
    made = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind]
    module = made(planted.setting.inputs, HIDDEN, layers, bidirectional=directions == 2, **more)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in planted.net.parameters.items()})
    x, h0, c0 = (torch.from_numpy(value) for value in (given.x, given.h0, given.c0))
    taken: Any = x
    if given.lengths:
        taken = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(given.lengths), enforce_sorted=False)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        output, final = module(taken, (h0, c0) if kind == "lstm" else h0)
    if given.lengths:
        output, _ = nn.utils.rnn.pad_packed_sequence(output, total_length=len(given.x))
    h_n, *c_n = final if kind == "lstm" else (final,)
    theirs = {"output": output, "h_n": h_n} | ({"c_n": c_n[0]} if c_n else {})
    ours = planted.run({})
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value.numpy(), rtol=0, atol=CLOSE, err_msg=name)
    top = np.concatenate([ours[f"l{layers - 1}.{d}.h"] for d in ("forward", "reverse")[:directions]], -1)
    np.testing.assert_array_equal(ours["output"], top.transpose(1, 0, 2))
