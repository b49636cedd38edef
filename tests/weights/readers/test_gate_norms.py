"""Norms inside of a cell make it another network; norms behind a layer do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnspect.cli import main

H, INPUTS = 4, 3
Shapes = dict[str, tuple[int, ...]]


def saved(path: Path, rows: int, names: tuple[str, ...], beside: Shapes) -> Path:
    """Weights by these names, and what stands beside them."""
    torch.manual_seed(0)
    shapes: Shapes = {names[0]: (rows, INPUTS), names[1]: (rows, H), **beside}
    arrays: dict[str, Tensor] = {name: torch.randn(shape) for name, shape in shapes.items()}
    torch.save(arrays, path)
    return path


CELL, BELOW, STACK = ("weight_ih", "weight_hh"), ("cell.weight_ih", "cell.weight_hh"), ("weight_ih_l0", "weight_hh_l0")
OTHER = ("cell.i2h.weight", "cell.h2h.weight")


@pytest.mark.parametrize(
    ("rows", "names", "beside"),
    [
        (
            4 * H,
            CELL,
            {"layernorm_i.weight": (4 * H,), "layernorm_i.bias": (4 * H,), "layernorm_c.weight": (H,)},
        ),
        (4 * H, BELOW, {"cell.ln_ih.weight": (4 * H,)}),
        (3 * H, BELOW, {"cell.bn_ih.weight": (3 * H,), "cell.bn_ih.running_mean": (3 * H,)}),
        (4 * H, STACK, {"norm_c.weight": (H,)}),
        (4 * H, OTHER, {"cell.ln.weight": (4 * H,)}),
        (4 * H, OTHER, {"cell.ln_i2h.weight": (4 * H,), "cell.ln_h2h.weight": (4 * H,)}),
        (H, CELL, {"ln_ih.weight": (H,), "ln_hh.weight": (H,)}),
        (4 * H, CELL, {"gamma": (2, 4 * H)}),
    ],
)
def test_a_cell_with_norms_in_it_is_no_plain_one(
    tmp_path: Path, rows: int, names: tuple[str, ...], beside: Shapes, capsys: Any
) -> None:
    path = saved(tmp_path / "m.pt", rows, names, beside)
    assert main(["check", str(path)]) == 2
    said = capsys.readouterr().err
    assert "norms of its gates or of its cell state" in said
    assert "--cell mine.py:NAME" in said
    cell = {1: "rnn", 3: "gru", 4: "lstm"}[rows // H]
    assert f"--cell {cell}" in said
    assert main(["check", str(path), "--cell", cell]) == 0


@pytest.mark.parametrize(
    ("rows", "names", "beside"),
    [
        (4 * H, ("rnn.weight_ih_l0", "rnn.weight_hh_l0"), {"norm.weight": (4 * H,), "ln_c.weight": (H,)}),
        (4 * H, STACK, {"norm.weight": (H,), "norm.bias": (H,)}),
        (H, CELL, {"norm.weight": (H,), "ln.weight": (H,), "norm_h.weight": (H,)}),
        (4 * H, CELL, {"decoder.0.norm.weight": (4 * H,), "planning.weight": (4 * H,)}),
        (3 * H, BELOW, {"cell2.norm.weight": (3 * H,), "cell.norm_c.weight": (INPUTS,)}),
    ],
)
def test_norms_beside_it_are_passed_over(
    tmp_path: Path, rows: int, names: tuple[str, ...], beside: dict[str, tuple[int, ...]]
) -> None:
    path = saved(tmp_path / "m.pt", rows, names, beside)
    assert main(["check", str(path), "-q"]) == 0
