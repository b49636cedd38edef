"""What all values of a run together say: the parameter that is off, and nothing of a correct run."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.causes import search
from rnnspect.cells import CELLS
from rnnspect.checking.check import check_observation
from rnnspect.judging.assumption import Assumption, Stack
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.declared import ARITHMETICS, Declared
from rnnspect.judging.evidence.chance import first_of_each, log10_chance, log10_chance_of_signs, that_count
from rnnspect.judging.evidence.linearised import Computed, Steps
from rnnspect.judging.evidence.target import FittedVector, Site
from rnnspect.judging.layer import LayerEquations, cast
from rnnspect.judging.observation import Observation
from rnnspect.judging.verdict import Explained
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.prepare import prepare
from tests.causes.functions import Array
from tests.judging.drawn import draw, make
from tests.judging.test_drawn import judged

KINDS = ("RNN", "GRU", "LSTM")
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def steady(kind: str, steps: int, features: int) -> Tensor:
    """(steps, 1, features)"""
    drawn = torch.randn(steps, 1, features)
    return {
        "drawn": drawn,
        "constant": drawn[:1].expand_as(drawn).contiguous(),
        "periodic": drawn[:7].repeat(steps // 7 + 1, 1, 1)[:steps].contiguous(),
        "one-hot": torch.eye(features)[torch.randint(features, (steps, 1))],
        "slow": (torch.arange(steps)[:, None, None] * 0.003 + torch.rand(1, 1, features) * 6).sin(),
    }[kind]


def pair(kind: str, seed: int = 0, features: int = 8, units: int = 16) -> tuple[nn.RNNBase, nn.RNNBase]:
    """Ours, and a copy for the engine."""
    torch.manual_seed(seed)
    ours: nn.RNNBase = getattr(nn, kind)(features, units)
    return ours, copy.deepcopy(ours)


@torch.no_grad()
def checked(ours: nn.RNNBase, theirs: nn.RNNBase, x: Tensor, **asked: object) -> Verdict:
    return rnnspect.check(ours, x, recorded={"output": theirs(x)[0]}, **asked)  # type: ignore[return-value, arg-type]


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["drawn", "constant", "periodic", "one-hot", "slow"])
def test_nothing_is_named_in_a_correct_run(kind: str, way: str) -> None:
    ours, theirs = pair(kind)
    found = checked(ours, theirs, steady(way, 500, 8), explain=0)
    assert found.verdict != "differ"
    assert not found.suspects


@pytest.mark.each_value_once
@pytest.mark.parametrize("seed", [1, 2, 6, 11])
def test_roundings_of_h_are_no_weight_of_a_gate_before_a_product(seed: int, tmp_path: Path) -> None:
    """Weights of a thousandth: what r takes is seen through U (r ⊙ h) alone, far below what h itself is rounded by."""
    rng, units = np.random.default_rng(seed), 16
    sizes = [((3 * units, width), (3 * units, units), (3 * units,), (3 * units,)) for width in (1, units)]
    layers = [[(1e-3 * rng.standard_normal(size)).astype(np.float32) for size in layer] for layer in sizes]
    x = rng.standard_normal((300, 1)).astype(np.float32).cumsum(0) * np.float32(0.1) + np.float32(3)
    lower = reset_before(x, *layers[0])
    upper = reset_before(lower, *layers[1])
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {f"{name}_l{at}": torch.tensor(w) for at in (0, 1) for name, w in zip(names, layers[at], strict=True)}
    torch.save(weights, tmp_path / "weights.pt")
    spec = Spec.model_validate(
        {"cell": "gru", "reset": "before", "input_size": 1, "hidden_size": units, "num_layers": 2}
        | {"batch_first": False, "weights": str(tmp_path / "weights.pt")}
    )
    recorded = {"l0.forward.h": lower[:, None], "l1.forward.h": upper[:, None]}
    found = rnnspect.check(spec, torch.tensor(x)[:, None], recorded=recorded, explain=0)
    assert found.verdict != "differ"
    assert not found.suspects


def reset_before(x: Array, w: Array, u: Array, b: Array, c: Array) -> Array:
    """h (T, H) of a GRU whose reset comes before the product, from zeros, in a loop in numpy."""
    one, h, given = np.float32(1), np.zeros(u.shape[1], np.float32), []
    for row in x:
        of_x, gates, size = w @ row + b, u[: 2 * len(h)] @ h + c[: 2 * len(h)], len(h)
        r, z = (one / (one + np.exp(-s)) for s in np.split(of_x[: 2 * size] + gates, 2))
        n = np.tanh(of_x[2 * size :] + (u[2 * size :] @ (r * h) + c[2 * size :]))
        h = (one - z) * n + z * h
        given.append(h)
    return np.stack(given)


@pytest.mark.parametrize("kind", KINDS)
def test_one_weight_that_is_off_by_a_thousandth_is_named_with_its_value(kind: str) -> None:
    ours, theirs = pair(kind)
    row = (GATES[kind] - 2) * 16 + 3 if kind != "RNN" else 3
    with torch.no_grad():
        theirs.weight_hh_l0[row, 5] += 3e-4  # type: ignore[index]
    found = checked(ours, theirs, steady("drawn", 500, 8), explain=0)
    assert found.verdict == "differ"
    (suspect,) = found.suspects
    assert suspect.name == f"weight_hh_l0[{row},5]"
    assert suspect.entry == ("weight_hh_l0", (row, 5))
    assert suspect.kind == "parameter"
    assert suspect.certain
    assert suspect.ours is not None
    assert suspect.theirs is not None
    assert suspect.theirs - suspect.ours == pytest.approx(3e-4, rel=0.05)  # the issue of a port: values within 5 %
    assert suspect.shrinks > 10


def test_a_run_inside_the_bound_differs_by_evidence_alone() -> None:
    ours, theirs = pair("RNN")
    with torch.no_grad():
        theirs.bias_ih_l0[3] += 2e-6
    x = steady("drawn", 500, 8)
    with torch.no_grad():
        assert torch.allclose(ours(x)[0], theirs(x)[0], rtol=1.3e-6, atol=1e-5)  # torch.testing's for float32
    found = checked(ours, theirs, x)
    assert (found.verdict, found.found_by, found.exit_status) == ("differ", "evidence", 1)
    assert found.first is None
    (one,) = found.suspects
    assert one.name == "bias_ih_l0[3] + bias_hh_l0[3]"
    own, other = ((of.bias_ih_l0[3].double() + of.bias_hh_l0[3].double()).item() for of in (ours, theirs))
    assert one.ours == own
    assert one.theirs == pytest.approx(other, abs=1e-6)  # the change of 2e-6 is told to less than half of it
    assert "by evidence" in repr(found)
    said = str(found)
    assert "shown by all values together" in said
    assert "rounding alone can look like a change of " in said


def test_what_products_may_have_done_that_were_permitted_proves_nothing() -> None:
    """A bias that is off by 25 roundings of float32 is less than TF32 products of 11 bits may look like. Such a run is
    judged in float32 first, where all of its values are within their limits."""
    spec = Spec(cell="rnn", input_size=8, hidden_size=16, input="randn:500")
    made = prepare(spec)
    theirs = dict(made.parameters) | {"bias_ih_l0": made.parameters["bias_ih_l0"].clone()}
    theirs["bias_ih_l0"][3] += 1.5e-6
    ran = made.engine.run(spec, theirs, made.sequence)
    seen = Observation(ran.engine, {place: {"h": h} for place, h in ran.layers.items()}, None, None)

    def verdict(permitted: Declared | None) -> Verdict:
        declared = replace(ARITHMETICS["float32"], permitted=permitted)
        return check_observation(Case(spec, made.parameters, made.sequence, seen, declared))

    assert verdict(None).found_by == "evidence"
    found = verdict(ARITHMETICS["tf32"])
    assert (found.verdict, found.arithmetic, found.suspects) == ("agree", "float32", ())


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_what_explains_less_than_half_of_what_is_left_is_a_hint(seed: int) -> None:
    """A bias of the reset gate moves h least."""
    ours, theirs = pair("GRU", seed)
    with torch.no_grad():
        theirs.bias_ih_l0[3] += 1e-6
    found = checked(ours, theirs, steady("drawn", 500, 8), explain=0)
    assert found.agrees
    assert [(one.name, one.certain) for one in found.suspects] == [("bias_ih_l0[3] + bias_hh_l0[3]", False)]


def test_what_is_below_the_floor_is_a_hint_and_the_run_agrees() -> None:
    ours, theirs = pair("LSTM")
    with torch.no_grad():
        theirs.bias_ih_l0[3] += 2e-6
    found = checked(ours, theirs, steady("drawn", 600, 8))
    assert found.agrees
    (hint,) = found.suspects
    assert (hint.name, hint.gate, hint.unit) == ("bias_ih_l0[3] + bias_hh_l0[3]", "i", 3)
    assert not hint.certain
    assert "possibly" in str(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_factor_of_a_matrix_of_a_feature_and_of_a_gate_is_named(kind: str) -> None:
    x = steady("drawn", 300, 8)
    for change, name, factor, entry in (
        (lambda w: w.weight_ih_l0.mul_(0.999), "weight_ih_l0", 0.999, ("weight_ih_l0", (0, 0))),
        (lambda w: w.weight_ih_l0[:, 2].mul_(1.001), "column 2 of weight_ih_l0", 1.001, ("weight_ih_l0", (0, 2))),
        (lambda w: w.weight_hh_l0[3].mul_(1.002), "unit 3, weight_hh_l0", 1.002, ("weight_hh_l0", (3, 0))),
    ):
        ours, theirs = pair(kind)
        with torch.no_grad():
            change(theirs)
        (suspect,) = checked(ours, theirs, x, explain=0).suspects
        assert (suspect.name, suspect.entry) == (name, entry)
        assert suspect.factor == pytest.approx(factor, abs=1e-5)  # 1 % of the change


def test_two_numbers_that_are_off_are_both_named() -> None:
    ours, theirs = pair("GRU")
    with torch.no_grad():
        theirs.weight_ih_l0[20, 1] += 1e-3  # type: ignore[index]
        theirs.bias_hh_l0[40] += 1e-4
    names = {one.name for one in checked(ours, theirs, steady("drawn", 400, 8), explain=0).suspects}
    assert names == {"weight_ih_l0[20,1]", "bias_hh_l0[40]"}


def test_a_unit_that_is_zero_is_named_by_its_gate() -> None:
    ours, theirs = pair("GRU")
    with torch.no_grad():
        for of in theirs.parameters():
            of[5::16] = 0
    (suspect,) = checked(ours, theirs, steady("drawn", 400, 8), explain=0).suspects
    assert (suspect.name, suspect.factor) == ("gate n of unit 5", 0)


@pytest.mark.parametrize("factor", [1.5, -1.0, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_one_weight_that_is_far_off_is_named_and_not_its_row(
    kind: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So far that the slope at our value explains little of what is left; its row as a whole would explain it, too."""
    monkeypatch.setattr(search, "explain", lambda *_: Explained())
    ours, theirs = pair(kind, features=3, units=4)
    with torch.no_grad():
        ours.weight_ih_l0[2, 0] = 0.5  # type: ignore[index]
        theirs.weight_ih_l0[2, 0] = 0.5 * factor  # type: ignore[index]
    (suspect,) = checked(ours, theirs, steady("drawn", 60, 3)).suspects
    assert (suspect.kind, suspect.name) == ("parameter", "weight_ih_l0[2,0]")
    assert suspect.theirs == pytest.approx(0.5 * factor, abs=1e-5)


@pytest.mark.slow
def test_another_row_is_looked_for_unless_no_time_is_given() -> None:
    ours, theirs = pair("GRU")
    with torch.no_grad():
        theirs.weight_hh_l0[5] = torch.linspace(-0.3, 0.3, 16)
    x = steady("drawn", 400, 8)
    (suspect,) = checked(ours, theirs, x).suspects
    assert (suspect.kind, suspect.name) == ("row", "row 5 of weight_hh_l0")
    quick = checked(ours, theirs, x, explain=0)
    assert quick.verdict == "differ"
    assert not quick.suspects


class OneSided(nn.Module):
    """An LSTM whose σ is always too large: by 10 unit roundoffs, which the bound allows a correct kernel."""

    def __init__(self, of: nn.RNNBase) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        w = {name: p.detach() for name, p in self.of.named_parameters()}
        h = c = torch.zeros(1, 16)
        found = []
        for one in x:
            s = one @ w["weight_ih_l0"].t() + w["bias_ih_l0"] + h @ w["weight_hh_l0"].t() + w["bias_hh_l0"]
            i, f, g, o = s.chunk(4, -1)
            i, f, o = ((v.double().sigmoid() + 10 * 2.0**-24).float() for v in (i, f, o))
            c = f * c + i * g.tanh()
            h = o * c.tanh()
            found.append(h)
        return torch.stack(found)


def test_an_activation_that_errs_on_one_side_is_no_wrong_bias() -> None:
    for seed in range(4):
        ours, theirs = pair("LSTM", seed)
        x = steady("drawn", 500, 8)
        found = rnnspect.check(ours, x, recorded={"output": OneSided(theirs)(x)})
        assert found.verdict == "agree"
        assert not any(one.certain for one in found.suspects)


@pytest.mark.parametrize("seed", [211, 20599, 201452, 70023490])
def test_correct_runs_that_were_named_once(seed: int) -> None:
    """Saturated units, a unit that never moves, and projections: the sum is rounded the same way at every step, or what
    goes into it is."""
    assert not judged(make(draw(seed))).suspects


def assumed(cell: str) -> tuple[Assumption, Tensor]:
    """A small layer of a cell, read on a drawn run of its own in float64, moved a little."""
    torch.manual_seed(0)
    spec = Spec.model_validate({"cell": cell, "input_size": 3, "hidden_size": 4, "dtype": "float64", "seed": 1})
    if CELLS[cell].has_projection:
        spec = spec.with_changes(proj_size=3)
    p = prepare(spec).parameters
    x = torch.randn(12, 2, 3, dtype=torch.float64)
    states = [torch.zeros(1, 2, spec.output_size, dtype=torch.float64)]
    c0 = torch.randn(1, 2, 4, dtype=torch.float64) if CELLS[cell].has_cell_state else None
    h = torch.randn(12, 2, spec.output_size, dtype=torch.float64).tanh() * 0.5
    stack = Stack.of(spec, p, Sequence(x, states[0], c0, None, True))
    return Assumption.of(stack, (0, "forward"), x, None, ROUNDOFF[torch.float64], h), h


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_columns_are_the_derivatives_of_what_is_left(cell: str) -> None:
    """Central differences of step 1e-5: their error is that step squared, and what is rounded over the step: 1e-9."""
    one, _ = assumed(cell)
    layer, run = one.equations, one.run
    steps = Steps.of(chunk_at(run, 0, 12), run.c0)
    p = cast(one.p, torch.float64)
    target = Computed(layer, p, steps).targets()[0]
    tried = 0
    for unit in range(target.units):
        columns = target.columns(unit)
        for column, (_, name, at) in enumerate(target.entries(unit)):
            moved = []
            for sign in (1, -1):
                of = getattr(p, name)
                before = of[at].clone()
                of[at] += sign * 1e-5
                moved.append(Computed(LayerEquations(layer.cell, p, layer.u, layer.nonlinearity), p, steps).residual())
                of[at] = before
            numeric = (moved[1] - moved[0])[..., unit].flatten() / 2e-5
            torch.testing.assert_close(columns[:, column], numeric, rtol=1e-6, atol=1e-8)
            tried += 1
    assert tried


@given(st.integers(3, 200), st.floats(1e-6, 1 - 1e-9), st.integers(1, 10**6))
@settings(deadline=None)
def test_chance_is_a_probability_that_falls_with_what_is_explained(n: int, share: float, candidates: int) -> None:
    found = log10_chance(share, n, candidates)
    assert -math.inf < found <= 0
    assert log10_chance(min(1.0, share * 1.1), n, candidates) <= found + 1e-9
    assert log10_chance(share, n, 1) <= found + 1e-9


def test_chance_is_that_of_random_columns() -> None:
    """Of 20,000 random columns those that explain a share are as many as the bound says, and not much fewer."""
    torch.manual_seed(0)
    n, share = 12, 0.5
    columns, r = torch.randn(20000, n, dtype=torch.float64), torch.randn(n, dtype=torch.float64)
    explained = (columns @ r).square() / (columns.square().sum(1) * r.square().sum())
    seen = float((explained >= share).double().mean())
    said = 10 ** log10_chance(share, n, 1)
    assert seen / 2 < said * 1.2  # the deviation of a share of 20,000 is far below a fifth
    assert said < 3 * seen


def test_signs_alone_give_a_chance_of_numbers_of_any_sizes() -> None:
    """Of 20,000 draws of signs no more go with a column than the bound says."""
    torch.manual_seed(0)
    column, sizes = torch.ones(40, dtype=torch.float64), torch.logspace(-3, 3, 40, dtype=torch.float64)
    drawn = [sizes * sign for sign in torch.randint(0, 2, (20000, 40)) * 2 - 1]
    chances = torch.tensor([log10_chance_of_signs(column, one, 1.0, 1) for one in drawn])
    for log in (-0.3, -1.0, -1.5):
        assert float((chances <= log).double().mean()) <= 10**log
    assert log10_chance_of_signs(column, column, 1.0, 1) == pytest.approx(math.log10(2) - 20 / math.log(10))
    for size in (1e-150, 1e150):  # it does not depend on how large the numbers are, as those that explode in float64
        found = log10_chance_of_signs(size * column, size * drawn[0], 1.0, 1)
        assert found == pytest.approx(log10_chance_of_signs(column, drawn[0], 1.0, 1))


def test_roundings_of_the_same_value_add_up_and_others_fall_either_way() -> None:
    """Of 100 steps that count alike: 100 u, or √100 u, and twice that as the most."""
    one, none = torch.ones(100, 1, 1, dtype=torch.float64), torch.zeros(100, 1, 1, dtype=torch.float64)
    for value, expected in ((one, 100.0), (one + torch.arange(100.0).view(100, 1, 1), 10.0)):
        sites = [Site(value, one, none, 0.0, one, None)]
        target = FittedVector(none, (), None, None, torch.ones(100, 1, dtype=torch.bool), lambda sites=sites: sites)  # type: ignore[misc]
        assert target.repeated(one, 0, 0.5) == pytest.approx(expected)
        assert target.repeated(one, None, 0.5) == pytest.approx(expected)


def test_rows_that_begin_alike_count_once() -> None:
    assert first_of_each(torch.tensor([[1.0, 2], [3, 4], [1, 2], [3, 5]])).tolist() == [0, 1, 3]


def test_evidence_lies_where_the_column_does_and_what_repeats_counts_once() -> None:
    several = torch.arange(1.0, 51)
    assert that_count(several, several) == pytest.approx(float(several.square().sum() ** 2 / several.pow(4).sum()))
    assert that_count(several, torch.eye(50)[3]) == pytest.approx(1)
    assert that_count(torch.ones(50), torch.ones(50)) == pytest.approx(1)


@pytest.mark.parametrize("features", [256, 600])
def test_equal_terms_that_always_round_alike_are_no_other_weights(features: int) -> None:
    """Added up one after another in float32, terms that are all the same err in one direction."""
    torch.manual_seed(0)
    module, x = nn.RNN(features, 4), torch.full((20, 1, features), 0.1)
    module.weight_ih_l0.data.fill_(0.013)
    with torch.no_grad():
        w, u, b_ih, b_hh = module.parameters()
        h, output = torch.zeros(4), []
        for row in x[:, 0]:
            s = torch.zeros(4)
            for column, value in zip(w.t(), row, strict=True):
                s = s + column * value
            h = torch.tanh(s + b_ih + (u @ h + b_hh))
            output.append(h)
    found = rnnspect.check(module, x, recorded=torch.stack(output)[:, None])
    assert isinstance(found, Verdict)
    assert (found.verdict, found.suspects) == ("agree", ())
