"""onnxruntime as a correct engine: an implementation that PyTorch has no part in."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from rnnspect.arithmetic import bounded
from rnnspect.judging import look
from tests.judging import onnx_loops
from tests.judging.cases import Case, draw_onnxruntime, found

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS, EACH = 6, 100
GRU_KERNEL = 11.0
"""onnxruntime's GRU has σ and tanh of its own, two rational functions that are not clamped to their range: over
s = −20 … 20 they were measured to err by 10.2 u (tanh(−10) = −1 − 10 u), where its RNN and LSTM err by 3 u. The bound
allows a kernel 4 u, so a saturated GRU is said to differ. With what was measured in its place, nothing does."""

pytestmark = pytest.mark.skipif(
    bool(onnx_loops.MISSING), reason=f"skipped: onnxruntime as an engine needs {' and '.join(onnx_loops.MISSING)}"
)


@contextmanager
def kernel_of(case: Case) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if case.kind == "gru":
            for module in (bounded, look):
                patch.setattr(module, "KERNEL", GRU_KERNEL)
        yield


def assert_right(case: Case) -> None:
    finding = found(case)
    assert finding.first is None, (case, finding.first)
    assert finding.over is None, case


@pytest.mark.parametrize("block", range(BLOCKS))
def test_drawn_cases(block: int) -> None:
    rng = random.Random(f"onnxruntime {block}")
    for _ in range(EACH):
        case = draw_onnxruntime(rng)
        with kernel_of(case):
            assert_right(case)


@pytest.mark.xfail(reason="onnxruntime's GRU returns 1 + 8 u where tanh saturates; the bound allows 4 u", strict=False)
def test_saturated_gru() -> None:
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
