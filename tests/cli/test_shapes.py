"""`rnnspect shapes`: what torchinfo's users look for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

MODEL = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(50, 3)
        self.rnn = torch.nn.LSTM(3, 4, bidirectional=True)
        self.embed.requires_grad_(False)

    def forward(self, x):
        return self.rnn(self.embed(x))

def build():
    return Model()
"""


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"bidirectional": True, "num_layers": 3},
        {"proj_size": 2, "bias": False},
    ],
    ids=str,
)
def test_multiply_adds_are_the_weights_that_a_step_uses(rnnspect, keys):
    module = torch.nn.LSTM(5, 4, **keys)
    weights = sum(one.numel() for name, one in module.named_parameters() if name.startswith("weight"))
    words = [
        word
        for name, value in keys.items()
        for word in (
            [f"--{name.replace('_', '-')}"]
            if value is True
            else ["--no-bias"]
            if value is False
            else [f"--{name.replace('_', '-')}", value]
        )
    ]
    options = ("shapes", "--cell", "lstm", "--hidden-size", "4", *words)
    assert f"multiply-adds: {weights:,} a step" in rnnspect(*options).out
    assert json.loads(rnnspect(*options, "-f", "json").out)["multiply_adds"] == weights


@pytest.mark.parametrize(
    ("cell", "products"),
    [
        ("indrnn", 4 * 3 + 4),  # W x, and u ⊙ h
        ("mingru", 8 * 3),
        ("retnet", 16 * 3 + 2 * (2 * 3 * 2)),  # k vᵀ and Sᵀ q of two heads
        ("gated_delta", 24 * 3 + 3 * (2 * 4 * 2)),  # (g S)ᵀ k, what replaces it, and Sᵀ q
        ("lru", 16 * 3 + 2 * (4 * 6)),  # C_re and C_im; gamma is a function of a parameter
    ],
)
def test_multiply_adds_of_a_cell_of_ones_own(rnnspect, cell, products):
    options = ("shapes", "--cell", f"examples/cells/{cell}.py:{cell}", "--input-size", "3", "--hidden-size", "4")
    assert json.loads(rnnspect(*options, "-f", "json").out)["multiply_adds"] == products


def test_multiply_adds_of_a_cell_that_multiplies_unit_by_unit(rnnspect, tmp_path):
    text = Path("examples/cells/mingru.py").read_text()
    path = tmp_path / "gates.py"
    path.write_text(text.replace("is_recurrent=False,", "is_recurrent=False, has_projection_of_x=False,"))
    out = rnnspect("shapes", "--cell", f"{path}:mingru", "--input-size", "8", "--hidden-size", "4").out
    assert "multiply-adds: none with parameters or of matrices" in " ".join(out.split())


def test_the_memory_is_that_of_the_run_that_is_described(rnnspect):
    def needed(*options: str) -> float:
        said = r"memory of a run: about ([\d.]+) (.iB) for (.*), besides PyTorch"
        found = re.search(said, rnnspect("shapes", *options).out)
        assert found is not None
        assert found[3] == ("100,000 steps, batch of 64" if options else "3 steps, batch of 1")
        return float(found[1]) * 1024 ** ["KiB", "MiB", "GiB"].index(found[2])

    # A tiny network takes a few KiB; of 100,000 steps of 64 items x alone, 5 numbers of 4 bytes, takes 122 MiB.
    assert needed() < 16
    assert needed("--input", "randn:100000", "--batch", "64") > 122 * 1024


def test_what_is_frozen_is_told(rnnspect, tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    out = rnnspect("shapes", f"{tmp_path}/model.py:build").out
    assert re.search(r"embed +150 +none +Embedding", out)
    assert re.search(r"rnn +288 +all +LSTM", out)
    assert "total: 438 parameters, 288 trainable, 150 frozen" in out
    assert "rows per gate: i 0:4  f 4:8  g 8:12  o 12:16" in out


def test_the_equations_are_those_of_the_network(rnnspect):
    assert "h' = relu(W_ih x + W_hh h)" in rnnspect("shapes", "--nonlinearity", "relu", "--no-bias").out
