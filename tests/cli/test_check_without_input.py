"""rnnspect check FILE and nothing else: an input is drawn that tells."""

from __future__ import annotations

import torch


def test_a_checkpoint_is_checked_on_a_drawn_input_unless_one_is_said(rnnspect, tmp_path):
    torch.manual_seed(0)
    module = torch.nn.LSTM(16, 32)
    with torch.no_grad():
        for parameter in module.parameters():  # which three steps of a ramp saturate
            parameter.mul_(100)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    result = rnnspect("check", tmp_path / "model.pt")
    assert result.status == 0
    assert "no input was given: random x, h0, c0 were drawn for these weights" in result.out
    said = rnnspect("check", tmp_path / "model.pt", "--input", "ramp:3")
    assert "drawn" not in said.out
    assert said.status == 3
    assert "drawn" not in rnnspect("trace", tmp_path / "model.pt").out
