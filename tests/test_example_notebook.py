"""The example notebook runs from top to bottom, and shows what it was committed with."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
VARIES = [
    (re.compile(r"^ *difference .*$", re.MULTILINE), "DIFFERENCE"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"\btorch \d[\w.+]*"), "torch VERSION"),
    (re.compile(r"Largest\s+error: .*?unit\s+\d+", re.DOTALL), "LARGEST"),
    (re.compile(r"\b[\d.,]+(?= ×| %)"), "RATIO"),
    (re.compile(r"-?\b\d(\.\d+)?e-\d+"), "TINY"),
    (re.compile(r"difference: (0|TINY)"), "difference: TINY"),
    (re.compile(r"gives the same numbers|matches, maximum difference TINY"), "CLOSE"),
    (re.compile(r"\b[\d.,]+ of (it|the bound)\b|\b\d[\d,.]* times the"), "RATIO"),
    (re.compile("─+"), "─"),
]
"""What differs from one version or machine to another: how PyTorch is called there, the last places of rounding, and
how wide a table is, which follows from the longest number in it."""
DECIMAL = re.compile(r"-?\d+\.\d+")
SHOWN = 1.01e-4
"""Four decimals are shown: roundings of float32, at 1e-7 of numbers near 1, can move the last by one."""


class Text(HTMLParser):
    """The text of a page; what only has a colour of its own stands in its line."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said = ""
        self.feed(re.sub("<style>.*?</style>", "", page))

    def handle_starttag(self, tag, attrs):
        self.said += "" if tag == "span" else "\n"

    def handle_data(self, data):
        self.said += data


def _cells(notebook):
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


COMMITTED = _cells(nbformat.read(NOTEBOOK, as_version=4))


@pytest.mark.slow
def test_it_shows_what_it_was_committed_with(tmp_path, monkeypatch):
    """Executed in a kernel of this environment that sees this code. One test: several could start several kernels."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    executed = _cells(notebook)
    assert list(executed) == list(COMMITTED)
    for name, cell in executed.items():
        kept = COMMITTED[name].outputs
        assert [_kinds(output) for output in cell.outputs] == [_kinds(output) for output in kept], name
        for output, other in zip(cell.outputs, kept, strict=True):
            for kind in other.data:
                now, committed = (comparable(one.data[kind], kind) for one in (output, other))
                assert DECIMAL.sub("#", now) == DECIMAL.sub("#", committed), name
                assert numbers_of(now) == pytest.approx(numbers_of(committed), abs=SHOWN), name
    assert "<html" in (tmp_path / "gru.html").read_text()


def _kinds(output):
    """A result and its forms; a cell here prints nothing and warns of nothing."""
    return output.output_type, sorted(output.data)


def comparable(text, kind):
    text = Text(text).said if kind == "text/html" else text
    for pattern, instead in VARIES:
        text = pattern.sub(instead, text)
    return text


def numbers_of(text):
    return [float(number) for number in DECIMAL.findall(text)]


def test_cells_are_executed_in_order():
    assert [cell.execution_count for cell in COMMITTED.values()] == [*range(1, len(COMMITTED) + 1)]


def test_results_are_kept_as_tables_and_not_as_every_number():
    forms = [output.data for cell in COMMITTED.values() for output in cell.outputs]
    assert sum("text/html" in data for data in forms) >= 6
    assert NOTEBOOK.stat().st_size < 50_000
    assert not any("Tensor" in data["text/plain"] or "(spec=" in data["text/plain"] for data in forms)


def test_a_changed_number_is_seen():
    """The comparison itself: a number, a word and a sign."""
    kept = COMMITTED["trace"].outputs[0].data["text/plain"]
    for old, new in (("0.5253", "0.5258"), ("W_ih x + b_ih", "W_ih x"), ("-0.4702", "0.4702")):
        changed = kept.replace(old, new)
        assert changed != kept
        one, other = (comparable(text, "text/plain") for text in (kept, changed))
        same = DECIMAL.sub("#", one) == DECIMAL.sub("#", other)
        assert not (same and numbers_of(one) == pytest.approx(numbers_of(other), abs=SHOWN))


def test_a_wider_table_is_no_difference():
    """A last digit more makes a column, and with it the rules of the table, one character wider."""
    kept = COMMITTED["trace"].outputs[0].data["text/plain"]
    wider = kept.replace("─\n", "──\n")
    assert wider != kept
    assert comparable(wider, "text/plain") == comparable(kept, "text/plain")
