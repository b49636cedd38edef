"""What is printed as the largest error is an engine's, and not a rounding of ours."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec


def hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


def test_where_gates_are_shut_the_largest_error_is_one_of_the_engine(tmp_path: Path) -> None:
    """A gate that is shut carries h on exactly, and its limit is narrow: only our own float32 is near to it."""
    torch.manual_seed(0)
    units = 64
    gru = torch.nn.GRU(5, units)
    x, h, given = torch.randn(5, 2, 5), torch.zeros(2, units), []
    with torch.no_grad():
        for p in gru.parameters():
            p.copy_(torch.randn_like(p) * 0.4)
        for step in x:
            r, z, n = (step @ gru.weight_ih_l0.T + gru.bias_ih_l0).chunk(3, -1)
            r_h, z_h, n_h = (h @ gru.weight_hh_l0.T + gru.bias_hh_l0).chunk(3, -1)
            r, z = hard_sigmoid(r + r_h), hard_sigmoid(z + z_h)
            n = torch.tanh(n + r * n_h)
            h = z * h + (1 - z) * n
            given.append(h)
    torch.save(gru.state_dict(), tmp_path / "gru.pt")
    activations = ["hard_sigmoid(0.2, 0.5)", "tanh"]
    sizes = {"input_size": 5, "hidden_size": units, "batch_first": False}
    spec = Spec(cell="gru", activations=activations, weights=str(tmp_path / "gru.pt"), **sizes)
    found = rnnspect.check(spec, x, recorded={"output": torch.stack(given)})
    assert found.agrees
    assert found.worst is not None
    assert 1e-3 < found.worst.ratio <= 1
    assert found.worst.manual != found.worst.engine
