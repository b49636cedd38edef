"""What is said of final states and of what a run was given: in the words that a person reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.judging.final_states import Expected, past_use
from rnnspect.judging.finding import COARSE
from tests.causes.own_cells import READING
from tests.judging.test_stack import check, every_layer, network, observed

if TYPE_CHECKING:
    from rnnspect.judging.observation import Observation
    from rnnspect.tracing.prepare import Prepared

pytestmark = pytest.mark.usefixtures("no_causes")

cells = pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "projected"])


def two(cell: str, **more: Any) -> tuple[Prepared, Observation]:
    made = network(cell, num_layers=2, bidirectional=True, **more)
    return made, observed(made, layers=every_layer(made))


def pattern(made: Prepared, seen: Observation, **change: Any) -> str:
    verdict = check(made, replace(seen, **change))
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert verdict.first.step == -1
    return str(verdict.pattern)


@cells
def test_another_layer_or_direction(cell: str) -> None:
    made, seen = two(cell, lengths=[40, 9, 23])
    for name in ("h_n", "c_n"):
        state = getattr(seen, name)
        if state is None:
            continue
        said = pattern(made, seen, **{name: state[[2, 1, 2, 3]]})
        assert f"{name} of layer 0 forward holds that of layer 1 forward" in said
        said = pattern(made, seen, **{name: state[[1, 0, 2, 3]]})
        assert f"{name} of layer 0 forward holds that of layer 0 reverse" in said
        assert f"{name} of layer 0 reverse holds that of layer 0 forward" in said


@cells
def test_step_0_for_the_last_step_of_the_reverse_direction_and_the_other_way_round(cell: str) -> None:
    made, seen = two(cell)
    output = every_layer(made)
    assert seen.h_n is not None
    h_n = seen.h_n.clone()
    h_n[1] = output[0, "reverse"]["h"][-1]
    assert "h_n of layer 0 reverse holds h at the last step of each item" in pattern(made, seen, h_n=h_n)
    h_n = seen.h_n.clone()
    h_n[2] = output[1, "forward"]["h"][0]
    assert "h_n of layer 1 forward holds h at step 0" in pattern(made, seen, h_n=h_n)


@pytest.mark.each_value_once
@pytest.mark.parametrize("lengths", [None, [40, 9, 23]], ids=["", "ragged"])
@cells
def test_one_step_early(cell: str, lengths: Any) -> None:
    made, seen = two(cell, lengths=lengths)
    x, each = made.sequence.x, torch.arange(3)
    for index, direction in enumerate(("forward", "reverse")):
        ends = torch.tensor(lengths or [40, 40, 40])
        if direction == "forward":
            shorter = replace(made.sequence, lengths=tuple((ends - 1).tolist()))
        else:
            shorter = replace(made.sequence, x=x[1:], lengths=tuple((ends - 1).tolist()))
        early = made.engine.run(made.spec, made.parameters, shorter)
        for name, letter in (("h_n", "h"), ("c_n", "c")):
            state = getattr(seen, name)
            if state is None:
                continue
            state = state.clone()
            state[index] = getattr(early, name)[index]
            if name == "h_n":  # out of the same run: a shorter run may round in another way
                h = every_layer(made)[0, direction]["h"]
                state[index] = h[ends - 2, each] if direction == "forward" else h[1]
            assert f"layer 0 {direction} holds {letter} before the last step" in pattern(made, seen, **{name: state})


@cells
def test_the_first_wrong_value_is_that_of_the_first_item_and_unit_and_not_the_worst(cell: str) -> None:
    made, seen = two(cell, lengths=[40, 9, 23])
    assert seen.h_n is not None
    h_n = seen.h_n.clone()
    h_n[2, 1, 1] += 0.01
    h_n[2, 2, 0] += 0.1
    verdict = check(made, replace(seen, h_n=h_n))
    assert verdict.first is not None
    assert verdict.worst is not None
    assert (verdict.first.quantity, verdict.first.batch, verdict.first.unit) == ("h_n", 1, 1)
    assert (verdict.worst.quantity, verdict.worst.batch, verdict.worst.unit) == ("h_n", 2, 0)


@cells
def test_zeros_and_the_initial_state(cell: str) -> None:
    made, seen = two(cell)
    for name in ("h_n", "c_n"):
        state = getattr(seen, name)
        if state is None:
            continue
        zero = state.clone()
        zero[3] = 0
        assert f"{name} of layer 1 reverse holds zeros" in pattern(made, seen, **{name: zero})
        initial = made.sequence.h0 if name == "h_n" else made.sequence.c0
        assert f"holds the initial state {name[0]}0" in pattern(made, seen, **{name: initial})


def test_padding_was_taken_for_the_end() -> None:
    made, seen = two("gru", lengths=[40, 9, 23])
    assert seen.h_n is not None
    h_n = seen.h_n.clone()
    h_n[0] = every_layer(made)[0, "forward"]["h"][-1]
    assert "holds h at step 39, beyond the end of shorter items" in pattern(made, seen, h_n=h_n)


def test_h_and_c_exchanged() -> None:
    made = network("lstm")
    seen = observed(made)
    said = pattern(made, seen, h_n=seen.c_n, c_n=seen.h_n)
    assert (
        said
        == "the final state c_n of layer 0; h_n of layer 0 holds c_n of layer 0; c_n of layer 0 holds h_n of layer 0"
    )


def test_the_words_are_of_the_layer_of_the_first_difference() -> None:
    made, seen = two("gru")
    layers = {place: {"h": quantities["h"].clone()} for place, quantities in seen.layers.items()}
    layers[0, "reverse"]["h"][:, 2, 3] += 0.3
    layers[1, "forward"]["h"][7, 0, 5] += 0.3
    verdict = check(made, replace(seen, layers=layers, h_n=None))
    assert verdict.first is not None
    assert (verdict.first.layer, verdict.first.direction) == (0, "reverse")
    assert "only the reverse direction of layer 0" in str(verdict.pattern)
    assert "in layer 0 reverse" in str(verdict.pattern)
    assert "step 7 alone" not in str(verdict.pattern)


def test_a_final_state_beside_wrong_steps_is_named_too() -> None:
    made, seen = two("gru")
    layers = {place: {"h": quantities["h"].clone()} for place, quantities in seen.layers.items()}
    layers[0, "forward"]["h"][7, 0, 5] += 0.3
    assert seen.h_n is not None
    verdict = check(made, replace(seen, layers=layers, h_n=seen.h_n[[0, 1, 3, 2]]))
    assert "h_n of layer 1 forward holds that of layer 1 reverse" in str(verdict.pattern)


def test_a_final_state_with_a_bound_past_use_cannot_be_told() -> None:
    """c is not seen, f is nearly 1 and a projection hides h: what half types round away adds up for ever."""
    made = network("projected", input="randn:3000", dtype="bfloat16", batch=1)
    made.parameters["bias_ih_l0"][16:32] = 9
    seen = observed(made)
    only = replace(seen, h_n=None)
    verdict = check(made, only)
    assert verdict.verdict == "cannot tell"
    assert not any(name.endswith("c_n") for name in verdict.observed)
    assert all(point is None or point.quantity != "c_n" for point in (verdict.worst, verdict.first))
    assert past_use(Expected(torch.zeros(2, 3), torch.full((2, 3), 3.0)), COARSE) == (
        "could not be checked: even a correct one may be off by 3"
    )
    assert past_use(Expected(torch.zeros(2, 3), torch.full((2, 3), torch.inf)), COARSE) is not None
    assert past_use(Expected(torch.ones(2, 3), torch.full((2, 3), 1e-3)), COARSE) is None
    few = torch.full((2, 3), 1e-3)
    few[0, 0] = 5
    assert past_use(Expected(torch.ones(2, 3), few), COARSE) is None


def test_a_final_state_is_not_that_after_zeros_of_which_nothing_is_known() -> None:
    """Once h is 0 in every replica, none of them says how far another engine's may be."""

    def wrong(x: Any, state: Any) -> Any:
        (h, c), every = (one[0] for one in state), []
        for f, v, q in (one.chunk(3, -1) for one in x.unbind(1)):
            c = torch.sigmoid(f) * c + v
            every.append(h := q * c)
        return torch.stack(every, 1), (h[None], c[None] + 0.5)

    spec = rnnspect.Spec(cell=READING, input_size=12, hidden_size=4)
    found = rnnspect.check(spec, "randn:20", engine=wrong)
    assert found.verdict == "differ"
    assert found.causes == ()
    assert found.pattern is not None
    assert "only the final state c_n" in found.pattern
    assert "zeros more" not in found.pattern


def test_a_float32_final_state_that_nothing_pins_down_is_the_reason() -> None:
    """However its bound came to grow: h agrees at each step and is told well."""
    from rnnspect.judging import stack

    made = network("lstm")
    right = stack._as_recorded

    def wide(final: Expected, *how: Any) -> Expected:
        made = right(final, *how)
        return replace(made, bound=made.bound + 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "_as_recorded", wide)
        verdict = check(made, replace(observed(made), h_n=None))
    assert verdict.verdict == "cannot tell"
    assert str(verdict.reason).startswith("c_n of layer 0 could not be checked: even a correct one may be off by 1")


@cells
@pytest.mark.parametrize("bidirectional", [False, True])
def test_nan_in_x_is_said(cell: str, bidirectional: bool) -> None:
    made = network(cell, bidirectional=bidirectional)
    made.sequence.x[11, 2, 3] = torch.nan
    verdict = check(made, observed(made))
    assert verdict.verdict == "cannot tell"
    assert verdict.reason == "x contains NaN at step 11, batch item 2; nothing after it can be checked"
    made.sequence.x[11] = torch.nan
    worst = check(made, observed(made)).worst
    assert worst is None or worst.bound == worst.bound, "a bound that is no number is none"


@cells
def test_nan_elsewhere_is_said(cell: str) -> None:
    made = network(cell)
    made.sequence.h0[0, 1, 2] = torch.nan
    assert str(check(made, observed(made)).reason) == "h0 contains NaN for batch item 1, which cannot be checked"
    made = network(cell)
    made.parameters["weight_hh_l0"][0, 0] = torch.nan
    assert str(check(made, observed(made)).reason) == "weight_hh_l0 contains NaN: nothing can be checked"


def steep(seed: int, hidden_size: int, steps: int, num_layers: int = 3) -> tuple[Prepared, Observation]:
    """A right run of a stack in which roundings grow; its top output and final states are known."""
    sizes = {"num_layers": num_layers, "hidden_size": hidden_size, "batch": 2}
    made = network("gru", seed=seed, input=f"randn:{steps}", **sizes)
    made = replace(made, parameters={name: 10 * w for name, w in made.parameters.items()})
    return made, observed(made)


def test_a_final_state_of_a_layer_that_nobody_observed_is_not_blamed_by_chance() -> None:
    """Of 100 networks of one unit this is the one in which the replicas fell closer together than to the engine."""
    verdict = check(*steep(81, 1, 60))
    assert verdict.verdict != "differ", verdict.first


def test_a_final_state_is_not_blamed_where_the_replicas_have_parted() -> None:
    """Then their spread is no bound: what the engine did is one more path, as far away as theirs or farther."""
    made, seen = steep(29, 8, 200)
    assert check(made, seen).verdict != "differ"
    assert seen.h_n is not None
    verdict = check(made, replace(seen, h_n=torch.full_like(seen.h_n, torch.nan)))
    assert verdict.verdict == "differ"  # the top layer was observed, and its final state is told


def test_a_final_state_is_no_proof_where_its_limit_hides_a_shift_that_a_check_has_to_see() -> None:
    """Roundings grow to 0.025: that is more than the 0.01 of `COARSE`, and less than `PAST_USE`."""
    verdict = check(*steep(29, 8, 200, num_layers=2))
    assert verdict.verdict == "cannot tell"
    assert str(verdict.reason).startswith("h_n of layer 0 could not be checked: even a correct one may be off by 0.0")


def test_a_final_state_is_at_the_end_of_shorter_items_only_where_there_are_some() -> None:
    made, seen = two("gru")
    assert seen.h_n is not None
    wrong = every_layer(made)[1, "forward"]["h"][-1] * (1 + 1e-5)
    said = pattern(made, seen, h_n=torch.cat([seen.h_n[:2], wrong[None], seen.h_n[3:]]))
    assert "shorter" not in said


@pytest.mark.slow
def test_a_final_state_beside_an_output_that_was_rounded_in_its_own_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    """np.round multiplies by 10ⁿ and divides again in float32: two roundings, also where all decimals are past the last
    digit of large numbers, so that nothing of it can be seen. The final states were kept as they were."""
    monkeypatch.setattr("rnnspect.judging.padded_steps.STEPS", (1,))  # what it is instead is not asked here
    moved = 0
    for seed in range(6):
        torch.manual_seed(seed)
        rnn = torch.nn.RNN(3, 8, nonlinearity="relu")
        with torch.no_grad():
            for parameter in rnn.parameters():
                parameter.copy_(torch.randn(parameter.shape).mul_(100).round_())
            x = torch.randn(2, 5, 3).mul_(100).round_()
            output, h_n = rnn(x)
        kept = torch.from_numpy(np.round(output.numpy(), 5))
        moved += int((kept[-1] != h_n[0]).sum())
        verdict = rnnspect.check(rnn, x, recorded={"output": kept, "h_n": h_n}, explain=0)
        assert verdict.verdict != "differ", verdict.first
        later = torch.nextafter(torch.nextafter(h_n, 2 * h_n), 2 * h_n)
        one = rnnspect.check(rnn, x, recorded={"output": output, "h_n": later}, explain=0)
        assert one.verdict != "agree", "two units in the last place of h_n are too many"
    assert moved


@pytest.mark.parametrize("decimals", [2, 4])
def test_the_cell_state_of_a_rounded_output_is_not_known_as_exactly_as_that_of_a_whole_one(decimals: int) -> None:
    """c is computed back from h = o tanh(c), and so from what the decimals left of h; c_n was kept as it was."""
    torch.manual_seed(0)
    lstm, x = torch.nn.LSTM(3, 8), torch.randn(50, 1, 3)
    with torch.no_grad():
        output, (_, c_n) = lstm(x)
    recorded = {"output": np.round(output.numpy().astype(float), decimals).astype("f4"), "c_n": c_n}
    assert rnnspect.check(lstm, x, recorded=recorded).verdict != "differ"
    recorded["c_n"] = c_n * (1 + 10.0 ** (1 - decimals))
    verdict = rnnspect.check(lstm, x, recorded=recorded)
    assert verdict.first is not None
    assert verdict.first.quantity == "c_n"


@pytest.mark.parametrize("cell", ["lstm", "projected"])
def test_items_that_end_long_before_others_keep_their_cell_state(cell: str) -> None:
    """A batch of three is judged in chunks of some 680 steps: one item ends in the first, one at the end of it."""
    made = network(cell, input="randn:1500", lengths=[1500, 10, 682])
    seen = observed(made)
    assert check(made, seen).agrees
    assert seen.c_n is not None
    for item in range(3):
        c_n = seen.c_n.clone()
        c_n[0, item, 5] += 1e-3
        verdict = check(made, replace(seen, c_n=c_n))
        assert verdict.first is not None
        assert (verdict.first.quantity, verdict.first.batch, verdict.first.unit) == ("c_n", item, 5)


def test_a_final_state_that_is_beyond_the_dtype_it_was_kept_in_may_be_infinite_there() -> None:
    torch.manual_seed(0)
    rnn, x = torch.nn.RNN(3, 6, nonlinearity="relu"), torch.rand(60, 1, 3) * 4000
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(torch.eye(6))
        rnn.weight_ih_l0.abs_()
        output, h_n = rnn(x)
    kept = h_n.half()
    assert kept.isinf().any()
    assert kept.isfinite().any()
    assert rnnspect.check(rnn, x, recorded={"output": output, "h_n": kept}).agrees
    saturated = kept.clamp(max=torch.finfo(torch.float16).max)
    assert rnnspect.check(rnn, x, recorded={"output": output, "h_n": saturated}, recorded_as="float16").agrees
    for wrong in (3.0, torch.nan, -torch.inf):
        other = kept.masked_fill(kept.isinf(), wrong)
        verdict = rnnspect.check(rnn, x, recorded={"output": output, "h_n": other}, recorded_as="float16")
        assert verdict.first is not None
        assert verdict.first.quantity == "h_n"
    kept[kept.isfinite()] *= 1.01  # float16 rounds by 2⁻¹¹
    assert rnnspect.check(rnn, x, recorded={"output": output, "h_n": kept}).verdict == "differ"
