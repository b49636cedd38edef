"""A GRU that keeps its state from one call to the next: what it is given counts in the first call only."""

from torch import nn


class Kept(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)
        self.h = None

    def forward(self, x, h0=None):
        output, self.h = self.gru(x, h0 if self.h is None else self.h)
        return output, self.h
