"""Gradients of a loss that sums where a mean is meant, or the other way round: over which axis is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.causes.backward.known.scaled import of_factor
from tests.causes.backward.drawn import Plan, checked
from tests.causes.backward.test_recorded import recorded
from tests.marks import sampled

STEPS, BATCH, UNITS = 9, 5, 4


def wrong(
    loss: Callable[[Tensor], Tensor], told: str, units: int = UNITS, bidirectional: bool = False
) -> tuple[rnnspect.Explanation, ...]:
    """What explains gradients of one loss, recorded, that are held to another."""
    torch.manual_seed(0)
    module, x = torch.nn.GRU(3, units, bidirectional=bidirectional), torch.randn(STEPS, BATCH, 3, requires_grad=True)
    names, parameters = zip(*module.named_parameters(), strict=True)
    g = torch.autograd.grad(loss(module(x)[0]), [x, *parameters])
    recorded = {f"grad.{name}": values for name, values in zip(("x", *names), g, strict=True)}
    verdict = rnnspect.check(module, x.detach(), recorded=recorded, backward=True, loss=told)
    assert isinstance(verdict, rnnspect.Verdict)
    return verdict.causes


@pytest.mark.parametrize(
    ("loss", "told", "name", "said"),
    sampled(
        [
            (torch.sum, "mean", "grad-sum-for-mean", "summed over all numbers of the output once too often"),
            (torch.mean, "sum", "grad-mean-for-sum", "averaged over all numbers of the output, not summed"),
            (lambda y: y.mean(-1).sum(), "sum", "grad-mean-for-sum", "averaged over the units, not summed"),
            (lambda y: y.sum(-1).mean(), "sum", "grad-mean-for-sum", "averaged over the batch and time, not summed"),
            (lambda y: y.mean((1, 2)).sum(), "sum", "grad-mean-for-sum", "averaged over the batch and the units"),
        ],
        3,
    ),
)
def test_over_what_a_loss_sums_is_said(loss: Callable[[Tensor], Tensor], told: str, name: str, said: str) -> None:
    (cause, *_) = wrong(loss, told)
    assert cause.name == name
    assert said in cause.explanation


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (torch.mean, "averaged over all numbers of the output"),
        (lambda y: y.mean(-1).sum(), "averaged over the units of both directions"),
    ],
)
def test_a_mean_over_both_directions_is_no_limit(loss: Callable[[Tensor], Tensor], said: str) -> None:
    (cause, *_) = wrong(loss, "sum", bidirectional=True)
    assert cause.name == "grad-mean-for-sum"
    assert said in cause.explanation


@pytest.mark.slow
def test_where_two_axes_are_as_long_both_are_said() -> None:
    (cause, *_) = wrong(lambda y: y.mean(-1).sum(), "sum", units=BATCH)
    assert "averaged over the batch, not summed, or averaged over the units, not summed" in cause.explanation


@pytest.mark.parametrize(("times", "said"), [(10, "10 times"), (65536, "of a loss that was scaled up")])
def test_gradients_that_are_many_times_too_large(times: int, said: str) -> None:
    """Accumulated over many passes, or of a loss whose scale was not divided out again."""
    (cause,) = wrong(lambda y: times * y.sum(), "sum")
    assert cause.name == "grad-accumulated"
    assert cause.parameters["factor"] == times
    assert said in cause.explanation


def test_a_share_is_no_limit_that_its_norm_has_by_chance() -> None:
    """An average over eight processes, of gradients whose norm has two digits then."""
    assert of_factor(0.125, 9.9, 1e-6)[0] == "grad-multiplied"
    assert of_factor(0.1253, 9.9, 1e-6)[::2] == ("grad-clipped-by-norm", {"norm": 9.9})


@pytest.mark.parametrize("norm", [0.632031, 0.632, 0.97404, 0.25001])
def test_a_norm_of_more_digits_is_no_limit(norm: float) -> None:
    """As of gradients that were clipped together with those of a head."""
    assert of_factor(0.31, norm, 5e-7)[0] == "grad-multiplied"


@pytest.mark.parametrize("limit", [5.0, 0.25, 0.01])
def test_a_limit_is_found_although_torch_divides_by_a_little_more_than_the_norm(limit: float) -> None:
    g = torch.randn(50, generator=torch.Generator().manual_seed(0))
    g *= 3.1 * limit / g.norm()
    g.grad = g.clone()
    torch.nn.utils.clip_grad_norm_([g], limit)
    assert of_factor(1 / 3.1, float(g.grad.norm()), 5e-7)[2] == {"norm": limit}


@pytest.mark.parametrize("times", [7.3, 0.37, 0.3712, -2.5])
def test_any_other_multiple_is_said(times: float) -> None:
    """Not that it was clipped: nobody writes the limit that it would have been clipped to."""
    (cause,) = wrong(lambda y: times * y.sum(), "sum")
    assert cause.name == "grad-multiplied"
    assert cause.parameters["factor"] == times


@pytest.mark.parametrize("times", [11, 128, 65536])
def test_a_loss_scale_that_code_of_ones_own_leaves_in_is_named(times: int) -> None:
    found = checked(Plan(4, "rnn"), {"loss times": times})
    assert [(cause.name, cause.parameters["factor"]) for cause in found.causes] == [("grad-accumulated", times)]


@pytest.mark.slow
def test_signs_alone_are_not_taken_for_gradients_that_were_clipped() -> None:
    """As the first step of Adam is: every number is the learning rate, or its negative."""
    torch.manual_seed(0)
    module, x = torch.nn.GRU(2, 3), torch.randn(5, 2, 2)
    y, _ = module(x)
    (30 * y).sum().backward()
    arrays = {f"grad.{name}": 1e-3 * p.grad.sign() for name, p in module.named_parameters()}
    found = rnnspect.check(module, x, recorded=arrays | {"grad.output": torch.full_like(y, 30.0)}, backward=True)
    assert (found.verdict, found.causes) == ("differ", ())


@pytest.mark.parametrize(("kept", "how"), [("bias_ih_l0", "that of bias_hh"), ("bias_hh_l0", "that of bias_ih")])
def test_one_bias_alone_shows_that_it_has_the_gradient_of_the_other(kept: str, how: str) -> None:
    found = recorded(Plan(3, "gru"), {"biases": "exchanged"}, (kept, "weight_hh_l0"))
    assert how in {cause.parameters["how"] for cause in found.causes if cause.name == "grad-biases-shared"}


@pytest.mark.parametrize(
    ("factor", "names"),
    [(0.5, {"grad-mean-for-sum", "grad-halved"}), (2.0, {"grad-accumulated", "grad-sum-for-mean"})],
)
def test_mistakes_of_the_same_factor_are_all_named(factor: float, names: set[str]) -> None:
    """At a batch of two a mean over it is half of the sum."""
    torch.manual_seed(0)
    module, x = torch.nn.RNN(3, 5), torch.randn(STEPS, 2, 3, requires_grad=True)
    tensors = {"x": x, **dict(module.named_parameters())}
    g = torch.autograd.grad(module(x)[0].sum() * factor, list(tensors.values()))
    recorded = {f"grad.{name}": values for name, values in zip(tensors, g, strict=True)}
    verdict = rnnspect.check(module, x.detach(), recorded=recorded, backward=True, loss="sum")
    assert isinstance(verdict, rnnspect.Verdict)
    assert {cause.name for cause in verdict.causes} == names
    assert any(names <= {*group} for group in verdict.indistinguishable)


@pytest.mark.parametrize("shown", [slice(None), slice(1)], ids=["everything", "dL/dx alone"])
def test_a_mean_over_the_padding_is_said(shown: slice) -> None:
    """As `output.mean()` of a padded output has it."""
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(3, UNITS), torch.randn(STEPS, BATCH, 3)
    lengths = [STEPS, 7, 6, 3, 2]
    x.requires_grad_(True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths)
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0])
    output.mean().backward()
    given = {"grad.x": x.grad, **{f"grad.{name}": p.grad for name, p in module.named_parameters()}}
    recorded = dict([*given.items()][shown])
    verdict = rnnspect.check(module, x.detach(), recorded=recorded, backward=True, loss="mean", lengths=lengths)
    assert isinstance(verdict, rnnspect.Verdict)
    assert verdict.causes[0].name == "grad-mean-for-sum"
    assert "averaged over the padding as well: over 45 steps, where the items have 27" in verdict.causes[0].explanation


def test_a_factor_of_the_only_gradient_is_said() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.GRU(3, UNITS), torch.randn(STEPS, BATCH, 3, requires_grad=True)
    (0.37 * module(x)[0].sum()).backward()
    assert x.grad is not None
    verdict = rnnspect.check(module, x.detach(), recorded={"grad.x": x.grad}, backward=True, loss="sum")
    assert isinstance(verdict, rnnspect.Verdict)
    assert [cause.name for cause in verdict.causes] == ["grad-multiplied"]
    assert verdict.causes[0].explanation.startswith("dL/dx is 0.37 × what the equations give")
