"""Recordings judged: right ones never differ, however they were written down, and wrong numbers are found in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect import SequenceError, Spec
from rnnspect.tracing.prepare import prepare
from rnnspect.tracing.trace import trace_arrays
from tests.marks import sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnspect import Verdict

pytestmark = pytest.mark.usefixtures("no_causes")

SPEC = Spec(cell="lstm", input_size=4, hidden_size=6, num_layers=2, input="randn:30", batch=3, batch_first=False)
TOP = "l1.forward"


def run(spec: Spec = SPEC) -> dict[str, Any]:
    """Everything of a right run, in the names of a recording; gates and c as the equations give them in its dtype."""
    found = rnnspect.trace(spec)
    kept: dict[str, Any] = {"output": found.output.engine.numpy(), "h_n": found.h_n.engine.numpy()}
    if found.c_n is not None:
        kept["c_n"] = found.c_n.engine.numpy()
    for layer in found.layers:
        place = f"l{layer.layer}.{layer.direction}"
        kept |= {
            f"{place}.{name}": v.numpy() for name, v in layer.quantities.items() if name in spec.cell_type.quantities
        }
        kept[f"{place}.h"] = layer.engine["h"].numpy()
    kept["output"] = kept["output"].swapaxes(0, 1) if not spec.batch_first else kept["output"]
    return kept


def check(recorded: Any, spec: Spec = SPEC, **more: Any) -> Verdict:
    return rnnspect.check(spec, recorded=recorded, **more)


def wrong(values: Any, at: tuple[int, ...], by: float) -> Any:
    values = values.copy()
    values[at] += by
    return values


def text(form: str) -> Callable[[Any], Any]:
    return lambda values: np.array([float(form % v) for v in values.flat]).reshape(values.shape)


WAYS: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda v: v,
    "in float64": lambda v: v.astype(np.float64),
    "2 decimals": text("%.2f"),
    "4 decimals": text("%.4f"),
    "8 decimals": text("%.8f"),
    "2 digits": text("%.2g"),
    "3 digits": text("%.3g"),
    "4 digits": text("%.4g"),
    "4 digits in float32": lambda v: text("%.4g")(v).astype(np.float32),
    "float16": lambda v: v.astype(np.float16),
    "float16 in float32": lambda v: v.astype(np.float16).astype(np.float32),
    "float16 in float64": lambda v: v.astype(np.float16).astype(np.float64),
    "bfloat16 in float32": lambda v: torch.from_numpy(v).bfloat16().float().numpy(),
    "float32": lambda v: v.astype(np.float32),
    "float32 in float64": lambda v: v.astype(np.float32).astype(np.float64),
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_right_run_never_differs_however_it_was_written(cell: str, dtype: str, way: str) -> None:
    spec = SPEC.with_changes(cell=cell, dtype=dtype)
    found = {name: WAYS[way](values) for name, values in run(spec).items()}
    for recorded in (found, {"output": found["output"]}, {name: found[name] for name in ("output", "h_n")}):
        verdict = check(recorded, spec)
        assert verdict.verdict != "differ", verdict.first


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("stored", [torch.float32, torch.float64])
def test_a_half_run_that_was_stored_wide_is_as_good_as_before(dtype: str, stored: torch.dtype) -> None:
    spec = Spec(cell="rnn", input_size=4, hidden_size=6, input="randn:30", dtype=dtype)
    y = rnnspect.trace(spec).output.engine[0]
    narrow, wide = check(y, spec), check(y.to(stored), spec)
    assert narrow.verdict == wide.verdict != "differ"
    assert narrow.worst == wide.worst
    assert not wide.notes


@pytest.mark.each_value_once
@pytest.mark.parametrize("way", [way for way in WAYS if way != "2 digits"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_fault_of_two_bounds_is_found(way: str, sign: int) -> None:
    """Twice what is allowed at that address, whatever the recording was rounded to; and rounded like the rest."""
    spec = SPEC.with_changes(cell="rnn", num_layers=1)
    y = run(spec)["output"]
    right = check(WAYS[way](y), spec)
    assert right.worst is not None
    at = (right.worst.step, right.worst.batch, right.worst.unit)
    spoilt = y.astype(np.float64)
    spoilt[at] = right.worst.manual + sign * 2.1 * right.worst.bound  # rounding may take one back
    shown = WAYS[way](spoilt.astype(y.dtype))
    verdict = check(shown, spec)
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.batch, verdict.first.unit) == at


@pytest.mark.parametrize("count", [1, 3])
def test_a_run_of_a_few_numbers_with_two_decimals(count: int) -> None:
    spec = Spec(cell="gru", input_size=2, hidden_size=2, input=f"randn:{count}")
    y = np.round(run(spec)["output"][0], 2)
    assert check({"output": y}, spec).verdict != "differ"
    assert check({"output": wrong(y, (0, 1), 0.04)}, spec).verdict == "differ"


# The output beside the top layer's own h.


def test_an_output_that_is_the_top_layer_s_own_h_is_judged_once() -> None:
    found = run()
    both = check({"output": found["output"], f"{TOP}.h": found[f"{TOP}.h"]})
    alone = check({"output": found["output"]})
    assert both.agrees
    assert (both.values, both.notes) == (alone.values, ())


@pytest.mark.parametrize("bad", ["output", f"{TOP}.h"])
def test_the_one_that_differs_makes_it_differ(bad: str) -> None:
    found = run()
    spoilt = wrong(found["output"], (7, 2, 3), 0.01) if bad == "output" else wrong(found[bad], (2, 7, 3), 0.01)
    verdict = check({"output": found["output"], f"{TOP}.h": found[f"{TOP}.h"], bad: spoilt})
    assert verdict.first is not None
    assert (verdict.first.layer, verdict.first.step, verdict.first.batch, verdict.first.unit) == (1, 7, 2, 3)
    assert verdict.notes == (f"output and {TOP}.h differ; both were judged",)


def test_both_may_be_right_and_not_the_same() -> None:
    found = run()
    verdict = check({"output": found["output"], f"{TOP}.h": found[f"{TOP}.h"].astype(np.float16)})
    assert verdict.verdict != "differ"
    assert "both were judged" in verdict.notes[-1]


def test_padding_is_no_difference() -> None:
    """A trace pads a layer with NaN and the output with zeros."""
    spec = SPEC.with_changes(lengths=[30, 4, 11], bidirectional=True)
    arrays = trace_arrays(rnnspect.trace(spec))
    del arrays["spec"]
    verdict = check(arrays, spec)
    assert verdict.agrees
    assert not verdict.notes


# Gates of a layer whose h nobody recorded.


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm", "projected"])
@pytest.mark.parametrize("lengths", [None, [30, 4, 11]], ids=["", "ragged"])
def test_gates_of_an_estimated_layer_are_judged(cell: str, lengths: Any) -> None:
    more: dict[str, Any] = {"cell": "lstm", "proj_size": 3} if cell == "projected" else {"cell": cell}
    spec = SPEC.with_changes(bidirectional=True, lengths=lengths, **more)
    found = run(spec)
    names = [name for name in spec.cell_type.quantities if name != "h"]
    for direction in spec.directions:
        gates = {f"l0.{direction}.{name}": found[f"l0.{direction}.{name}"] for name in names}
        right = check({"output": found["output"]} | gates, spec)
        assert right.agrees, right
        assert {f"layer 0 {direction} {name}" for name in names} <= set(right.observed)
        assert f"layer 0 {direction}" in right.estimated
        for name in names:
            at = f"l0.{direction}.{name}"
            for given in (gates, {}):  # with all the others, and alone
                bad = check({"output": found["output"]} | given | {at: wrong(found[at], (0, 9, 2), 1e-3)}, spec)
                assert bad.first is not None
                first = bad.first
                assert (first.quantity, first.layer, first.direction) == (name, 0, direction)
                assert (first.step, first.batch, first.unit) == (9, 0, 2)


def test_an_estimated_layer_of_another_run_is_found_by_its_gates() -> None:
    """A lost bias moves the gates of a layer of which nothing else is there."""
    found = run()
    other = run(SPEC.with_changes(bias=False))
    verdict = check({"output": found["output"], "l0.forward.f": other["l0.forward.f"]})
    assert verdict.first is not None
    assert (verdict.first.layer, verdict.first.quantity, verdict.first.step) == (0, "f", 0)


# Names with engine.


def test_a_plain_name_beside_an_engine_name_of_another_place_counts() -> None:
    found = run()
    bad = wrong(found["l0.forward.h"], (1, 5, 2), 0.01)
    verdict = check({"engine.output": found["output"].swapaxes(0, 1), "l0.forward.h": bad})
    assert verdict.first is not None
    assert (verdict.first.layer, verdict.first.step, verdict.first.batch) == (0, 5, 1)


def test_a_plain_name_beside_its_own_engine_name_does_not() -> None:
    found = run()
    right = {"l0.forward.engine.h": found["l0.forward.h"], "engine.output": found["output"].swapaxes(0, 1)}
    assert check(right | {"l0.forward.h": found["l0.forward.h"] + 1, "output": found["output"] + 1}).agrees
    assert check(right | {"l0.forward.engine.i": found["l0.forward.i"]}).agrees
    assert check(right | {"l0.forward.engine.i": found["l0.forward.i"] + 1}).verdict == "differ"


def test_what_trace_wrote_of_the_equations_is_no_recording() -> None:
    arrays = trace_arrays(rnnspect.trace(SPEC))
    del arrays["spec"]
    for name in [name for name in arrays if name.startswith("l") and "engine" not in name]:
        arrays[name] = arrays[name] + 1
    verdict = check(arrays)
    assert verdict.agrees
    assert all(seen.endswith((" h", "h_n", "c_n")) for seen in verdict.observed)


# Every array by its own measure.


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("coarse", sampled(["output", "h_n", "c_n", "l0.forward.h", "l1.forward.i"], 3))
def test_one_coarse_array_does_not_hide_a_fault_in_another(coarse: str) -> None:
    found = run()
    found[coarse] = np.round(found[coarse], 1)
    del found[f"{TOP}.h"]
    assert check(found).verdict != "differ"
    names = {"l0.forward.f": (0, 9, 2), "l0.forward.c": (0, 9, 2), "h_n": (0, 1, 2), "output": (9, 1, 2)}
    for name, at in names.items():
        if name != coarse and not (coarse == "l0.forward.h" and name in ("l0.forward.f", "l0.forward.c", "h_n")):
            by = 0.2 if name == "output" and coarse == "l0.forward.h" else 2e-3
            verdict = check(found | {name: wrong(found[name], at, by)})
            assert verdict.verdict == "differ", name


# Inputs and parameters in the recording.


def test_inputs_of_the_same_run_are_fine() -> None:
    spec = SPEC.with_changes(lengths=[30, 4, 11], h0="randn", c0="randn")
    found = rnnspect.trace(spec)
    assert found.c0 is not None
    inputs = {"x": found.x, "h0": found.h0, "c0": found.c0, "lengths": np.array([30, 4, 11])}
    output = run(spec)["output"]
    parameters = prepare(spec).parameters
    assert check({"output": output} | inputs | parameters, spec).agrees
    assert check({"output": output, "x": found.x.double()}, spec).agrees
    assert check({"output": output, "x": found.x.half()}, spec).agrees, "it says as much as it can"
    assert check({"output": output, "x": np.round(found.x.numpy(), 3)}, spec).agrees


OTHERS: dict[str, tuple[Any, str]] = {
    "x": (lambda spec: torch.ones(3, 30, 4), r"x is not this run's: it has 1 at step 0, batch item 0, unit 0"),
    "x of another length": (lambda spec: torch.ones(3, 29, 4), "x has 29 steps, the input has 30"),
    "h0": (lambda spec: torch.ones(2, 3, 6), r"h0 is not this run's: it has 1 at place 0, batch item 0, unit 0, .* 0;"),
    "c0": (lambda spec: torch.ones(2, 3, 6), r"c0 is not this run's"),
    "lengths": (lambda spec: [30, 30, 4], r"lengths are not this run's: it has \[30, 30, 4\].*\[30, 30, 30\]"),
    "weight_hh_l1": (lambda spec: torch.zeros(24, 6), r"weight_hh_l1 is not this run's: .* at row 0, column 0"),
    "bias_ih_l0": (lambda spec: torch.zeros(6), r"bias_ih_l0 has the shape \(6,\).*\(row\) = \(24,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_inputs_of_another_run_are_refused(case: str) -> None:
    make, message = OTHERS[case]
    with pytest.raises(SequenceError, match=message):
        check({"output": run()["output"], case.split()[0]: make(SPEC)})


def test_all_lengths_whole_are_no_lengths() -> None:
    assert check({"output": run()["output"], "lengths": torch.tensor([30, 30, 30])}).agrees


def test_a_square_x_may_be_in_either_layout() -> None:
    spec = SPEC.with_changes(input="randn:3")
    x, output = rnnspect.trace(spec).x, run(spec)["output"]
    assert check({"output": output, "x": x}, spec).verdict != "differ"
    assert check({"output": output, "x": x.transpose(0, 1)}, spec).verdict != "differ"


SQUARE = SPEC.with_changes(input="randn:5", batch=5)


@pytest.mark.parametrize(
    "kept", [["output", "l1.forward.f"], ["output", "l0.forward.h", "l1.forward.h"], ["l0.forward.i"]]
)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("time_first", [True, False])
def test_layers_of_as_many_steps_as_items_may_be_in_either_layout(
    kept: list[str], batch_first: bool, time_first: bool
) -> None:
    spec = SQUARE.with_changes(batch_first=batch_first)
    found = run(spec)
    given = {
        name: v.swapaxes(0, 1) if name[0] == "l" and time_first else v for name, v in found.items() if name in kept
    }
    verdict = check(given, spec)
    assert verdict.verdict != "differ"
    read = "(step, batch, unit)" if time_first else "(batch, step, unit)"
    said = [note for note in verdict.notes if f"read as {read}; " in note]
    assert len(said) == (time_first or not batch_first)
    name = next(name for name in kept if name[0] == "l")
    at = (2, 3, 1)
    broken = check(given | {name: wrong(given[name], at, 0.01)}, spec)
    assert broken.first
    assert (broken.first.step, broken.first.batch) == (at[:2] if time_first else at[1::-1])


# Arrays without a name of ours.


@pytest.mark.parametrize("name", ["arr_0", "y", "outputs", "hidden_states"])
def test_a_single_array_of_any_name_is_the_output(name: str) -> None:
    found = run()
    verdict = check({name: found["output"], "h_n": found["h_n"]})
    assert verdict.agrees
    assert verdict.notes == (f"{name} is read as the output",)
    assert check({name: wrong(found["output"], (3, 1, 2), 0.01)}).verdict == "differ"


def test_two_arrays_of_unknown_names_are_not() -> None:
    output = run()["output"]
    with pytest.raises(SequenceError, match=r"unknown array 'y' in the recording.*expected output"):
        check({"y": output, "z": output})
    with pytest.raises(SequenceError, match=r"unknown array 'l1\.backward\.h' in the recording"):
        check({"l1.backward.h": output})


def test_a_batch_of_one_may_be_recorded_without_a_batch() -> None:
    spec = SPEC.with_changes(batch=1)
    found = run(spec)
    assert check(found["output"][:, 0], spec).agrees
    assert check({"output": found["output"][:, 0], "h_n": found["h_n"][:, 0], "c_n": found["c_n"][:, 0]}, spec).agrees
    with pytest.raises(SequenceError, match=r"\(step, batch, unit\) = \(30, 3, 6\)"):
        check(run()["output"][:, 0])


def test_numbers_that_were_all_rounded_to_zero_are_not_blamed() -> None:
    """Zeros tell no decimals: of small numbers they are right, of large ones they are not."""
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(3, 4), torch.randn(9, 2, 3)
    wrong = rnnspect.check(module, x, recorded=torch.zeros(9, 2, 4))
    assert wrong.verdict == "differ"
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1e-3)
        y = module(1e-5 * x)[0]
    verdict = rnnspect.check(module, 1e-5 * x, recorded=y.numpy().round(3))
    assert verdict.verdict == "cannot tell"
    assert verdict.reason is not None
    assert "if the recorded values were rounded to" in verdict.reason
