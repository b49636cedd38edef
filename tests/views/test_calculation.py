"""Sums that would fill screens: one line, and a table of their largest terms that adds up to them."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from typing import Any

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


@pytest.mark.parametrize("most", [MOST, None])
def test_every_unit_of_c_in_a_long_sum_is_told_with_its_block(most: int | None) -> None:
    """S has 2 heads of 20 keys and 2 values, n 2 heads of 20 keys; m of the unit's head is in the equation, too."""
    places = {(head * 20 + key) * 2 + value: f"S[{head}, {key}, {value}]"
              for head in range(2) for key in range(20) for value in range(2)}  # fmt: skip
    places |= {80 + head * 20 + key: f"n[{head}, {key}]" for head in range(2) for key in range(20)}
    places |= {120: "m[0]", 121: "m[1]"}
    listed = section(WIDE, most).listed
    shown = {int(unit) for one in listed for row in one.rows for unit in re.findall(r"c\[step 2, (\d+)\]", row[0])}
    said = {int(unit): block for one in listed for unit, block in re.findall(r"c\[…, (\d+)\] is (\w\[.*?\])", one.what)}
    assert len(shown) == (2 * MOST if most else 40)
    assert said == {unit: places[unit] for unit in shown | {120}}


def test_a_unit_of_c_is_told_with_its_block_below_the_arithmetic() -> None:
    spec = Spec(cell=load_cell("examples/cells/lru.py:lru"), input_size=3, hidden_size=4, input="randn:3")
    found = rnnspect.derive(spec, step=2, unit=7, quantity="c")  # re has 6 numbers
    assert isinstance(found, Derivation)
    assert "c of layer 0, forward, at step 2, unit 7, im[1]\n" in str(found)
    lines = str(found).splitlines()
    value = lines.index(f"  = {found.value:.9g}")
    assert lines[value + 1] == "  c[…, 1] is re[1], c[…, 7] is im[1]"


def test_a_cell_state_without_blocks_is_told_by_its_unit_alone() -> None:
    assert " is c[" not in str(rnnspect.derive(Spec(cell="lstm", input="randn:3"), step=2, unit=1, quantity="c"))


def test_what_is_wrapped_stays_indented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = str(rnnspect.derive(Spec(cell="lstm", input="randn:5"), step=4, unit=1, engine="torch-cell")).splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("  c at step 3: "))
    assert lines[at + 1].startswith("  ")
    assert lines[at + 1].endswith("c0")


def test_what_is_not_a_number_is_said_so() -> None:
    def engine(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        return h * math.nan

    found = str(rnnspect.derive(Spec(cell="gru", input="randn:5"), step=0, unit=1, engine=engine))
    assert "difference: not a number" in found
    assert " as large" not in found


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
