"""A model with recurrent modules inside, for `rnnspect check examples/tagger.py:build`."""

import torch
from torch import nn


class Tagger(nn.Module):
    """A bidirectional LSTM over each sequence, then a GRU cell that steps over what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(5, 8, batch_first=True, bidirectional=True)
        self.decoder = nn.GRUCell(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoded, _ = self.encoder(x)
        state = torch.zeros(len(x), 4)
        for step in encoded.unbind(1):
            state = self.decoder(step, state)
        return state


def build() -> nn.Module:
    torch.manual_seed(1)
    return Tagger()
