"""Memory is counted before it is taken."""

from __future__ import annotations

from typing import Any

import pytest

from rnnspect import ResourceError, SequenceError, Spec, trace
from rnnspect.network import memory
from rnnspect.tracing.prepare import prepare


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"hidden_size": 2**31 - 1}, "the parameters would need"),
        ({"cell": "lstm", "input_size": 2**31 - 1, "hidden_size": 1000}, "the parameters would need"),
        ({"num_layers": 1000, "hidden_size": 10**6, "input_size": 10**6}, "the parameters would need"),
        ({"input": "randn:1000000000000"}, "running randn:1000000000000 through this network would need"),
        ({"input": "ramp:1000", "batch": 2**31 - 1}, "running ramp:1000 through this network would need"),
        ({"head": {"out_features": 2**31 - 1}, "hidden_size": 10**5}, "the parameters would need"),
    ],
    ids=str,
)
def test_more_than_there_is_is_refused_before_it_is_taken(keys: dict[str, Any], said: str):
    with pytest.raises(ResourceError, match=said) as raised:
        prepare(Spec(**keys))
    assert "iB of memory, and " in str(raised.value)
    assert raised.value.exit_status == 2


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_any_number_of_steps_is_counted(digits: int):
    with pytest.raises((ResourceError, SequenceError)):
        prepare(Spec(input="ramp:" + "9" * digits))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize(
    "keys",
    [
        {"cell": "lstm", "hidden_size": 20, "input": "randn:50", "batch": 3, "num_layers": 2, "bidirectional": True},
        {"cell": "lstm", "hidden_size": 20, "proj_size": 3, "input": "randn:50"},
        {"cell": "gru", "hidden_size": 3, "input_size": 100, "input": "randn:90", "batch": 2},
        {"cell": "rnn", "hidden_size": 100, "input": "ramp:10"},
    ],
)
def test_a_trace_is_estimated_at_what_it_keeps(keys: dict[str, Any], dtype: str):
    """No less than the tensors in it; and no more than some copies of them, or work that fits would be refused."""
    spec = Spec(**keys, dtype=dtype)
    prepared = prepare(spec)
    found = trace(spec)
    tensors = [*prepared.parameters.values(), found.x, found.output.manual, found.output.engine]
    for layer in found.layers:
        tensors += [*layer.engine.values(), *(values for name, values in layer.quantities.items() if name != "x")]
    kept = sum(tensor.numel() * tensor.itemsize for tensor in tensors)
    estimate = memory.trace_needs(spec, found.steps, found.batch)
    assert kept <= estimate <= 6 * kept + 2**26 + 2000 * found.steps  # what libraries take, whatever the size


def test_a_run_needs_less_than_a_trace():
    spec = Spec(cell="lstm", hidden_size=50)
    assert memory.run_needs(spec, 100, 1) < memory.trace_needs(spec, 100, 1)


def test_a_long_check_of_gradients_takes_what_a_piece_does() -> None:
    """A million steps of two layers in both directions: x, and below 500 MB. In one call: a hundred times."""
    spec = Spec(cell="lstm", input_size=64, hidden_size=64, num_layers=2, bidirectional=True)
    steps, x = 10**6, 64 * 4 * 10**6
    assert memory.check_backward_needs(spec, steps, 1) - x < 500e6
    assert memory.check_backward_needs(spec, 2 * steps, 1) - 2 * x < 500e6
    assert memory.whole_backward_needs(spec, steps, 1) > 50e9
    short = memory.steps_of_a_piece_back(spec, 1)
    assert memory.check_backward_needs(spec, short, 1) == memory.whole_backward_needs(spec, short, 1)
