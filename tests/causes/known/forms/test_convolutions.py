"""The inputs that a convolution over steps keeps, lost or out of place where a chunk begins, and its weights in reverse
order: planted in a block of Mamba in torch."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.causes.known.forms._delay_lines import DelayLine, delay_lines
from rnnspect.cells import Arithmetic, Cell, V
from tests.causes.convolved import WINDOWS, convolved
from tests.causes.own_cells import CARRYING, DECAYING, MAMBA, MINGRU
from tests.cells.test_examples import cell
from tests.marks import sampled

NAMED = {
    "zeros": "conv-state-lost",
    "initial": "conv-state-lost",
    "reversed": "conv-state-reversed",
    "left out": "conv-step-apart",
    "twice": "conv-step-apart",
    "wrong end": "conv-state-misaligned",
}


def checked(chunk: int, mistake: str, once: bool = False, **keys: Any) -> Verdict:
    given = {"input_size": 3, "hidden_size": 4, "c0": "randn", "input": f"randn:{3 * chunk + 1}", **keys}
    return rnnspect.check(Spec(cell=MAMBA, **given), engine=convolved(chunk, mistake, once))


@pytest.mark.slow
@pytest.mark.each_value_once
@pytest.mark.parametrize("mistake", sampled(WINDOWS, 3))
@pytest.mark.parametrize("keys", sampled([{}, {"batch": 3}, {"once": True}, {"dtype": "float64"}], 2), ids=str)
def test_what_is_kept_is_named_first(keys: dict[str, Any], mistake: str) -> None:
    chunk = 2 if mistake == "wrong end" else 5
    found = checked(chunk, mistake, **keys)
    assert found.verdict == "differ"
    assert found.causes
    cause = found.causes[0]
    assert (cause.name, cause.parameters["from"]) == (NAMED[mistake], mistake)
    assert (cause.parameters["which"], cause.parameters["step"]) == ("v1, v2, v3", chunk)
    assert cause.parameters.get("every") == (None if "once" in keys else chunk)
    assert not cause.left
    assert not found.indistinguishable


@pytest.mark.slow
def test_weights_in_reverse_order_are_named() -> None:
    found = checked(5, "weights")
    assert [cause.name for cause in found.causes] == ["conv-weights-reversed"]
    assert "w3, w2, w1, w0 are used as w0, w1, w2, w3" in found.causes[0].explanation


@pytest.mark.slow
def test_a_scan_that_is_lost_beside_a_convolution_that_is_not() -> None:
    found = checked(5, "scan")
    assert [(one.name, one.parameters["which"]) for one in found.causes] == [("chunk-state-lost", "S")]


@pytest.mark.parametrize("mistake", WINDOWS)
def test_what_is_kept_in_the_final_state_alone_is_named(mistake: str) -> None:
    """And is not taken for the state after padding: there h is 0, so that nothing tells how far it may be off."""
    steps = 2 if mistake == "wrong end" else 20
    spec = Spec(cell=MAMBA, input_size=3, hidden_size=2, input=f"randn:{steps}", c0="randn")
    found = rnnspect.check(spec, engine=convolved(steps, mistake, at_end=True))
    assert found.verdict == "differ"
    (cause,) = found.causes
    assert (cause.name, cause.parameters["from"], cause.left) == (NAMED[mistake], mistake, ())
    assert "in c_n" in cause.explanation


@pytest.mark.slow
@pytest.mark.parametrize(("off", "names"), [(0.0, ["state-not-carried"]), (1.0, [])])
def test_a_scan_that_is_lost_in_the_final_state_alone(off: float, names: list[str]) -> None:
    """What is nothing known has no cause."""
    lost = convolved(20, "scan", at_end=True)

    def engine(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        output, (h, c) = lost(x, state, parameters)
        return output, (h, c + off)

    spec = Spec(cell=MAMBA, input_size=3, hidden_size=2, input="randn:20")
    found = rnnspect.check(spec, engine=engine)
    assert found.verdict == "differ"
    assert [cause.name for cause in found.causes] == names


@pytest.mark.each_value_once
@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_right_run_is_given_no_cause(dtype: str, chunk: int) -> None:
    """In bfloat16 such an input may not tell."""
    found = checked(chunk, "", dtype=dtype)
    assert found.verdict == "agree" or (dtype, found.verdict) == ("bfloat16", "cannot tell")
    assert not found.causes


def shifted(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """Two values are mixed with those of earlier steps, as where queries and keys each have a convolution."""
    k, v = a.split(wx)
    older, k1, s, v1 = a.blocks(c)
    mixed = k * a.parameter("w") + a.parameter("w1") * k1 + a.parameter("w2") * older
    s = s + a.tanh(mixed) * (v + v1)
    return {"k": k, "v": v, "c": a.packed(k1, k, s, v), "h": s}


SHIFTED = Cell(
    name="shifted",
    torch_name="",
    gates=("k", "v"),
    states=("h", "c"),
    quantities=("k", "v", "c", "h"),
    functions=("tanh",),
    step=shifted,
    parameters=tuple((name, ("hidden_size",)) for name in ("w", "w1", "w2")),
    cell_state=tuple((name, ("hidden_size",)) for name in ("older", "k1", "s", "v1")),
    is_recurrent=False,
)


def test_delay_lines_are_found_in_the_lines_of_a_cell() -> None:
    assert delay_lines(MAMBA) == (DelayLine(("v1", "v2", "v3"), (0, 1, 2), ("w0", "w1", "w2", "w3")),)
    assert delay_lines(SHIFTED) == (
        DelayLine(("k1", "older"), (1, 0), ("w", "w1", "w2")),
        DelayLine(("v1",), (3,), ()),
    )


@pytest.mark.parametrize("name", ["lru", "mlstm", "slstm", "s6", "gated_delta", "retnet", "sru", "layer_norm_lstm"])
def test_what_is_carried_is_no_delay_line(name: str) -> None:
    assert delay_lines(cell(name)) == ()
    assert delay_lines(MINGRU) == delay_lines(CARRYING) == delay_lines(DECAYING) == ()


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "which"), [(slice(0, 24), "v1, v2, v3"), (slice(24, None), "S")])
def test_one_part_of_a_cell_state_that_is_not_passed(lost: slice, which: str) -> None:
    def engine(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        h, c = state
        c[..., lost] = 0
        return convolved(9)(x, (h, c), parameters)

    spec = Spec(cell=MAMBA, input_size=3, hidden_size=2, input="randn:9", c0="randn")
    cause = rnnspect.check(spec, engine=engine).causes[0]
    assert (cause.name, cause.parameters) == ("state-ignored", {"which": which})
