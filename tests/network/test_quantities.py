"""Gates by the words that people say for them."""

from __future__ import annotations

import json

import pytest

from rnnspect.cells import CELLS
from rnnspect.cli import main
from rnnspect.network.quantities import PROJECTIONS, known
from tests.marks import sampled

SAID = {
    "lstm": {
        "input": "i",
        "forget": "f",
        "candidate": "g",
        "cell gate": "g",  # as PyTorch calls it
        "output": "o",
        "cell": "c",
        "hidden": "h",
        "F": "f",
        "forget gate": "f",
        "cell-state": "c",
        "hidden_state": "h",
    },
    "gru": {"reset": "r", "update": "z", "candidate": "n", "new gate": "n", "hidden": "h", "output": "h"},
    "rnn": {"hidden": "h", "output": "h", "H": "h"},
}


@pytest.mark.parametrize(
    ("cell", "said", "name"), sampled([(c, *one) for c, words in SAID.items() for one in words.items()], 2)
)
def test_a_gate_is_derived_and_traced_by_its_word(capsys, cell, said, name):
    assert main(["derive", "--cell", cell, "--step", "0", "--unit", "0", "--quantity", said, "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["point"]["quantity"] == name
    outs = []
    for quantities in (said, name):
        assert main(["trace", "--cell", cell, "--quantities", quantities]) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1]


@pytest.mark.parametrize("cell", CELLS)
def test_a_name_that_a_cell_has_is_itself(cell):
    there = ("x", *PROJECTIONS, *CELLS[cell].quantities)
    assert [known(name, there, cell, "") for name in there] == list(there)


@pytest.mark.parametrize(("cell", "said"), [("gru", "forget"), ("rnn", "cell"), ("lstm", "update"), ("lstm", "forgte")])
def test_a_word_for_a_gate_that_the_cell_lacks_is_refused(capsys, cell, said):
    assert main(["derive", "--cell", cell, "--step", "0", "--unit", "0", "--quantity", said]) == 2
    err = capsys.readouterr().err
    assert f"cell {cell} has no quantity '{said}' to derive; expected " in err
    assert ("did you mean 'forget'?" in err) == (said == "forgte")
