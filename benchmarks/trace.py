"""A full trace, every quantity kept, beside the notebook's way of getting the same numbers.

The notebook's loop multiplies x and h at each step and keeps each quantity, with the module's parameters as they are:
autograd records it. The same loop under no_grad stands beside it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import rnnspect
from benchmarks.measure import Row, alternated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Loop = Callable[[nn.RNNBase, Tensor], list[dict[str, Tensor]]]

STEPS, INPUT, HIDDEN, ROUNDS = 1000, 64, 128, 9
LIMIT = 0.5


def rows() -> Iterator[Row]:
    cases: list[tuple[Callable[..., nn.RNNBase], Loop]] = [(nn.LSTM, lstm_loop), (nn.GRU, gru_loop)]
    for kind, loop in cases:
        torch.manual_seed(0)
        module = kind(INPUT, HIDDEN, batch_first=True)
        x = torch.randn(1, STEPS, INPUT)
        ours, notebook, no_grad = alternated(
            ROUNDS,
            partial(rnnspect.trace, module, x),
            partial(loop, module, x),
            partial(torch.no_grad()(loop), module, x),
        )
        what = f"trace of {kind.__name__}, T = {STEPS}, B = 1, {INPUT} → {HIDDEN}"
        yield Row(what, "the notebook's loop", LIMIT, ours / notebook)
        yield Row(what, "the same loop, no_grad", None, ours / no_grad)


def lstm_loop(module: nn.RNNBase, x: Tensor) -> list[dict[str, Tensor]]:
    w_x, w_h, b_x, b_h = module.parameters()
    h = c = torch.zeros(x.shape[0], HIDDEN)
    kept = []
    for t in range(x.shape[1]):
        hidden = torch.matmul(x[:, t], torch.transpose(w_x, 0, 1)) + b_x
        packed = hidden + torch.matmul(h, torch.transpose(w_h, 0, 1)) + b_h
        s_i, s_f, s_g, s_o = packed.chunk(4, 1)
        i, f, g, o = torch.sigmoid(s_i), torch.sigmoid(s_f), torch.tanh(s_g), torch.sigmoid(s_o)
        c = f * c + i * g
        h = o * torch.tanh(c)
        kept.append({"input_projection": hidden, "i": i, "f": f, "g": g, "o": o, "c": c, "h": h})
    return kept


def gru_loop(module: nn.RNNBase, x: Tensor) -> list[dict[str, Tensor]]:
    w_x, w_h, b_x, b_h = module.parameters()
    h = torch.zeros(x.shape[0], HIDDEN)
    kept = []
    for t in range(x.shape[1]):
        hidden = torch.matmul(x[:, t], torch.transpose(w_x, 0, 1)) + b_x
        u_r, u_z, u_n = hidden.chunk(3, 1)
        v_r, v_z, v_n = (torch.matmul(h, torch.transpose(w_h, 0, 1)) + b_h).chunk(3, 1)
        r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
        n = torch.tanh(u_n + r * v_n)
        h = (1 - z) * n + z * h
        kept.append({"input_projection": hidden, "r": r, "z": z, "n": n, "h": h})
    return kept
