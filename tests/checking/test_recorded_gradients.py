"""Gradients that somebody recorded are read in each of their shapes, and what is wrong with them is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect
from rnnspect import SequenceError, Spec
from rnnspect.checking.backward import judge_recorded_backward
from rnnspect.checking.check import judge_recorded
from rnnspect.checking.recorded_gradients import recorded_gradients
from rnnspect.files.arrays import read_recording
from rnnspect.tracing.prepare import prepare

SIZES: dict[str, Any] = {"input_size": 3, "hidden_size": 5, "num_layers": 2, "bidirectional": True}
T, B = 6, 4


def drawn(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("f4")


def prepared_of(cell: str = "lstm", **more: Any) -> Any:
    return prepare(Spec(**{**SIZES, "cell": cell, "input": f"randn:{T}", "batch": B, **more}))


def read(prepared: Any, recorded: Any) -> Any:
    found = recorded_gradients(prepared.spec, recorded, prepared.sequence, prepared.parameters)
    return found.upstream, found.given


@pytest.mark.parametrize("batch_first", [True, False])
def test_sequences_lie_as_batch_first_says(batch_first):
    prepared = prepared_of(batch_first=batch_first)
    axes = (B, T) if batch_first else (T, B)
    recorded = {"grad.output": drawn(*axes, 10), "grad.x": drawn(*axes, 3), "output": drawn(*axes, 10)}
    upstream, found = read(prepared, recorded)
    pairs = [(upstream.output, "grad.output"), (found.x, "grad.x"), (found.output, "output")]
    for values, name in pairs:
        given = torch.from_numpy(recorded[name])
        assert torch.equal(values, given.transpose(0, 1) if batch_first else given)
    assert upstream.h_n is upstream.c_n is found.h0 is found.c0 is None
    assert (found.engine.name, found.parameters) == ("recording", {})


def test_states_and_parameters():
    prepared = prepared_of()
    states = {f"grad.{name}": drawn(4, B, 5) for name in ("h0", "c0", "h_n", "c_n")}
    parameters = {f"grad.{name}": np.array(values) for name, values in prepared.parameters.items()}
    upstream, found = read(prepared, {**states, **parameters})
    assert not upstream.output.any()
    assert torch.equal(upstream.c_n, torch.from_numpy(states["grad.c_n"]))
    assert torch.equal(found.c0, torch.from_numpy(states["grad.c0"]))
    assert list(found.parameters) == list(prepared.parameters)


def test_of_a_sequence_without_a_batch():
    prepared = prepared_of(batch=None)
    upstream, found = read(prepared, {"grad.output": drawn(T, 10), "grad.x": drawn(T, 3), "grad.h0": drawn(4, 5)})
    assert upstream.output.shape == (T, 1, 10)
    assert (found.x.shape, found.h0.shape) == ((T, 1, 3), (4, 1, 5))


def test_a_loss_that_is_said_elsewhere():
    assert read(prepared_of(), {"grad.x": drawn(T, B, 3)})[0] is None


def test_beyond_an_items_length_no_loss_depends_on_the_output():
    prepared = prepared_of(lengths=[6, 2, 1, 3])
    upstream, found = read(prepared, {"grad.output": drawn(T, B, 10) + 9, "grad.x": drawn(T, B, 3) + 9})
    assert torch.equal(upstream.output.ne(0).all(-1), prepared.sequence.valid())
    assert bool(found.x.all())  # what somebody's padding got is theirs, and judged


def test_few_decimals_are_noted():
    _, found = read(prepared_of(), {"grad.x": drawn(B, T, 3).round(2)})
    assert found.notes == ("grad.x appears rounded to 2 decimals",)


def test_gradients_in_the_other_order_of_axes_are_read_so_with_a_note():
    _, found = read(prepared_of(), {"grad.x": drawn(T, B, 3)})
    assert found.notes == ("grad.x is read as (step, batch, feature), while x is (batch, step, feature)",)


@pytest.mark.parametrize(("times", "said"), [(float("nan"), "NaN or infinity"), (1e-42, "scale the loss up")])
def test_what_went_in_may_tell_nothing(times, said):
    torch.manual_seed(0)
    module, x = torch.nn.GRU(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    y = module(x)[0]
    went_in = times * torch.randn_like(y)
    y.backward(went_in)
    recorded = {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    recorded |= {"grad.output": went_in, "grad.x": x.grad}
    found = rnnspect.check(module, x.detach(), recorded=recorded, backward=True)
    assert found.verdict == "cannot tell"
    assert said in str(found.reason)


def test_from_a_file_beside_a_recorded_run(tmp_path):
    prepared = prepared_of()
    run = {"x": prepared.sequence.x.numpy(), "l0.forward.h": drawn(B, T, 5), "output": drawn(T, B, 10)}
    np.savez(tmp_path / "run.npz", **run, **{"grad.x": drawn(T, B, 3), "grad.weight_hh_l1": drawn(20, 5)})
    _, found = read(prepared, read_recording(tmp_path / "run.npz"))
    assert set(found.parameters) == {"weight_hh_l1"}
    assert found.output is not None


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ({"grad.x": drawn(T, B, 4)}, "grad.x has the shape (6, 4, 4); expected (batch, step, unit) = (4, 6, 3)"),
        ({"grad.x": drawn(B, 5, 3)}, "grad.x has 5 steps, the input has 6; expected (batch, step, unit) = (4, 6, 3)"),
        ({"grad.h0": drawn(2, B, 5)}, "grad.h0 has the shape (2, 4, 5); expected (layers × directions, batch, unit)"),
        ({"grad.bias_ih_l0": drawn(5)}, "grad.bias_ih_l0 has the shape (5,); expected (20,), that of bias_ih_l0"),
        (
            {"grad.wieght_hh_l0": drawn(20, 5)},
            "unknown array 'grad.wieght_hh_l0' in the recording; did you mean 'grad.weight_hh_l0'?",
        ),
        ({"nothing": drawn(20, 5)}, "unknown array 'nothing' in the recording; expected grad.output"),
        ({"grad.weight_hh_l2": drawn(20, 5)}, "unknown array 'grad.weight_hh_l2'"),
        ({"grad.output": drawn(T, B, 10)}, "the recording has no gradients to check; expected grad.x, grad.h0"),
        ({"grad.x": drawn(T, B, 3), "x": drawn(T, B, 3)}, "the recording's x is not this run's"),
        ({"grad.x": np.array(["a"])}, "dtype str"),
    ],
)
def test_what_is_wrong_is_said(recorded, said):
    with pytest.raises(SequenceError) as caught:
        read(prepared_of(), recorded)
    assert said in str(caught.value)


def test_a_gru_has_no_c():
    with pytest.raises(SequenceError, match=r"unknown array 'grad.c0' in the recording"):
        read(prepared_of("gru"), {"grad.c0": drawn(4, B, 5)})


def test_a_check_of_values_passes_over_gradients_and_says_so():
    prepared = prepared_of()
    output = prepared.run().output
    output = output.transpose(0, 1) if prepared.spec.batch_first else output
    recorded = {"output": output, "grad.x": drawn(T, B, 3), "l0.forward.grad.i": drawn(B, T, 5)}
    verdict = judge_recorded(prepared, recorded).verdict
    assert verdict.agrees
    assert "the recorded gradients were not checked; rnnspect check … --backward checks them" in verdict.notes
    with pytest.raises(SequenceError, match="nothing but gradients; rnnspect check … --backward checks them"):
        judge_recorded(prepared, {"grad.output": output})


def test_one_array_of_an_archive_does_not_say_what_went_in() -> None:
    prepared = prepare(Spec(input_size=3, hidden_size=4), "randn:5")
    with pytest.raises(SequenceError, match="; if the file has it, pass the file without :name"):
        judge_recorded_backward(prepared, {"grad.x": torch.zeros(1, 5, 3)})


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_what_went_in_and_was_not_recorded_is_asked_for(kind: type[nn.RNNBase]) -> None:
    """As the final states of an encoder, and the state that a part of a sequence begins with."""
    torch.manual_seed(0)
    module, x = kind(3, 4, batch_first=True), torch.randn(2, 10, 3)
    begun = [torch.randn(1, 2, 4) for _ in range(1 + (kind is nn.LSTM))]
    y, state = module(x, tuple(begun) if kind is nn.LSTM else begun[0])
    h_n, *_ = state if kind is nn.LSTM else [state]
    y.retain_grad()
    h_n.retain_grad()
    ((y**2).mean() + h_n.sin().sum()).backward()
    shown = {"grad.output": y.grad} | {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    found = rnnspect.check(module, x, recorded=shown, backward=True)
    assert found.verdict == "differ"
    said = " ".join(found.notes)
    assert "if the loss uses final states, too, record grad.h_n" in said
    assert "if the run began with other states than zeros, give h0" in said
    assert rnnspect.check(module, x, *begun, recorded=shown | {"grad.h_n": h_n.grad}, backward=True).verdict == "agree"


def test_gradients_that_were_not_set_to_zero_before_are_told_by_their_pattern() -> None:
    """Nobody knows the batch before; but dL/dx shows that the way back is right."""
    torch.manual_seed(0)
    module, out = nn.RNN(3, 4, batch_first=True), torch.randn(2, 6, 4)
    for _ in range(2):
        x = torch.randn(2, 6, 3, requires_grad=True)
        (module(x)[0] * out).sum().backward()
    shown = {"grad.output": out, "grad.x": x.grad} | {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    found = rnnspect.check(module, x.detach(), recorded=shown, backward=True)
    assert (found.verdict, found.causes) == ("differ", ())
    assert "dL/dx is right and every parameter's gradient is wrong" in found.notes[-1]
    assert "no zero_grad()" in found.notes[-1]
    assert not any("if the loss uses final states" in note for note in found.notes)


def test_a_gradient_that_is_none_is_told_by_its_name() -> None:
    module, x = nn.GRU(3, 4), torch.randn(5, 2, 3)
    module.bias_ih_l0.requires_grad_(False)
    y, _ = module(x)
    y.retain_grad()
    y.sum().backward()
    shown = {"grad.output": y.grad} | {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    with pytest.raises(
        rnnspect.SequenceError, match=r"grad\.bias_ih_l0 is None: no gradient was computed; leave it out"
    ):
        rnnspect.check(module, x, recorded=shown, backward=True)
