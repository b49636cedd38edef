"""What people see, whole: each table as it was committed, at the width of a narrow and of a wide terminal.

After a change that is meant, this writes the files anew, and `git diff` shows what people will see:

    GOLDEN=write pytest tests/views/test_golden.py
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rnnspect
from rnnspect import Spec
from rnnspect.views import check, derive, layouts, probe, run, shapes, trace
from rnnspect.views.rendering import Screen
from rnnspect.views.selection import Selection
from rnnspect.weights.layouts import every, find
from tests.views import results

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent / "golden"
LSTM = Spec(cell="lstm", hidden_size=40, bidirectional=True, num_layers=2, proj_size=8, head={"out_features": 3})
TABLES: dict[str, Callable[[Screen], str]] = {
    "shapes": partial(shapes.as_table, rnnspect.shapes(LSTM)),
    "run": partial(run.as_table, results.run(), 4),
    "run-of-one": partial(run.as_table, results.run(batched=False), 6),
    "trace": partial(trace.as_table, [results.trace()], Selection()),
    "trace-chosen": partial(
        trace.as_table,
        [results.trace(results.OTHER)],
        Selection("0,3:5,9", "0", "reverse", "8:,1", batch_index=1, quantities="h,r,x", precision=6),
    ),
    "trace-of-two": partial(
        trace.as_table, [results.trace(), results.trace(results.OTHER)], Selection(steps="0", quantities="h")
    ),
    "check-agree": partial(check.as_table, results.agree()),
    "check-differ": partial(check.as_table, results.differ(), source="model.onnx, node 3"),
    "check-cannot-tell": partial(check.as_table, results.cannot_tell()),
    "check-of-several": partial(check.as_lines, results.ROWS),
    "derive-rnn": partial(derive.as_text, results.derivation("rnn"), 6, False),
    "derive-gru": partial(derive.as_text, results.derivation("gru"), 6, True),
    "probe": partial(probe.as_table, results.probe(), Path("probe.npz")),
    "layouts": partial(layouts.as_table, list(every())),
    "layouts-keras": partial(layouts.as_one, find("keras")),
    "layouts-pytorch-keras": partial(layouts.as_two, find("pytorch"), find("keras")),
}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_as_it_was(name: str, width: int):
    path, now = GOLDEN / f"{name}.{width}.txt", TABLES[name](Screen(width=width))
    if os.environ.get("GOLDEN") == "write":
        path.write_text(now, encoding="utf-8")
    assert now == path.read_text(encoding="utf-8")


def test_every_file_is_a_table():
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.{width}.txt" for name in TABLES for width in (80, 120)}
