"""The bound of a linear recurrence in any grouping of its steps, against forms in torch that group them differently."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.forms import TermSums, linear_state, regrouped
from rnnspect.arithmetic.roundoff import SINGLE, Roundoff
from rnnspect.cells import CELLS, VARIANTS, Arithmetic, V
from rnnspect.engines.own.loading import load_cell
from rnnspect.network.parameters import NotRecurrent
from tests.causes.own_cells import CARRYING, SOFTMAX
from tests.cells.forms import ANY_ORDER, LOG_SPACE, cumulated_along, in_chunks_of_logs, stepped

U = SINGLE.sums


def test_the_state_that_is_a_linear_recurrence() -> None:
    found = {name: linear_state(load_cell(f"examples/cells/{name}.py:{name}")) for name in ("mingru", "minlstm")}
    assert found == {"mingru": "h", "minlstm": "h"}
    assert linear_state(load_cell("examples/cells/indrnn.py:indrnn")) == ""
    assert not any(map(linear_state, (*CELLS.values(), *VARIANTS.values())))


def test_a_cell_state_that_is_one() -> None:
    assert linear_state(CARRYING) == "c"
    linear = ("retnet", "s6", "lru", "gated_delta", "mlstm")
    assert all(linear_state(load_cell(f"examples/cells/{name}.py:{name}")) == "c" for name in linear)


def and_of_the_others(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """Its maximum depends on a block that is carried."""
    q = SOFTMAX.step(a, wx, h, c)
    w, v, m = a.blocks(q["c"])
    return q | {"c": a.packed(w, v, a.maximum(m, w))}


def test_one_whose_decays_follow_from_a_running_maximum() -> None:
    assert linear_state(SOFTMAX) == "c"
    assert linear_state(replace(SOFTMAX, step=and_of_the_others)) == ""


def drawn(kind: str, steps: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(steps, 16, generator=generator) * {"open": 1, "shut": 0.05, "long": 0.002}[kind] + 1e-6
    return 1 - share, share * torch.rand(steps, 16, generator=generator), torch.rand(16, generator=generator)


def allowed(a: Tensor, b: Tensor, h: Tensor, u: Roundoff, pieces: int) -> Tensor:
    """The bound, with the sums carried from piece to piece of the steps."""
    sums, found = TermSums.begin(h.double().abs()), []
    for one, other in zip(a.double().chunk(pieces), b.double().chunk(pieces), strict=True):
        own, sums = regrouped(one, other, sums, u)
        found.append(own)
    return torch.cat(found)


@pytest.mark.parametrize("name", [*ANY_ORDER, *LOG_SPACE])
@pytest.mark.parametrize("kind", ["open", "shut", "long"])
def test_every_form_stays_within_it(name: str, kind: str) -> None:
    """The truth is float64, whose own roundings are 2⁻²⁹ of those that are looked at. The chunks' division needs
    decays whose product is a number, which those of the open gates are in float32 for sixteen steps."""
    logs = name in LOG_SPACE
    u = Roundoff(SINGLE.sums, SINGLE.stored, SINGLE.tiny, regrouped=SINGLE.sums, logs=math.inf if logs else 0)
    for steps in (1, 17, 200):
        a, b, h = drawn(kind, steps, steps)
        error = ((ANY_ORDER | LOG_SPACE)[name](a, b, h).double() - stepped(a.double(), b.double(), h.double())).abs()
        bound = allowed(a, b, h, u, 1)
        assert bool((error <= bound).all())
        assert float((bound / error.clamp(min=1e-12)).median()) < 3000  # it says something


@pytest.mark.slow
def test_sums_of_logarithms_that_begin_anew() -> None:
    """Of decays by a quarter a step: all 2,000 are within the limit of as many, and beyond that of 16."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2000, 16, generator=generator) * 0.5 + shift for shift in (0.5, 0))
    right = stepped(a.double(), b.double(), b[0].double())
    bounds = {
        steps: allowed(a, b, b[0], Roundoff(U, U, SINGLE.tiny, regrouped=U, logs=steps), 5) for steps in (16, math.inf)
    }
    errors = [(form(a, b, b[0]).double() - right).abs() for form in (in_chunks_of_logs(16), cumulated_along(0))]
    assert bool((errors[0] <= bounds[16]).all())
    assert bool((errors[1] <= bounds[math.inf]).all())
    assert bool((errors[1] > bounds[16]).any())


@pytest.mark.parametrize("pieces", [1, 6])
def test_how_far_sums_of_logarithms_reach_back(pieces: int) -> None:
    """In float64: some hundred of its roundings."""
    a, b, h = (one.double() for one in drawn("shut", 96, 3))
    for steps in (5, 40, 96, math.inf):
        sums, u = TermSums.begin(h.abs()), Roundoff(SINGLE.sums, SINGLE.stored, SINGLE.tiny, regrouped=U, logs=steps)
        for one, other in zip(a.chunk(pieces), b.chunk(pieces), strict=True):
            _, sums = regrouped(one, other, sums, u)
        torch.testing.assert_close(sums.far, -a[-int(min(steps, 96)) :].log().sum(0), rtol=1e-12, atol=0)


def test_it_is_the_same_in_pieces() -> None:
    """Both are computed in float64: some hundred of its roundings."""
    a, b, h = drawn("shut", 96, 3)
    for logs in (0, 5, 40, math.inf):
        u = Roundoff(SINGLE.sums, SINGLE.stored, SINGLE.tiny, regrouped=SINGLE.sums, logs=logs)
        torch.testing.assert_close(allowed(a, b, h, u, 6), allowed(a, b, h, u, 1), rtol=1e-12, atol=0)


LONG, MEMORY = 20_000, 10_000
"""So long that what is added up in any order, which grows as a root, is the smaller part of the bound."""


def worst(a: Tensor, b: Tensor, of_decays: Tensor, of_terms: Tensor | float = 0.0) -> Tensor:
    """The states in float64 where each decay and each term is off by so much, relative, all of them upwards."""
    return stepped(a * (1 + of_decays), b * (1 + of_terms), torch.zeros_like(b[0]))


def test_roundings_that_all_go_one_way_stay_within_it() -> None:
    """One rounding of a product and one of a sum at each step."""
    a, b = torch.full((LONG, 1), 1 - 1 / MEMORY, dtype=torch.float64), torch.ones(LONG, 1, dtype=torch.float64)
    u = Roundoff(U, U, SINGLE.tiny, regrouped=U)
    error = (worst(a, b, torch.tensor(2 * U)) - worst(a, b, torch.tensor(0.0))).abs()
    assert bool((error <= allowed(a, b, torch.zeros(1), u, 4)).all())


def test_roundings_of_logarithms_that_all_go_one_way_stay_within_it() -> None:
    """At each step one of the sum of logarithms and one of the logarithm of the result, then those of both ends."""
    a, b = torch.full((2000, 1), 0.99, dtype=torch.float64), torch.full((2000, 1), 1e-9, dtype=torch.float64)
    far, u = a.log().cumsum(0).abs(), Roundoff(U, U, SINGLE.tiny, regrouped=U, logs=math.inf)
    right, bound = worst(a, b, torch.tensor(0.0)), allowed(a, b, torch.zeros(1), u, 4)
    between = worst(a, b, 2 * U * (1 + far)) - right
    depth = torch.arange(1, 2001, dtype=torch.float64).log2().add(2).unsqueeze(1)
    of_terms = worst(a, b, torch.tensor(0.0), U * (far + b.log().abs())) - right
    assert bool((between.abs() <= bound).all())
    assert bool((depth * of_terms + U * depth * far * right <= bound).all())


def turning(steps: int, size: float, phase: float, u: Roundoff) -> tuple[Tensor, Tensor]:
    """The states c = λ c + 1 of a complex decay, and what they may be off by where λ itself is exact."""
    p = NotRecurrent(torch.zeros(2, 1), torch.zeros(2, 1), None, None, None)
    a, none = Bounded(p, 2, u), torch.zeros(1, dtype=torch.float64)
    re, im = (Number(torch.full((1,), size * of(phase)).double(), none, u) for of in (math.cos, math.sin))
    one = Number(torch.tensor([[[1.0, 0.0]]], dtype=torch.float64), torch.zeros(1, 1, 2, dtype=torch.float64), u)
    state, found = Number(torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64), u), []
    for _ in range(steps):
        made = a.carry_complex(re, im, state, one)
        found.append((torch.complex(*made.v[0, 0]), made.e[0, 0, 0]))
        state = Number(made.v[0], made.e[0], u, sums=made.sums)
    values, limits = (torch.stack(of) for of in zip(*found, strict=True))
    return values, limits


@pytest.mark.slow
def test_roundings_of_complex_decays_that_all_go_one_way_stay_within_it() -> None:
    """√5 u of each product, and u of a sum."""
    size, steps = 1 - 1 / MEMORY, 4000
    ones, none = torch.ones(steps, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    right, wrong = (stepped(ones * size * (1 + off), ones, none) for off in (0, (math.sqrt(5) + 1) * U))
    _, limits = turning(steps, size, 0.0, Roundoff(U, U, SINGLE.tiny, regrouped=U))
    assert bool(((wrong - right)[:, 0] <= limits).all())


def test_angles_of_complex_decays_that_are_added_up() -> None:
    """Each sum of angles is rounded up, and the next one made of it; nearly whole turns, so that no terms cancel."""
    steps, size, phase = 600, 0.99, 2 * math.pi - 1e-6
    at = torch.arange(1, steps + 1, dtype=torch.float64)
    sums = at * phase + (U * at * phase).cumsum(0)
    apart = torch.polar(size ** (at[:, None] - at).clamp(min=0), sums[:, None] - sums).tril()
    limits = {}
    for logs in (True, False):
        right, limits[logs] = turning(
            steps, size, phase, Roundoff(U, U, SINGLE.tiny, regrouped=U, logs=math.inf if logs else 0)
        )
    error = (apart.sum(1) - right).abs()
    assert bool((error <= limits[True]).all())
    assert bool((error > limits[False]).any())


def test_a_cell_state_whose_terms_cancel() -> None:
    """What errs is each of the terms, not what is left of them: those above zero one way, the others the other."""
    steps, u = 3000, Roundoff(U, U, SINGLE.tiny, regrouped=U)
    p = NotRecurrent(torch.zeros(3, 1), torch.zeros(3, 1), None, None, None)
    f = torch.full((steps, 1, 1), 1 - 1 / MEMORY, dtype=torch.float64)
    v = torch.ones(steps, 1, 1, dtype=torch.float64)
    v[1::2] = -1
    none, c0 = torch.zeros((), dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    found = Bounded(p, 3, u).carry(Number(f, none, u, is_gate=True), Number(c0, c0, u), Number(v, none, u))
    parts = [stepped(f * (1 + sign * U), (sign * v).clamp(min=0), c0[0]) for sign in (1, -1)]
    off = (parts[0] - parts[1]) - stepped(f, v, c0[0])
    assert bool((off.abs() <= found.e).all())
    assert float(found.v.abs().max()) < 2
