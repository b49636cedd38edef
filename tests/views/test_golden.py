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
from rnnspect.views import check, checks, derive, gradients, layouts, probe, run, shapes, trace
from rnnspect.views.rendering import Screen, rendered
from rnnspect.views.selection import Selection
from rnnspect.weights.layouts import every, find
from tests.views import results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

GOLDEN = Path(__file__).parent / "golden"
LSTM = Spec(cell="lstm", hidden_size=40, bidirectional=True, num_layers=2, proj_size=8, head={"out_features": 3})
TABLES: dict[str, Callable[[int], Iterable[RenderableType]]] = {
    "shapes": lambda _width: shapes.parts(rnnspect.shapes(LSTM)),
    "run": partial(run.parts, results.run(), 4),
    "run-of-one": partial(run.parts, results.run(batched=False), 6),
    "trace": partial(trace.parts, [results.trace()], Selection()),
    "trace-chosen": partial(
        trace.parts,
        [results.trace(results.OTHER)],
        Selection("0,3:5,9", "0", "reverse", "8:,1", batch_index=1, quantities="h,r,x", precision=6),
    ),
    "trace-of-two": partial(
        trace.parts, [results.trace(), results.trace(results.OTHER)], Selection(steps="0", quantities="h")
    ),
    "gradients": partial(gradients.numbers_or_summary, [results.gradients()], Selection()),
    "gradients-large": partial(gradients.numbers_or_summary, [results.gradients(large=True)], Selection()),
    "check-agree": lambda _width: check.parts(results.agree()),
    "check-differ": lambda _width: check.parts(
        results.differ(), subject="model.onnx, node 3", then="rnnspect derive configs/gru.yaml --step 0 --unit 3"
    ),
    "check-cannot-tell": lambda _width: check.parts(results.cannot_tell()),
    "check-of-several": lambda width: checks.rows(results.ROWS, width),
    "derive-rnn": lambda _width: derive.parts(results.derivation("rnn"), 6),
    "derive-gru": lambda _width: derive.parts(results.derivation("gru"), 6, every=True),
    "probe": lambda _width: probe.parts(
        results.probe(), Path("probe.npz"), "rnnspect check --probe probe.npz --recorded mine.npz"
    ),
    "layouts": lambda _width: layouts.overview(list(every())),
    "layouts-keras": lambda _width: layouts.details(find("keras")),
    "layouts-pytorch-keras": lambda _width: layouts.side_by_side(find("pytorch"), find("keras")),
}


WIDER = ("gradients", "gradients-large")
"""Tables that are kept at the width of a very wide terminal as well."""
FILES = [(name, width) for name in TABLES for width in (80, 120, *([200] if name in WIDER else []))]


@pytest.mark.parametrize(("name", "width"), FILES)
def test_a_table_is_as_it_was(name: str, width: int):
    path, now = GOLDEN / f"{name}.{width}.txt", rendered(TABLES[name](width), Screen(width=width))
    if os.environ.get("GOLDEN") == "write":
        path.write_text(now, encoding="utf-8")
    assert now == path.read_text(encoding="utf-8")


def test_every_file_is_a_table():
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.{width}.txt" for name, width in FILES}
