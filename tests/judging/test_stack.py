"""Whole observations: stacks, layers that nobody saw, recorded gates, declared arithmetics, final states."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import rnnspect
from rnnspect import Spec
from rnnspect.checking.check import check_observation
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation
from rnnspect.network.parameters import suffix
from rnnspect.network.recording import EngineInfo
from rnnspect.tracing.prepare import Prepared, prepare
from rnnspect.tracing.running import trace_prepared
from tests.judging import loops
from tests.judging.cases import parameters
from tests.marks import sampled

if TYPE_CHECKING:
    from rnnspect.judging.verdict import Verdict

CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm", "c0": "randn"},
    "projected": {"cell": "lstm", "proj_size": 5, "c0": "randn"},
}
cells = pytest.mark.parametrize("cell", CELLS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])


def network(cell: str, **more: Any) -> Prepared:
    sizes = {"input_size": 6, "hidden_size": 16, "input": "randn:40", "batch": 3, "h0": "randn"}
    return prepare(Spec(**(sizes | CELLS[cell] | more)))


def observed(made: Prepared, without: str = "", **change: Any) -> Observation:
    """What the engine gives; with a parameter that was lost."""
    p = {name: torch.zeros_like(v) if name == without else v for name, v in made.parameters.items()}
    seen = made.engine.run(made.spec, p, made.sequence)
    if "layers" not in change and made.spec.num_layers > 1:  # one run of the whole stack, as a recording is
        top = made.spec.num_layers - 1
        halves = seen.output.chunk(made.spec.num_directions, -1)
        change["layers"] = {(top, d): {"h": h} for d, h in zip(made.spec.directions, halves, strict=True)}
    layers = {place: {"h": h} for place, h in seen.layers.items()}
    return replace(Observation(seen.engine, layers, seen.h_n, seen.c_n), **change)


def check(made: Prepared, seen: Observation, arithmetic: str = "") -> Verdict:
    declared = ARITHMETICS[arithmetic or made.spec.dtype]
    return check_observation(Case(made.spec, made.parameters, made.sequence, seen, declared))


def every_layer(made: Prepared, without: str = "") -> dict[tuple[int, str], dict[str, torch.Tensor]]:
    p = {name: torch.zeros_like(v) if name == without else v for name, v in made.parameters.items()}
    return {place: {"h": h} for place, h in made.engine.run(made.spec, p, made.sequence).layers.items()}


@pytest.mark.each_value_once
@cells
@dtypes
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("lengths", [None, [40, 1, 17]], ids=["", "ragged"])
def test_a_right_stack_never_differs(cell: str, dtype: str, bidirectional: bool, lengths: Any) -> None:
    made = network(cell, dtype=dtype, num_layers=3, bidirectional=bidirectional, lengths=lengths)
    for layers in (None, every_layer(made)):
        change = {} if layers is None else {"layers": layers}
        verdict = check(made, observed(made, h_n=None, c_n=None, **change))
        assert verdict.verdict != "differ", verdict
        assert verdict.verdict == "agree" or dtype in ("float16", "bfloat16")
        assert len(verdict.estimated) == (0 if layers else 2 * made.spec.num_directions)


@pytest.mark.usefixtures("no_causes")
@cells
def test_a_bias_lost_in_the_second_layer_is_found_from_the_top_output(cell: str) -> None:
    made = network(cell, num_layers=2)
    assert check(made, observed(made)).verdict == "agree"
    verdict = check(made, observed(made, "bias_hh_l1"))
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert (verdict.first.layer, verdict.first.step) == (1, 0)
    # three layers, the fault in the middle one that nobody saw
    made = network(cell, num_layers=3)
    assert check(made, observed(made)).verdict == "agree"
    assert check(made, observed(made, "bias_hh_l1")).verdict == "differ"


@pytest.mark.usefixtures("no_causes")
@pytest.mark.each_value_once
@cells
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_layer_and_direction_are_named(cell: str, layer: int, direction: str) -> None:
    made = network(cell, num_layers=2, bidirectional=True, lengths=[40, 9, 23])
    lost = "bias_ih" + suffix(layer, direction)
    verdict = check(made, observed(made, layers=every_layer(made, lost), h_n=None, c_n=None))
    assert verdict.first is not None
    assert (verdict.first.layer, verdict.first.direction) == (layer, direction)
    assert verdict.first.step == (0 if direction == "forward" else 39)
    assert verdict.pattern is not None
    assert f"only layer {layer}" in verdict.pattern
    assert f"only the {direction} direction" in verdict.pattern


@pytest.mark.usefixtures("no_causes")
@pytest.mark.each_value_once
@cells
@dtypes
@pytest.mark.parametrize("lengths", [None, [40, 1, 17]], ids=["", "ragged"])
def test_final_states(cell: str, dtype: str, lengths: Any) -> None:
    """Also those of padded items, which end before the batch does; and only a final state may be wrong."""
    made = network(cell, dtype=dtype, bidirectional=True, lengths=lengths)
    seen = observed(made)
    assert check(made, seen).first is None
    for name in ("h_n", "c_n"):
        state = getattr(seen, name)
        if state is None:
            continue
        # bfloat16 rounds c so coarsely that what f lets through of it may add up past use
        assert any(point.endswith(name) for point in check(made, seen).observed) or (dtype, name) == ("bfloat16", "c_n")
        wrong = state.clone()
        wrong[1, 1, 2] += 0.5
        verdict = check(made, replace(seen, **{name: wrong}))
        assert verdict.first is not None
        at = verdict.first
        assert (at.quantity, at.direction, at.step, at.batch, at.unit) == (name, "reverse", -1, 1, 2)
        assert verdict.pattern == f"only the final state {name}"


@pytest.mark.usefixtures("no_causes")
@pytest.mark.each_value_once
@cells
@pytest.mark.parametrize("how", ["decimals", "half"])
@pytest.mark.parametrize("only_top", sampled([False, True], 2))
def test_a_rounded_recording_of_a_stack(cell: str, how: str, only_top: bool) -> None:
    """What the second layer received was not what was written down of the first."""
    made = network(cell, num_layers=2, bidirectional=True)

    def kept(h: torch.Tensor) -> torch.Tensor:
        return h.mul(1e4).round().div(1e4) if how == "decimals" else h.half()

    layers = {place: {"h": kept(seen["h"])} for place, seen in every_layer(made).items()}
    if only_top:
        layers = {place: seen for place, seen in layers.items() if place[0] == 1}
    rounded = {"absolute": 0.5e-4} if how == "decimals" else {"relative": 2.0**-11, "absolute": 2.0**-25}
    verdict = check(made, observed(made, layers=layers, h_n=None, c_n=None, **rounded))
    assert verdict.first is None
    assert verdict.agrees or cell != "rnn", "so few digits may hide a gate, but never an Elman unit"
    layers = {place: {"h": kept(seen["h"])} for place, seen in every_layer(made, "bias_ih_l1").items()}
    assert check(made, observed(made, layers=layers, h_n=None, c_n=None, **rounded)).verdict == "differ"


def quantities(made: Prepared) -> dict[str, torch.Tensor]:
    """Every gate and state of a single layer, time-major, as another run gives them."""
    names = made.spec.cell_type.quantities
    found = trace_prepared(made).layers[0].quantities
    return {name: found[name].transpose(0, 1).contiguous() for name in names}


@pytest.mark.usefixtures("no_causes")
@pytest.mark.each_value_once
@pytest.mark.parametrize("cell", ["gru", "lstm", "projected"])
@pytest.mark.parametrize("lengths", [None, [40, 1, 17]], ids=["", "ragged"])
def test_a_wrong_gate_is_named(cell: str, lengths: Any) -> None:
    made = network(cell, lengths=lengths)
    right = quantities(made)
    right["h"] = every_layer(made)[0, "forward"]["h"]
    assert check(made, observed(made, layers={(0, "forward"): right})).verdict == "agree"
    for name in (*made.spec.cell_type.gates, *(["c"] if "c" in right else [])):
        wrong = right[name].clone()
        wrong[7, 2, 3] += 1e-3
        alone = {key: right[key] for key in ("h", name)} | {name: wrong}
        for given in (alone, right | {name: wrong}):
            verdict = check(made, observed(made, layers={(0, "forward"): given}))
            assert verdict.first is not None
            first = verdict.first
            assert (first.quantity, first.step, first.batch, first.unit) == (name, 7, 2, 3)
            assert verdict.pattern is not None
            assert (f"gate {name}" in verdict.pattern) == (name != "c")
            assert name != "c" or "c from step 7 on" in verdict.pattern
        for value in (torch.nan, torch.inf):
            wrong[7, 2, 3] = value
            first = check(made, observed(made, layers={(0, "forward"): right | {name: wrong}})).first
            assert first is not None
            assert (first.quantity, first.step, first.batch, first.unit) == (name, 7, 2, 3)


@pytest.mark.parametrize("cell", sampled(["rnn", "gru", "lstm"], 3))
@pytest.mark.parametrize("batch", [1, 3])
def test_recorded_gates_of_plain_loops_need_the_second_look(cell: str, batch: int) -> None:
    """4096 equal products: the gate itself is off by more than any √k, and right."""
    made = prepare(Spec(cell=cell, input_size=4096, hidden_size=4, input="ones:3", batch=batch))
    for v in made.parameters.values():
        v.fill_(2.0**-13 * 1.1)
    kind = "tanh" if cell == "rnn" else cell
    p = parameters(_Holder(made.parameters))
    zero = torch.zeros(1, 4)
    h = loops.in_numpy(kind, p, made.sequence.x[:, :1], zero, zero).repeat(1, batch, 1)
    verdict = check(made, observed(made, layers={(0, "forward"): {"h": h}}, h_n=None, c_n=None))
    assert verdict.first is None
    assert verdict.cleared > 0


class _Holder:
    def __init__(self, parameters: dict[str, torch.Tensor]) -> None:
        self.named_parameters = parameters.items


operands = pytest.mark.parametrize("operand", [loops.to_ten_bits, loops.cut_to_ten_bits])


def in_tf32(made: Prepared, operand: Any) -> Observation:
    s, kind = made.sequence, made.spec.nonlinearity or made.spec.cell
    c0 = torch.zeros_like(s.h0[0]) if s.c0 is None else s.c0[0]
    h = loops.in_numpy(kind, parameters(_Holder(made.parameters)), s.x, s.h0[0], c0, operand)
    return Observation(EngineInfo("recorded", "", "", "float32"), {(0, "forward"): {"h": h}})


@pytest.mark.each_value_once
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@operands
def test_tf32_products(cell: str, operand: Any) -> None:
    """Operands with ten bits of fraction: wrong for float32, with the reason; right where they are declared."""
    made = network(cell, batch=1, hidden_size=32, h0=None)
    seen = in_tf32(made, operand)
    verdict = check(made, seen)
    assert verdict.verdict == "differ"
    assert "TF32" in str(verdict.reason)
    held_to = check(made, seen, "tf32")
    assert held_to.agrees, held_to
    assert held_to.arithmetic == "float32, TF32 products"
    assert held_to.cleared == 0  # the bound itself covers usual operands: the resolution is that of no second look


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm"])
@operands
@pytest.mark.parametrize("signal", ["randn:25", "ones:25", "impulse:25", "ramp:25"])
@pytest.mark.parametrize("weights", ["drawn", "equal", "large"])
def test_right_tf32_products_never_differ(kind: str, operand: Any, signal: str, weights: str) -> None:
    """Also where every operand loses the same part: then the sum itself does, or the second look says so."""
    cell = {"cell": "rnn", "nonlinearity": kind} if kind in ("tanh", "relu") else {"cell": kind}
    made = prepare(Spec(input_size=300, hidden_size=20, input=signal, **cell))
    for v in made.parameters.values():
        if weights == "equal":
            v.fill_(1.0009e-3)
        elif weights == "large":
            v.mul_(4)
    verdict = check(made, in_tf32(made, operand), "tf32")
    assert verdict.first is None, verdict.first


@pytest.mark.slow
@operands
def test_a_lost_bias_is_found_beside_tf32_products(operand: Any) -> None:
    made = network("lstm", batch=1, hidden_size=32, h0=None)
    seen = in_tf32(made, operand)
    made.parameters["bias_ih_l0"][40] += 0.05
    verdict = check(made, seen, "tf32")
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert verdict.first.unit == 8


def test_cannot_tell_where_h_cannot_show_a_gate() -> None:
    """Output gates shut: h is nearly nothing, whatever i, f and g are."""
    made = network("lstm")
    made.parameters["bias_ih_l0"][48:] = -20
    verdict = check(made, observed(made, h_n=None, c_n=None))
    assert verdict.verdict == "cannot tell"
    assert "16 of 16 units" in str(verdict.reason)
    assert max(gate.coarse_units for gate in verdict.resolution) > 8


def test_some_coarse_units_are_counted_and_it_agrees() -> None:
    made = network("lstm")
    made.parameters["bias_ih_l0"][48:52] = -20
    verdict = check(made, observed(made))
    assert verdict.verdict == "agree"
    assert {gate.gate: gate.coarse_units for gate in verdict.resolution}["i"] == 4


def test_float16_overflow_cannot_tell() -> None:
    made = network("rnn", dtype="float16", nonlinearity="relu")
    for name in ("weight_ih_l0", "weight_hh_l0"):
        made.parameters[name].mul_(30)
    verdict = check(made, observed(made))
    assert verdict.verdict == "cannot tell"
    assert "overflow float16" in str(verdict.reason)


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("value", sampled([torch.nan, torch.inf, -torch.inf], 3))
@cells
def test_what_is_not_a_number_differs_where_it_begins(cell: str, value: float) -> None:
    made = network(cell)
    h = every_layer(made)[0, "forward"]["h"].clone()
    h[12:, 1] = value
    verdict = check(made, observed(made, layers={(0, "forward"): {"h": h}}, h_n=None, c_n=None))
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.batch, verdict.first.unit) == (12, 1, 0)
    assert verdict.first.ratio == torch.inf


@cells
def test_padding_may_hold_anything(cell: str) -> None:
    made = network(cell, bidirectional=True, lengths=[40, 1, 17], num_layers=2)
    layers = every_layer(made)
    outside = ~made.sequence.valid()[..., None]  # type: ignore[index]
    layers = {place: {"h": seen["h"].masked_fill(outside, torch.nan)} for place, seen in layers.items()}
    made.sequence.x.masked_fill_(outside, torch.nan)
    assert check(made, observed(made, layers=layers, h_n=None, c_n=None)).verdict == "agree"
    found = check(made, observed(made, layers={(1, d): layers[1, d] for d in made.spec.directions}, h_n=None, c_n=None))
    assert found.verdict == "agree"


def test_half_of_the_top_layer_is_not_enough() -> None:
    made = network("gru", bidirectional=True)
    layers = {(0, "forward"): every_layer(made)[0, "forward"]}
    verdict = check(made, observed(made, layers=layers, h_n=None))
    assert verdict.verdict == "cannot tell"
    assert verdict.reason == "the top layer's reverse h was not recorded at every step; record the output at every step"


def test_c_of_the_top_layer_does_not_stand_for_its_h() -> None:
    made = network("lstm")
    c = trace_prepared(made).layers[0].quantities["c"].transpose(0, 1).float()
    verdict = check(made, observed(made, layers={(0, "forward"): {"c": c}}, h_n=None, c_n=None))
    assert verdict.compared == (("layer 0 forward", "c"),)
    assert verdict.verdict == "cannot tell"
    assert verdict.reason == "the top layer's h was not recorded at every step; record the output at every step"


@pytest.mark.usefixtures("no_causes")
def test_lowest_layer_first_even_if_only_its_final_state_is_wrong() -> None:
    made = network("lstm", num_layers=2)
    seen = observed(made, layers=every_layer(made, "bias_ih_l1"))
    assert seen.c_n is not None
    c_n = seen.c_n.clone()
    c_n[0, 2, 5] += 1
    verdict = check(made, replace(seen, c_n=c_n, h_n=None))
    assert verdict.first is not None
    assert (verdict.first.quantity, verdict.first.layer, verdict.first.unit) == ("c_n", 0, 5)
    assert verdict.pattern == "the final state c_n of layer 0; then layer 1; 1920 of 3840 values"


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
def test_a_long_memory_that_rounds_the_same_way_at_every_step() -> None:
    """c near 40 gains 1.6 of its float32 units a step, which are stored as 2: after 20,000 steps the layer that
    nobody saw is 0.02 from the equations, and right. Half a unit of c at every step, always the same way, and what f
    may be off at each, make about 0.2 in all: what is off by more is wrong."""
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 4, num_layers=2)
    with torch.no_grad():
        module.bias_hh_l0.zero_()
        module.bias_ih_l0[:12] = torch.tensor([-12.0, 25.0, 1.0]).repeat_interleave(4)
        module.weight_ih_l0[:4] *= 0.1
        module.weight_ih_l1 *= 5
        x, h0, c0 = torch.rand(20_000, 1, 3), torch.zeros(2, 1, 4), torch.full((2, 1, 4), 40.0)
        output, (h_n, c_n) = module(x, (h0, c0))
    verdict = rnnspect.check(module, x, h0, c0, recorded={"output": output, "h_n": h_n, "c_n": c_n})
    assert verdict.first is None
    c_n[0, 0, 1] += 0.4
    wrong = rnnspect.check(module, x, h0, c0, recorded={"output": output, "h_n": h_n, "c_n": c_n})
    assert wrong.first is not None
    assert (wrong.first.quantity, wrong.first.layer, wrong.first.unit) == ("c_n", 0, 1)


def chaotic() -> Prepared:
    """Weights with which two runs that differ by a rounding part within a hundred steps."""
    made = network("rnn", num_layers=2, input="randn:900", hidden_size=16, input_size=1)
    return replace(made, parameters={name: 4 * w for name, w in made.parameters.items()})


def test_an_estimate_that_has_lost_the_run_cannot_tell() -> None:
    """The first steps are well told, so that the resolution is fine, and from then on nothing is."""
    made = chaotic()
    verdict = check(made, observed(made, h_n=None))
    assert verdict.verdict == "cannot tell"
    assert "its input was not recorded" in str(verdict.reason)
    assert check(made, observed(made, layers=every_layer(made))).verdict == "agree"


@pytest.mark.usefixtures("no_causes")
def test_an_estimate_that_has_lost_the_run_still_finds_what_is_wrong_before() -> None:
    made = chaotic()
    seen = observed(made, without="bias_hh_l1")
    verdict = check(made, seen)
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert (verdict.first.layer, verdict.first.step) == (1, 0)
