"""What a message on weights advises can be typed, and does what it says: on one bias, and on another network."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnnspect.cli import main

CELLS = ("LSTM", "GRU")


def one_bias(cell: str, names: tuple[str, str, str], transposed: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network with one bias of each gate, under these names; and the same with PyTorch's two."""
    torch.manual_seed(0)
    state = {name: one.numpy() for name, one in getattr(torch.nn, cell)(3, 4).state_dict().items()}
    state["bias_hh_l0"] = 0 * state["bias_hh_l0"]
    kept = dict(zip(names, ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), strict=True))
    return {name: state[known].T if transposed else state[known] for name, known in kept.items()}, state


@pytest.mark.each_value_once
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("names", "transposed"),
    [
        (("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), False),
        (("weight_ih_l0", "weight_hh_l0", "bias_l0"), False),
        (("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias"), False),
        (("Wx", "Wh", "b"), False),
        (("W", "U", "b"), True),
    ],
)
def test_one_bias_is_saved_as_two(
    cell: str, transposed: bool, names: tuple[str, str, str], tmp_path: Path, capsys: Any
):
    """The statements that the message gives, run on the arrays of the file, make a file that is read as the network."""
    arrays, expected = one_bias(cell, names, transposed)
    np.savez(tmp_path / "one.npz", **arrays)
    assert main(["trace", str(tmp_path / "one.npz")]) == 2
    said = capsys.readouterr().err
    (assignments,) = re.findall(r"(?:save|other:) ((?:\w+ = [^;,]+(?:; )?)+)", said.replace("rnn.", ""))
    there = {name.removeprefix("rnn."): one for name, one in arrays.items()}
    exec(assignments.strip(), {}, there)
    two = {name: there[name] for name in expected}
    assert all(np.array_equal(two[name], expected[name]) for name in expected)
    np.savez(tmp_path / "two.npz", **two)
    assert main(["check", str(tmp_path / "two.npz"), "--cell", cell.lower()]) == 0


def test_a_bias_of_something_else_is_left_alone(tmp_path: Path, capsys: Any) -> None:
    arrays, _ = one_bias("LSTM", ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.fc.bias"))
    np.savez(tmp_path / "x.npz", **arrays)
    assert main(["shapes", str(tmp_path / "x.npz")]) == 0
    assert "LSTM(3, 4, bias=False" in capsys.readouterr().out


MODULES = {
    "lstm": torch.nn.LSTM(3, 4),
    "gru": torch.nn.GRU(3, 4, num_layers=2, bidirectional=True),
    "rnn": torch.nn.RNN(3, 4, bias=False),
    "projected": torch.nn.LSTM(3, 4, proj_size=2),
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("options", ["", "--cell gru", "--cell lstm --input-size 3 --hidden-size 4"])
def test_weights_of_another_network_say_what_to_type(
    name: str, options: str, tmp_path: Path, capsys: Any, monkeypatch: Any
):
    monkeypatch.chdir(tmp_path)
    torch.save(MODULES[name].state_dict(), "model.pt")
    given = ["trace", "--weights", "model.pt", *options.split()]
    if main(given) == 0:
        assert (name, options) == ("lstm", "--cell lstm --input-size 3 --hidden-size 4")
        return
    said = capsys.readouterr().err
    (line,) = said.splitlines()
    shapes = {one: tuple(values.shape) for one, values in MODULES[name].state_dict().items()}
    cell = MODULES[name].mode.partition("_")[0].lower()
    assert line.startswith(f"error: model.pt: weight_ih_l0 {shapes['weight_ih_l0']}, weight_hh_l0 ")
    assert f"are of a cell {cell} (" in line
    flags, file = re.fullmatch(r".*; add (.+), or pass the file in place of the spec: (.+)", line).groups()
    assert main([*given, *shlex.split(flags)]) == 0
    assert main(["trace", *shlex.split(file)]) == 0
