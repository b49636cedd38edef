"""onnxruntime as a correct engine: an implementation that PyTorch has no part in."""

from __future__ import annotations

import random

import pytest

from tests.judging import onnx_loops
from tests.judging.cases import Case, draw_onnxruntime, found
from tests.marks import sampled

BLOCKS, EACH = 6, 100

pytestmark = pytest.mark.skipif(
    bool(onnx_loops.MISSING), reason=f"skipped: onnxruntime as an engine needs {' and '.join(onnx_loops.MISSING)}"
)


def assert_right(case: Case) -> None:
    finding = found(case)
    assert finding.first is None, (case, finding.first)
    assert finding.over is None, case


@pytest.mark.parametrize("block", sampled(range(BLOCKS), 8))
def test_drawn_cases(block: int) -> None:
    rng = random.Random(f"onnxruntime {block}")
    for _ in range(EACH):
        assert_right(draw_onnxruntime(rng))


def test_saturated_gru() -> None:
    """Its tanh is a rational function that is not clamped: it gives 1 + 8 u where it saturates."""
    assert_right(Case("gru", steps=12, signal="huge", engine="onnxruntime"))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_exchanged_gates_are_found_at_the_first_step(kind: str, reverse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph in PyTorch's order of gates."""
    case = Case(kind, steps=12, batch=3, engine="onnxruntime", reverse=reverse)
    assert_right(case)
    monkeypatch.setitem(onnx_loops.ORDER, kind, tuple(range(len(onnx_loops.ORDER[kind]))))
    first = found(case).first
    assert first is not None
    assert (first.order, first.step) == (0, 11 if reverse else 0)
