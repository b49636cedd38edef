"""The LSTM with peepholes (Gers, Schraudolph & Schmidhuber 2002, JMLR 3): a variant of our LSTM, `peepholes: true`."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.cells.recurrent.peer import Step, Weights


def weights(theirs: Weights) -> Weights:
    return {("weight_ch" if name == "weight_ph" else name): one for name, one in theirs.items()}


def loop(wrong: bool) -> Step:
    """The mistake: the output gate sees the cell state of the step before."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        weight_ch: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, c), (p_i, p_f, p_o) = state, weight_ch.chunk(3)
        i, f, g, o = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(4, -1)
        new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        return torch.sigmoid(o + p_o * (c if wrong else new)) * torch.tanh(new), new

    return step
