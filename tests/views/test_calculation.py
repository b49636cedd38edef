"""Sums that would fill screens: one line, and a table of their largest terms that adds up to them."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest

import rnnspect
from rnnspect import Spec
from rnnspect.cells import Cell
from rnnspect.engines.own.loading import load_cell
from rnnspect.reporting.data import Derivation
from rnnspect.views import derive
from rnnspect.views.calculation import MOST, Section, every_digit
from rnnspect.views.documents import derivation_document
from tests.causes.own_cells import MAMBA

MLSTM = load_cell("examples/cells/mlstm.py:mlstm")
WIDE = replace(MLSTM, constants=(("heads", 2), ("d_k", 20), ("minus", -1.0), ("scale", 20**-0.5)))


def derived(cell: Cell) -> Derivation:
    spec = Spec(cell=cell, input_size=3, hidden_size=4, input="randn:3")
    found = rnnspect.derive(spec, step=2, unit=1)
    assert isinstance(found, Derivation)
    return found


def section(cell: Cell, most: int | None) -> Section:
    return derive.sections(derived(cell), every_digit, most)[0]


@pytest.mark.parametrize("most", [MOST, None])
@pytest.mark.parametrize(("cell", "count"), [(MAMBA, 8), (WIDE, 20)], ids=["mamba", "mlstm"])
def test_its_terms_add_up(cell: Cell, count: int, most: int | None) -> None:
    tables = [one for one in section(cell, most).listed if "sum of" in one.what]
    assert any(f"sum of {count} products" in one.what for one in tables)
    for one in tables:
        terms = [float(row[-1]) for row in one.rows]
        # what is said is rounded once, and so is the row of what is left out
        off = sys.float_info.epsilon * sum(map(abs, terms))
        assert abs(math.fsum(terms) - float(one.what.rpartition(" = ")[2])) <= off
        shown = int(one.what.partition("sum of ")[2].split()[0])
        assert len(one.rows) == (shown if most is None or shown <= most + 1 else most + 1)
        sizes = [abs(float(row[-1])) for row in one.rows if row[0] != "…"]
        assert sizes == sorted(sizes, reverse=True)


def test_each_row_is_a_product() -> None:
    for one in section(WIDE, None).listed:
        for _, left, right, product in (row for row in one.rows if len(row) == 4 and one.columns[0] == "of"):
            assert float(left) * float(right) == float(product)


def test_it_is_one_line() -> None:
    assert section(MAMBA, MOST).lines[0] == "sum of 8 products"
    assert section(WIDE, MOST).lines[0].count("sum of 20 products") == 3


def test_what_the_largest_is_made_of_is_said() -> None:
    said = [one.what for one in section(MAMBA, MOST).listed]
    assert sum("in out_l0[" in one and "sum of 5 products = " in one for one in said) == 1
    assert sum("in out_l0[" in one and "silu(z[step 2, " in one for one in said) == 1


def test_a_sum_is_told_once() -> None:
    """The size of n'q is in the equation twice."""
    said = [one.what for one in section(WIDE, MOST).listed]
    assert len(said) == len(set(said))


def test_the_document_has_every_term() -> None:
    document = derivation_document(derived(MAMBA))
    made = document["equations"][0]
    assert made["operation"] == "+"
    assert len(made["operands"]) == 8
