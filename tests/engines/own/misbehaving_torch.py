"""Engines over tensors that give other tensors than plain ones of floating-point numbers."""

from __future__ import annotations

import torch


def sparse(x_t, h):
    return h.to_sparse()


def meta(x_t, h):
    return h.to("meta")


def quantised(x_t, h):
    return torch.quantize_per_tensor(h, 0.1, 0, torch.qint8)


def complex_numbers(x_t, h):
    return h.to(torch.complex64)


def booleans(x_t, h):
    return h > 0


def nested(x_t, h):
    return torch.nested.nested_tensor([h[0]])


def with_gradients(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    with torch.enable_grad():
        return torch.gru_cell(x_t, h.requires_grad_(), weight_ih, weight_hh, bias_ih, bias_hh)


def changes_torch(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(True)
    return torch.gru_cell(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)


class Lazy(torch.nn.Module):
    """Its parameters have no shape yet."""

    def __init__(self):
        super().__init__()
        self.cell = torch.nn.LazyLinear(4)

    def forward(self, x_t, h):
        return self.cell(h)
