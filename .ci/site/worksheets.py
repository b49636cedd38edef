"""Worksheets: a number to compute by hand, and its derivation behind a click, as `rnnspect derive` prints it today."""

from __future__ import annotations

import yaml
from commands import ROOT, block, said

import rnnspect
from rnnspect import Spec
from rnnspect.network.equations import written_equations

SHEETS = {
    "rnn": ("h 0 0", "h 0 1", "h 1 0", "h 1 1"),
    "lstm": ("i 0 0", "f 0 0", "g 0 0", "o 0 0", "c 0 0", "h 0 0", "f 1 0", "h 1 0"),
    "gru": ("r 0 0", "z 0 0", "n 0 0", "h 0 0", "h 1 0"),
}
"""Quantity, step and unit of each question."""
NAMED = {
    "h": "the hidden state h",
    "c": "the cell state c",
    "i": "the input gate i",
    "f": "the forget gate f",
    "g": "the candidate g",
    "o": "the output gate o",
    "r": "the reset gate r",
    "z": "the update gate z",
    "n": "the candidate n",
}
LEAD = """# Worksheets

Numbers to compute by hand, with a calculator for σ and tanh: σ(v) = 1 / (1 + e⁻ᵛ). Each answer is behind a click: the
number to four digits, and every sum and product on the way to it, as `rnnspect derive` writes them. A state that is not
given is zero.
"""


def page() -> str:
    return "\n".join([LEAD, *(_sheet(cell, asked) for cell, asked in SHEETS.items())])


def _sheet(cell: str, asked: tuple[str, ...]) -> str:
    name = f"examples/worksheet-{cell}.yaml"
    text = (ROOT / name).read_text()
    spec = Spec(**yaml.safe_load(text))
    run = rnnspect.trace(spec).layers[0].quantities
    parts = [f"## {cell.upper()}\n", block(text.strip(), "yaml"), block("\n".join(written_equations(spec)))]
    rows = ", and which rows belong to which gate" if len(spec.cell_type.gates) > 1 else ""
    shapes = f"How many parameters does it have{rows}?"
    parts += [f'??? question "{shapes}"\n\n{_indented(f"shapes {name}")}']
    for number, question in enumerate(asked, 1):
        quantity, step, unit = question.split()
        answer = float(run[quantity][0, int(step), int(unit)])
        command = f"derive {name} --quantity {quantity} --step {step} --unit {unit} --precision 4"
        where = f"at step {step}" if spec.hidden_size == 1 else f"of unit {unit} at step {step}"
        parts += [
            f"**{number}.** What is {NAMED[quantity]} {where}?\n",
            f'??? success "Answer"\n\n    **{answer:.4f}**\n\n{_indented(command)}',
        ]
    return "\n".join(parts)


def _indented(command: str) -> str:
    lines = block(f"$ rnnspect {command}\n{said(*command.split())}", "console").splitlines()
    return "".join(f"    {line}\n" if line else "\n" for line in lines)
