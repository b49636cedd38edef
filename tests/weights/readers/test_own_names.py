"""Parameters of a cell of one's own in a file: under the names of a spec, of a single cell, and under any prefix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rnnspect.cli import main

WRITTEN = """
from rnnspect.cells import Cell

def decaying(a, wx, h):
    (n,) = a.split(wx)
    return {"n": n, "h": a.sigmoid(a.parameter("decay")) * h + n + a.parameter("shift")}

def squashed(a, wx, h):
    (s,) = a.gates(wx, h)
    return {"s": s, "h": a.sigmoid(a.parameter("u")) * s}

OWN = (("decay", ("hidden_size",)), ("shift", ("hidden_size",)))
DECAYING = Cell(
    "decaying", "", ("n",), ("h",), ("n", "h"), ("sigmoid",), decaying, is_recurrent=False,
    has_projection_of_x=False, parameters=OWN,
)
SQUASHED = Cell(
    "squashed", "", ("s",), ("h",), ("s", "h"), ("sigmoid",), squashed, parameters=(("u", ("hidden_size",)),)
)
"""
OWN = {"decay": torch.tensor([0.5, -1.0, 2.0]), "shift": torch.tensor([0.25, 0.0, -0.5])}
FORMS: dict[str, dict[str, Tensor]] = {
    "a stack": {f"{name}_l0": one for name, one in OWN.items()},
    "a single cell": dict(OWN),
    "a stack with a prefix": {f"model.rnn.{name}_l0": one for name, one in OWN.items()},
    "a single cell with a prefix, and others": {
        **{f"cell.{name}": one for name, one in OWN.items()},
        "head.weight": torch.ones(2, 3),
    },
}


@pytest.fixture(autouse=True)
def _in_a_folder_with_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cells.py").write_text(WRITTEN)


def ran(capsys: Any, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main([*arguments])
    said = capsys.readouterr()
    return status, said.err if status else said.out


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_its_own_parameters_alone(form: str, capsys: Any) -> None:
    """As the source, whose shapes tell the sizes, and as the weights of a network that options describe. Two steps of
    zeros give shift, and σ(decay) ⊙ shift + shift."""
    torch.save(FORMS[form], "own.pt")
    cell, described = ["--cell", "cells.py:decaying"], ["--input-size", "3", "--hidden-size", "3"]
    for given in (["own.pt", *cell], ["--weights", "own.pt", *cell, *described]):
        status, _ = ran(capsys, "run", *given, "--input", "zeros:2", "-o", "y.npz", "-q")
        assert status == 0
        with np.load("y.npz") as kept:
            expected = OWN["shift"] * (1 + OWN["decay"].sigmoid())
            assert torch.allclose(torch.from_numpy(kept["output"])[-1, -1], expected)


@pytest.mark.parametrize("write", ["safetensors", "npz"])
def test_in_other_kinds_of_files(write: str, capsys: Any) -> None:
    named = FORMS["a stack"]
    if write == "npz":
        np.savez("own.npz", **{name: one.numpy() for name, one in named.items()})
    else:
        save_file(named, "own.safetensors")
    status, said = ran(capsys, "shapes", f"own.{write}", "--cell", "cells.py:decaying")
    assert status == 0
    assert "decay_l0" in said


def test_sizes_of_a_recurrent_cell_are_told_by_its_shapes(capsys: Any) -> None:
    shapes = {"weight_ih": (3, 2), "weight_hh": (3, 3), "bias_ih": (3,), "bias_hh": (3,), "u": (3,)}
    each = {f"{name}_l0": torch.ones(shape) for name, shape in shapes.items()}
    torch.save(each | {f"{name}_reverse": one for name, one in each.items()}, "two.pt")
    status, said = ran(capsys, "shapes", "two.pt", "--cell", "cells.py:squashed")
    assert status == 0
    assert "SQUASHED(2, 3, batch_first=True, bidirectional=True)" in said


def test_a_module_is_chosen_by_its_prefix(capsys: Any) -> None:
    torch.save({f"{at}.{name}": one * by for at, by in (("one", 1), ("two", 2)) for name, one in OWN.items()}, "2.pt")
    cell = ["--cell", "cells.py:decaying", "--input-size", "3", "--hidden-size", "3"]
    status, said = ran(capsys, "shapes", "--weights", "2.pt", *cell)
    assert status == 0  # nothing is read of it
    status, said = ran(capsys, "run", "--weights", "2.pt", *cell)
    assert (status, "the file has 2 recurrent modules; name it after a colon" in said) == (2, True)
    status, _ = ran(capsys, "run", "--weights", "2.pt:two", *cell, "--input", "zeros:1", "-o", "y.npz", "-q")
    assert status == 0
    with np.load("y.npz") as kept:
        assert kept["output"].flatten().tolist() == (2 * OWN["shift"]).tolist()


def test_names_that_are_said(capsys: Any) -> None:
    torch.save({"a": OWN["decay"], "b": OWN["shift"]}, "named.pt")
    given = ["named.pt", "--cell", "cells.py:decaying", "--names", "decay_l0=a,shift_l0=b"]
    status, said = ran(capsys, "run", *given, "--input", "zeros:1", "-f", "json")
    assert status == 0
    assert "0.25" in said


@pytest.mark.parametrize(
    ("stored", "described", "told"),
    [
        (
            {"x": torch.ones(3)},
            (),
            "no parameters of cell decaying found; expected decay_l0, shift_l0, with any prefix",
        ),
        ({"decay_l0": torch.ones(3)}, (), "missing: 'shift_l0'"),
        ({**FORMS["a stack"], "gain_l0": torch.ones(3)}, (), "unknown parameter 'gain_l0'"),
        (FORMS["a stack"], ("--input-size", "4", "--hidden-size", "4"), "the file has input_size 3, hidden_size 3"),
    ],
)
def test_what_does_not_fit_is_refused(
    stored: dict[str, Tensor], described: tuple[str, ...], told: str, capsys: Any
) -> None:
    torch.save(stored, "own.pt")
    sizes = described or ("--input-size", "3", "--hidden-size", "3")
    status, said = ran(capsys, "run", "--weights", "own.pt", "--cell", "cells.py:decaying", *sizes)
    assert status == 2
    assert told in said
