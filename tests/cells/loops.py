"""The cells of `test_examples.py` written again, in torch and one step at a time, without a line of the package: each
right, and with one thing changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[..., Any]


def mgu(changed: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        (x_f, x_n), (w_f, w_n) = (x_t @ weight_ih.T + bias_ih).chunk(2, -1), weight_hh.chunk(2)
        b_f, b_n = bias_hh.chunk(2)
        f = torch.sigmoid(x_f + h @ w_f.T + b_f)
        n = torch.tanh(x_n + (h if changed else f * h) @ w_n.T + b_n)
        return (1 - f) * h + f * n

    return step


def indrnn(changed: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor, u: Tensor) -> Tensor:
        return torch.tanh(x_t @ weight_ih.T + bias_ih + (u.flip(0) if changed else u) * h)

    return step


def mingru(changed: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        z, n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        z = torch.sigmoid(z)
        return (1 - z) * n + z * h if changed else (1 - z) * h + z * n

    return step


def minlstm(changed: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        f, i, n = (x_t @ weight_ih.T + bias_ih).chunk(3, -1)
        f, i = torch.sigmoid(f), torch.sigmoid(i)
        return f * h + i * n if changed else f / (f + i) * h + i / (f + i) * n

    return step


LOOPS = {"mgu": mgu, "indrnn": indrnn, "mingru": mingru, "minlstm": minlstm}
