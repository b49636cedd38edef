"""Identities between output and final states: right recordings hold them, and each misreading is planted by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import rnnspect
from tests.checking.identities.networks import BATCH, STEPS, checked, drawn, failed, held, run_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

pytestmark = pytest.mark.usefixtures("no_causes")


@pytest.mark.each_value_once
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_right_recording_holds_them_all(kind: str, layers: int, bidirectional: bool, padded: bool):
    module = drawn(kind, num_layers=layers, bidirectional=bidirectional)
    x, output, states = run_of(module, padded)
    verdict = checked(module, x, {"output": output, **states}, padded)
    assert verdict.agrees
    assert held(verdict) == ["output and h_n"] + ["output beyond the end"] * padded
    assert not failed(verdict)


@pytest.mark.parametrize("decimals", [2, 4, 8])
def test_a_rounded_recording_holds_them_all(decimals: int):
    """output and h_n rounded alike are equal; h_n rounded alone is within half a unit of the last decimal."""
    module = drawn("LSTM", bidirectional=True)
    x, output, states = run_of(module)
    rounded = {name: values.double().numpy().round(decimals) for name, values in states.items()}
    for shown in (output.double().numpy().round(decimals), output):
        assert not failed(checked(module, x, {"output": shown, **rounded}))


@pytest.mark.each_value_once
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_an_h_n_of_another_kernel_is_right_though_not_equal(kind: str, bidirectional: bool, padded: bool):
    """The second kernel rounds nothing before the end: it is float64's, of the same weights and x."""
    module = drawn(kind, num_layers=2, bidirectional=bidirectional)
    x, output, _ = run_of(module, padded)
    _, _, states = run_of(module.double(), padded)
    h_n = states["h_n"].float()
    verdict = checked(module.float(), x, {"output": output, "h_n": h_n}, padded)
    assert verdict.agrees
    found = failed(verdict)["output and h_n"]
    assert "both match the equations" in found.evidence
    assert found.usual == "h_n computed apart from output, by another kernel or in another dtype"
    assert checked(module, x, {"output": output, "h_n": h_n * (1 + 1e-5)}, padded).verdict == "differ"


def test_what_has_no_final_states_is_not_asked():
    module = drawn("GRU")
    x, output, _ = run_of(module)
    assert checked(module, x, {"output": output}).identities == ()


def _last_output(output: Tensor, h_n: Tensor) -> Tensor:
    """output[:, -1], which has the units of the directions side by side, for the top layer's h_n."""
    directions = output.shape[-1] // h_n.shape[-1]
    wrong = h_n.clone()
    wrong[-directions:] = torch.stack(output[:, -1].chunk(directions, -1))
    return wrong


@pytest.mark.each_value_once
@pytest.mark.parametrize(("padded", "bidirectional"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_last_column_of_output_is_no_last_state(kind: str, padded: bool, bidirectional: bool):
    module = drawn(kind, num_layers=2, bidirectional=bidirectional)
    x, output, states = run_of(module, padded)
    states["h_n"] = _last_output(output, states["h_n"])
    found = failed(checked(module, x, {"output": output, **states}, padded))["output and h_n"]
    assert found.evidence == f"h_n is output at step 6 for every sequence{' and direction' if bidirectional else ''}"
    assert found.usual is not None
    assert found.usual.startswith("output[:, -1] used as the final state")
    assert ("run without its lengths" in found.usual) == (not bidirectional)
    assert ("shorter sequences" in found.usual) == padded
    assert ("the reverse direction" in found.usual) == bidirectional


def test_of_a_whole_run_forwards_it_is_the_last_state():
    module = drawn("GRU", num_layers=2)
    x, output, states = run_of(module)
    states["h_n"] = _last_output(output, states["h_n"])
    assert held(checked(module, x, {"output": output, **states})) == ["output and h_n"]


def test_states_stacked_by_direction():
    module = drawn("LSTM", num_layers=3, bidirectional=True)
    x, output, states = run_of(module)
    forward, reverse = states["h_n"][0::2], states["h_n"][1::2]
    states["h_n"] = torch.cat([forward, reverse])
    found = failed(checked(module, x, {"output": output, **states}))["output and h_n"]
    assert found.evidence == "h_n is ordered by direction, then by layer"


@pytest.mark.parametrize(
    "view",
    [
        lambda h_n: h_n.numpy().transpose(1, 0, 2).reshape(h_n.shape),
        lambda h_n: h_n.numpy().reshape(BATCH, -1, 5).transpose(1, 0, 2),
    ],
    ids=["into layers", "into items"],
)
def test_h_n_viewed_where_a_transpose_is_meant(view: Callable[[Tensor], np.ndarray[Any, Any]]):
    module = drawn("GRU", bidirectional=True)
    x, output, states = run_of(module)
    found = failed(checked(module, x, {"output": output, "h_n": view(states["h_n"])}))["output and h_n"]
    assert found.evidence == "in h_n, the axes batch and layers × directions are mixed up by a view"
    assert found.usual is not None
    assert found.usual.startswith("view or reshape used instead of a transpose")


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_output_viewed_where_a_transpose_is_meant(bidirectional: bool, batch_first: bool):
    module = drawn("GRU", bidirectional=bidirectional)
    x, output, states = run_of(module)
    module.batch_first = batch_first
    if batch_first:
        given, moved = x, output.numpy().swapaxes(0, 1).reshape(output.shape)
        axes = "(step, batch, unit)"
    else:
        given, moved = x.transpose(0, 1), output.numpy().reshape(STEPS, BATCH, -1)
        axes = "(batch, step, unit)"
    found = failed(checked(module, given, {"output": moved, **states}))["output and h_n"]
    assert found.evidence == f"output is a view of {axes}: read that way, it ends with h_n"


def test_states_taken_as_c_and_h():
    module = drawn("LSTM", num_layers=2)
    x, output, states = run_of(module)
    swapped = {"h_n": states["c_n"], "c_n": states["h_n"]}
    found = failed(checked(module, x, {"output": output, **swapped}))["output and h_n"]
    assert found.evidence == "output ends with c_n, not with h_n"
    alone = failed(checked(module, x, {"output": output, "h_n": states["c_n"]}))["output and h_n"]
    assert alone.evidence == "h_n of layer 1 holds c_n of layer 1"
    assert alone.usual is not None
    assert "read as (c, h)" in alone.usual


def test_h_n_of_a_gru_unpacked_as_h_and_c():
    module = drawn("GRU", num_layers=2)
    x, output, states = run_of(module)
    h, c = states["h_n"]
    said = r"output, \(h, c\) = gru\(x\) splits the layers of h_n"
    for recorded in ({"output": output, "h_n": h, "c_n": c}, (output, (h, c))):
        with pytest.raises(rnnspect.SequenceError, match=said):
            checked(module, x, recorded)


def test_an_item_of_one_step_has_one_step():
    module = drawn("GRU")
    x, output, _ = run_of(module)
    verdict = rnnspect.check(module, x, recorded=output, lengths=(STEPS, 1, STEPS))
    assert failed(verdict)["output beyond the end"].evidence.endswith("batch item 1, which has only 1 step")


def _late(output: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(output[:, :1]), output[:, :-1]], 1)


def test_an_h_n_that_a_late_output_does_not_reach_is_not_blamed():
    module = drawn("GRU")
    x, output, states = run_of(module)
    found = failed(checked(module, x, {"output": _late(output), **states}))["output and h_n"]
    assert found.usual == "the output one step late, so that it ends before h_n does; or the last step processed twice"
    found = failed(checked(module, x, {"output": _late(output), "h_n": states["h_n"] + 1}))["output and h_n"]
    assert found.usual == "output and h_n of different steps or calls, either of which may be the wrong one"


def test_a_last_step_that_is_processed_twice():
    module = drawn("GRU")
    x, output, states = run_of(module)
    with torch.no_grad():
        _, h_n = module(x[:, -1:], states["h_n"])
    found = failed(checked(module, x, {"output": output, "h_n": h_n}))["output and h_n"]
    assert found.usual == "the last step processed twice"


@pytest.mark.parametrize("masked", [False, True])
def test_the_padding_is_run_through_like_any_other_step(masked: bool):
    module = drawn("GRU", bidirectional=True)
    x, packed, _ = run_of(module, padded=True)
    output, states = run_of(module)[1:]
    shown = packed if masked else output
    found = failed(checked(module, x, {"output": shown, **states}, padded=True))["output and h_n"]
    assert found.usual == "the padded batch was run without its lengths, or its last step used as the final state"


def test_another_number_is_shown_with_the_one_that_output_ends_with():
    module = drawn("RNN")
    x, output, states = run_of(module)
    states["h_n"][0, 2, 3] += 0.25
    found = failed(checked(module, x, {"output": output, **states}))["output and h_n"]
    assert "(batch item 2, unit 3)" in found.evidence
    assert f"and output ends with {float(output[2, -1, 3]):.6g}" in found.evidence


@pytest.mark.parametrize(("fill", "holds"), [(0.0, True), (float("nan"), True), (0.5, False)])
def test_what_is_beyond_the_end_of_an_item(fill: float, holds: bool):
    module = drawn("GRU")
    x, output, states = run_of(module, padded=True)
    output[1, 3] = fill
    verdict = checked(module, x, {"output": output, **states}, padded=True)
    assert verdict.agrees
    found = {one.name: one for one in verdict.identities}["output beyond the end"]
    assert found.holds is holds
    if not holds:
        assert found.evidence == "h of layer 0 forward is 0.5 at step 3, batch item 1, which has only 3 steps"
