"""rnnspect check FILE and nothing else: an input is drawn that tells."""

from __future__ import annotations

import numpy as np
import pytest
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
    assert "Next     with an input of your own: rnnspect check" in result.out
    said = rnnspect("check", tmp_path / "model.pt", "--input", "ramp:3")
    assert "Next" not in said.out
    assert "drawn" not in said.out
    assert said.status == 3
    assert "drawn" not in rnnspect("trace", tmp_path / "model.pt").out


@pytest.mark.usefixtures("no_causes")
def test_the_next_command_is_the_same_check_of_an_input_of_ones_own(rnnspect, tmp_path, monkeypatch):
    """Whatever the answer is, and with the engine and module that were named; as typed it runs."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module = torch.nn.ModuleDict({"one": torch.nn.GRU(2, 3), "two": torch.nn.GRU(2, 3)})
    torch.save(module.state_dict(), "model.pt")
    np.save("x.npy", torch.randn(9, 2).numpy())
    (tmp_path / "mine.py").write_text("def step(x_t, h, weight_ih):\n    return h + 1\n")
    agrees = rnnspect("check", "model.pt", "--module", "two", "--no-batch-first", "--engine", "torch-cell", "-q")
    differs = rnnspect("check", "model.pt", "--module", "two", "--no-batch-first", "--engine", "mine.py:step", "-q")
    for result, status, engine in ((agrees, 0, "torch-cell"), (differs, 1, "mine.py:step")):
        said = " ".join(result.out.split())
        following = f"rnnspect check model.pt --module two --no-batch-first --engine {engine} --input x.npy"
        assert (result.status, f"Next with an input of your own: {following}" in said) == (status, True)
        assert rnnspect(*following.split()[1:]).status == status


OPTIONS = {
    "gradients": "--backward --loss sum",
    "arithmetic": "--explain 0 --arithmetic tf32",
    "calls": "--engine torch --split 16:1",
    "weights": "--recover theirs.npz --other-weights model.pt --other-weights model.pt",
}


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_next_command_keeps_the_options_of_the_check(rnnspect, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.GRU(2, 3).state_dict(), "model.pt")
    said = " ".join(rnnspect("check", "model.pt", *options.split(), "-q").out.split())
    assert f"with an input of your own: rnnspect check model.pt {options} --input x.npy" in said


def test_a_recording_with_an_input_of_its_own_says_how_to_give_it(rnnspect, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module, x = torch.nn.GRU(2, 3, batch_first=True), torch.randn(2, 9, 2)
    torch.save(module.state_dict(), "model.pt")
    with torch.no_grad():
        np.savez("bad.npz", x=x.numpy(), output=module(x)[0].numpy())
    refused = rnnspect("check", "model.pt", "--recorded", "bad.npz")
    assert refused.status == 2
    assert "no input was given: pass this x with --input bad.npz:x" in " ".join(refused.err.split())
    assert rnnspect("check", "model.pt", "--recorded", "bad.npz", "--batch-first", "--input", "bad.npz:x").status == 0
    np.save("y.npy", np.load("bad.npz")["output"][0])
    refused = rnnspect("check", "model.pt", "--recorded", "y.npy")
    assert "output has 9 steps, the default input has 3; expected (step, unit) = (3, 3)" in " ".join(
        refused.err.split()
    )
    assert "no input was given: pass the x of the recording with --input x.npy" in " ".join(refused.err.split())
