"""What is said of parameters is put in place of what was recovered only where it explains the run as well."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import rnnspect
from rnnspect import Spec
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.judging.assumption import Assumption, Stack
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.evidence import recovering_units
from rnnspect.judging.evidence.jacobian_products import JacobianProducts
from rnnspect.judging.evidence.linearised import Steps
from rnnspect.judging.evidence.recovered import Claim, explains_as_well
from rnnspect.judging.evidence.recovering import as_claimed, recover
from rnnspect.judging.layer import cast
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.prepare import prepare
from tests.judging.test_recovering_layer import Pair
from tests.judging.test_recovering_layer import pair as pair_of_layers

FEATURES, UNITS, FACTOR = 6, 8, 1 + 1e-4
BY_UNIT, TOGETHER = ("rnn", "gru", "lstm"), ("lstm proj", "gru before")


@torch.no_grad()
def pair_of_units(cell: str) -> Pair:
    """An engine in float32 whose weight_hh is larger by FACTOR."""
    torch.manual_seed(0)
    ours: nn.RNNBase = getattr(nn, cell.upper())(FEATURES, UNITS)
    theirs = copy.deepcopy(ours)
    theirs.weight_hh_l0 *= FACTOR  # type: ignore[operator]
    x = torch.randn(300, 1, FEATURES)
    spec = Spec(cell=cell, input_size=FEATURES, hidden_size=UNITS, batch_first=False)
    return Pair(spec, *(dict(of.state_dict()) for of in (ours, theirs)), x, theirs(x)[0])


def engine(kind: str) -> Pair:
    if kind in BY_UNIT:
        return pair_of_units(kind)
    return pair_of_layers(kind, lambda name, w: w * FACTOR if "weight_hh" in name else w, rows=1.5)


def read(of: Pair) -> Assumption:
    spec, batch = of.spec, of.x.shape[1]
    states = [torch.zeros(1, batch, size) for size in (spec.output_size, spec.hidden_size)]
    stack = Stack.of(spec, of.ours, Sequence(of.x, states[0], states[1] if spec.cell == "lstm" else None, None, True))
    return Assumption.of(stack, (0, "forward"), of.x, None, ROUNDOFF[torch.float32], of.h)


def theirs_of(of: Pair) -> LayerParameters:
    return LayerParameters.of({name: w.double() for name, w in of.theirs.items()}, 0, "forward", of.spec)


@pytest.mark.parametrize("kind", [*BY_UNIT, *TOGETHER])
def test_a_true_claim_is_taken_and_a_false_one_is_not(kind: str) -> None:
    of = engine(kind)
    assumed = read(of)
    found = recover(assumed)
    none_open = Claim.ours(found).open
    taken = as_claimed(assumed, found, Claim(theirs_of(of), none_open))
    assert taken is not None
    assert all(torch.equal(taken.theirs[name], theirs_of(of)[name]) for name in taken.theirs.names)
    assert as_claimed(assumed, found, Claim.ours(found)) is None


@pytest.mark.parametrize("kind", [*BY_UNIT, *TOGETHER])
def test_what_a_claim_leaves_open_is_found_again(kind: str) -> None:
    """One row, with all others as they are."""
    of = engine(kind)
    assumed = read(of)
    found = recover(assumed)
    claim = Claim(theirs_of(of), Claim.ours(found).open)
    claim.open.weight_hh[2] = True
    taken = as_claimed(assumed, found, claim)
    assert taken is not None
    off = (taken.theirs.weight_hh[2] - theirs_of(of).weight_hh[2]) / found.error.weight_hh[2]
    assert 0 < float(off.square().mean().sqrt()) < 3  # `part.FITS`; beside all others it is told no better
    assert not torch.equal(taken.theirs.weight_hh[2], found.theirs.weight_hh[2])
    assert torch.equal(taken.theirs.weight_ih, theirs_of(of).weight_ih)


def test_a_claim_that_leaves_most_open_is_not_tried() -> None:
    of = engine("rnn")
    assumed = read(of)
    found = recover(assumed)
    claim = Claim(theirs_of(of), Claim.ours(found).open)
    claim.open.weight_hh[:] = True
    assert as_claimed(assumed, found, claim) is None


def test_what_a_parameter_takes_of_the_noise_by_chance_is_no_evidence() -> None:
    """400 rows, of which 100 numbers were told: chance takes 100 of 400 squares, so that 1 is left in place of 4/3."""
    left = torch.tensor([400 / 300, 4.1, 1.0], dtype=torch.float64)
    told, open_ = torch.tensor([100, 100, 100]), torch.tensor([0, 0, 100])
    assert explains_as_well(left, torch.ones(3, dtype=torch.float64), 400, told, open_).tolist() == [True, False, True]


@pytest.mark.slow
@torch.no_grad()
def test_variances_of_a_layer_that_is_found_as_a_whole_are_those_of_the_inverse() -> None:
    """A few units of h of many: 300 steps of conjugate gradients do not go along all that there is."""
    sizes = {"input_size": 6, "hidden_size": 16, "proj_size": 4, "batch_first": False}
    spec = Spec.model_validate({"cell": "lstm", **sizes, "seed": 1})
    p = LayerParameters.of(prepare(spec).parameters, 0, "forward", spec)
    torch.manual_seed(0)
    x, h = torch.randn(200, 2, 6), 0.5 * torch.randn(200, 2, 4).tanh()
    assumed = read(Pair(spec, dict(prepare(spec).parameters), {}, x, h))
    steps = Steps.of(chunk_at(assumed.run, 0, 200), assumed.run.c0)
    now = JacobianProducts(assumed.equations, cast(p, torch.float64), steps)
    columns = torch.stack([now.moved(row).flatten() for row in torch.eye(now.count, dtype=torch.float64)], 1)
    exact = torch.linalg.inv(columns.t() @ columns).diagonal()
    assert 0.7 < float((now.about().variances() / exact).log().mean().exp()) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("recover", [False, True])
def test_random_starts_are_only_tried_where_somebody_asks(monkeypatch: pytest.MonkeyPatch, recover: bool) -> None:
    """They take ten times as long as all else. Here i is left out and f is squared, which no other weights explain."""
    asked = []
    monkeypatch.setattr(recovering_units, "_drawn", lambda ours: asked.append(ours) or ())
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(5, 4), torch.randn(120, 1, 5)
    w, u, b, c = (p.detach() for p in module.parameters())
    h, cell, given = torch.zeros(1, 4), torch.zeros(1, 4), []
    for row in x:
        _, f, g, o = (row @ w.T + b + h @ u.T + c).chunk(4, -1)
        cell = torch.sigmoid(f) ** 2 * cell + torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(cell)
        given.append(h)
    verdict = rnnspect.check(module, x, recorded=torch.stack(given), recover=recover)
    assert verdict.verdict == "differ"
    assert verdict.recovered is not None
    assert bool(asked) == recover
