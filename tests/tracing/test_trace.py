"""A trace as a table of pandas: each number of the trace once, under its address."""

from __future__ import annotations

import pytest
import torch

import rnnspect
from rnnspect import Spec, Trace
from rnnspect.files import free_memory

pd = pytest.importorskip("pandas", reason="skipped: pandas is not installed")
COLUMNS = ["layer", "direction", "step", "batch", "quantity", "unit", "equations", "engine", "difference"]


def _trace(**keys) -> Trace:
    usual = {"cell": "lstm", "input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": True}
    return rnnspect.trace(Spec(**usual | keys), "randn:5")


@pytest.mark.parametrize(
    "keys", [{}, {"batch": 2, "lengths": [4, 2]}, {"dtype": "bfloat16"}, {"proj_size": 2}], ids=str
)
def test_each_number_is_there_once(keys):
    trace = _trace(**keys)
    table = trace.to_pandas()
    assert list(table.columns) == COLUMNS
    gates, rows = trace.spec.cell_type.gates, 0
    for layer in trace.layers:
        mine = table[(table.layer == layer.layer) & (table.direction == layer.direction)]
        for name, values in layer.quantities.items():
            packed = name in ("input_projection", "hidden_projection")
            blocks = values.chunk(len(gates), -1) if packed else (values,)
            for said, block in zip([f"{name} {gate}" for gate in gates] if packed else [name], blocks, strict=True):
                found = mine[mine.quantity == said]
                rows += len(found)
                for row in found.itertuples():
                    assert row.equations == block[row.batch, row.step, row.unit].item()
                addresses = set(zip(found.batch, found.step, found.unit, strict=True))
                lengths = [trace.length(item) for item in range(trace.batch)]
                all_of_them = {
                    (b, t, u) for b, n in enumerate(lengths) for t in range(n) for u in range(block.shape[-1])
                }
                assert (addresses, len(found)) == (all_of_them, len(all_of_them))
    assert rows == len(table)


def test_the_engine_stands_beside_where_it_shows_the_quantity():
    trace = _trace(num_layers=1)
    table = trace.to_pandas()
    h = table[(table.quantity == "h") & (table.direction == "reverse")]
    engine = torch.tensor(h.pivot(index="step", columns="unit", values="engine").to_numpy())
    assert torch.equal(engine, trace.layers[1].engine["h"][0])
    # In float64 the difference of two float32 numbers is exact.
    assert (h.difference == h.engine.astype("f8") - h.equations.astype("f8")).all()
    others = table[table.quantity != "h"]
    assert others.engine.isna().all()
    assert others.difference.isna().all()


def test_some_quantities_of_all_in_the_order_of_computation():
    table = _trace().to_pandas(["h", "f"])
    assert list(table.quantity.cat.categories) == ["f", "h"]
    assert set(_trace().to_pandas("f").quantity) == {"f"}
    expected = "expected x, input_projection, hidden_projection, i, f"
    with pytest.raises(rnnspect.InputError, match=rf"cell lstm has no quantity 'r'; {expected}"):
        _trace().to_pandas(["r"])
    assert len(_trace().to_pandas([])) == 0


def test_what_does_not_fit_is_refused_before_memory_is_taken(monkeypatch):
    trace, asked = _trace(), []
    monkeypatch.setattr(free_memory, "require", lambda needed, what, where: asked.append((needed, what, where)))
    rows = len(trace.to_pandas())
    assert asked == [(120 * rows, f"a table of {rows:,} rows", "to_pandas")]
