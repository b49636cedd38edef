"""All steps at once beside loops, and every quantity's bound beside what float32 really errs by."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.bounded_values import Number, Product
from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.product_bounds import RowBlock, affine, length
from rnnspect.arithmetic.roundoff import ROUNDOFF, SINGLE, Roundoff
from rnnspect.arithmetic.scan import Scan
from rnnspect.arithmetic.screen import Screening
from rnnspect.arithmetic.sum_orders import Ordered, _fused, worst_of_orders
from rnnspect.cells import CELLS
from rnnspect.cells.functions import SIGMOID, Activation, Functions, Nonlinearity
from rnnspect.judging.layer import cast
from rnnspect.network.parameters import LayerParameters
from tests.judging.cases import Case, build, parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.mark.each_value_once
@pytest.mark.parametrize("steps", [1, 2, 15, 16, 17, 63, 64, 129, 1000])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 500)])
def test_scan_is_the_loop(steps: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(steps)
    f, v = (torch.rand(steps, *shape, dtype=torch.float64) for _ in range(2))
    f[torch.rand_like(f) < 0.1] = 0
    f[torch.rand_like(f) < 0.1] = 1
    start, scan = torch.randn(shape, dtype=torch.float64), Scan(f)
    for given in (v - 0.5, 1e-300 * v):  # one f, several v
        c, loop = start, []
        for factor, value in zip(f, given, strict=True):
            c = factor * c + value
            loop.append(c)
        size = 1e-14 * float(given.abs().max())
        torch.testing.assert_close(scan(start, given.clone()), torch.stack(loop), rtol=1e-12, atol=size)
        turned = Scan(f.flip(0), back=True)(start, given.flip(0)).flip(0)
        torch.testing.assert_close(turned, torch.stack(loop), rtol=1e-12, atol=size)


def test_scan_of_gates_that_underflow() -> None:
    f, v = torch.full((200, 1, 4), 1e-30), torch.ones(200, 1, 4)
    assert torch.equal(Scan(f)(torch.ones(1, 4), v), torch.ones(200, 1, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 15, 16, 300])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("onto", [False, True])
def test_affine_is_the_product(dtype: torch.dtype, rows: int, bias: bool, onto: bool) -> None:
    torch.manual_seed(0)
    x, w, b, base = torch.randn(rows, 70), torch.randn(33, 70), torch.randn(33), torch.randn(rows, 33)
    x, w, b, base = (v.to(dtype) for v in (x, w, b, base))
    exact = x.double() @ w.double().T
    exact = exact + b.double() if bias else exact
    exact = exact + base.double() if onto else exact
    out = affine(x, w, b if bias else None, base.clone() if onto else None)
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1, 1e25, 1e37])
def test_length_where_squares_leave_the_range(scale: float) -> None:
    v = torch.randn(5, 40).clamp(-2, 2) * scale
    torch.testing.assert_close(length(v).double(), v.double().norm(dim=1), rtol=1e-5, atol=1e-44)
    assert torch.equal(length(torch.zeros(2, 3)), torch.zeros(2))


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [Bounded, Ordered])
@pytest.mark.parametrize("proj", [0, 5])
@pytest.mark.parametrize("cell", ["tanh", "relu", "gru", "lstm"])
def test_every_bound_holds_what_a_narrow_run_errs_by(cell: str, proj: int, kind: type[Bounded], dtype) -> None:
    """One step from given states: numbers in the narrow dtype beside the same in float64, every quantity."""
    case = Case(cell, dtype, 30, 4, 20, 16, proj if cell == "lstm" else 0, scale=2)
    p, u = parameters(build(case)), ROUNDOFF[dtype]
    what = CELLS[case.cell]
    x, h = torch.randn(30, 4, 20).to(dtype), torch.rand(30, 4, case.proj or 16).to(dtype)
    c = torch.randn(4, 16).to(dtype)
    wide = cast(p, torch.float64)
    a = kind(wide, len(what.gates), u, case.nonlinearity)
    state = [a.observed(h.double())]
    if what.has_cell_state:
        state.append(Number(c.double(), torch.zeros_like(c, dtype=torch.float64), u))
    bounded = what.step(a, a.input(x.double()), *state)
    steps: dict[str, list[torch.Tensor]] = {}
    exact: dict[str, list[torch.Tensor]] = {}
    for into, q, kept in ((steps, p, dtype), (exact, wide, torch.float64)):
        numbers, now = Numbers(q, len(what.gates), case.nonlinearity), c.to(kept)
        for row, before in zip(x.to(kept), h.to(kept), strict=True):
            s = torch.nn.functional.linear(row, q.weight_ih, q.bias_ih)
            found = what.step(numbers, s, before, *([now] if what.has_cell_state else []))
            now = found.get("c", now)
            for name, value in found.items():
                into.setdefault(name, []).append(value.detach().double())
    for name in what.quantities:
        narrow, right = torch.stack(steps[name]), torch.stack(exact[name])
        torch.testing.assert_close(bounded[name].v, right, rtol=1e-9, atol=1e-9)
        ratio = ((narrow - right).abs() / bounded[name].e).max()
        assert ratio <= 1, name
        assert ratio > 1e-3, f"{name}: a bound that is a thousand times too wide proves nothing"


def test_overflow_of_what_is_stored_has_no_bound() -> None:
    u = ROUNDOFF[torch.float16]
    v = torch.tensor([1.0, 65450.0, 65504.0, 7e4])
    assert u.store(v, torch.full_like(v, 100)).isinf().tolist() == [False, True, True, True]


def test_only_coarse_storage_is_charged_value_by_value() -> None:
    assert [u.coarse for u in ROUNDOFF.values()] == [False, False, True, True]
    assert not Roundoff(2.0**-24, 2.0**-24, 0, products=2.0**-10).coarse


@pytest.mark.parametrize("then", ["sigmoid", "tanh"])
@pytest.mark.parametrize("rows", [3, 300])
@pytest.mark.parametrize("onto", [False, True])
def test_a_function_after_a_product_errs_by_less_than_a_kernel_may(then: str, rows: int, onto: bool) -> None:
    """The products are exact, so that only the function errs; 4 u is what torch's own kernels err by."""
    x = torch.arange(rows * 64).view(rows, 64).remainder(401).sub(200) / 16
    w = torch.eye(64)
    base = torch.ones(rows, 64) if onto else None
    exact = getattr((x + 1 if onto else x).double(), then)()
    torch.testing.assert_close(affine(x, w, None, base, then).double(), exact, rtol=0, atol=4 * 2.0**-24)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 5.0])
@pytest.mark.parametrize("again", [1, 3])
def test_a_screen_gives_the_same_values_and_no_wider_a_bound(name: str, scale: float, again: int) -> None:
    """Also of the third chunk, whose two products are one, and where some units have much shorter rows."""
    torch.manual_seed(0)
    cell, steps, batch, inputs, hidden = CELLS[name], 9, 3, 20, 30
    gates = len(cell.gates)
    w_ih, w_hh = scale * torch.randn(gates * hidden, inputs), scale * torch.randn(gates * hidden, hidden)
    w_ih[::7] *= 1e-3
    w_hh[::5] = 0
    p = LayerParameters(w_ih, w_hh, torch.randn(len(w_ih)), torch.randn(len(w_ih)), None)
    x, h = 0.1 * torch.randn(steps, batch, inputs), torch.rand(steps, batch, hidden) - 0.5
    u = ROUNDOFF[torch.float32]
    plain, screen = Bounded(p, gates, u), Screening(p, gates, u)
    for _ in range(again):
        found = []
        for a in (plain, screen):
            c = torch.ones(batch, hidden)
            state = [Number(c, torch.zeros_like(c), u)] if cell.has_cell_state else []
            found.append(cell.step(a, a.input(x), a.observed(h), *state)["h"])
        full, floor = found
        torch.testing.assert_close(floor.v, full.v, rtol=0, atol=float(full.e.max()))
        assert bool((floor.e <= full.e * (1 + 1e-5)).all())


def test_a_sum_with_fused_multiply_add_is_rounded_once_a_term() -> None:
    """Exactly: numpy rounds a float64 to float32 in one way, here as in the loop."""
    x, w = (torch.randn(3, n, 7, 4).float().double().numpy() for n in (1, 5))
    found = _fused(x, w)
    assert found.dtype == np.float32
    for n, unit, lane in np.ndindex(found.shape):
        total = np.float32(0)
        for i in range(x.shape[2]):
            total = np.float32(x[n, 0, i, lane] * w[n, unit, i, lane] + np.float64(total))
        assert found[n, unit, lane] == total


CLIPPED = Functions(SIGMOID, Activation("softsign"), clip=2.0)
HALF, TF32 = ROUNDOFF[torch.float16], Roundoff(2.0**-24, 2.0**-24, 2.0**-126, products=2.0**-10)


def _gated(a: Bounded, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Iterator[tuple[str, Number | Product]]:
    """Every operation that a cell with gates uses, each value in more than one place, with the operation's name."""
    before, state = a.observed(h), Number(c, torch.full_like(c, 1e-3), a.u)
    wx = a.input(x)
    wh = a.hidden(before)
    yield from [("observed", before), ("state", state), *(("product", one) for one in (*wx, *wh))]
    s = [*a.gates(wx, before), *(p + q for p, q in zip(wx, wh, strict=True))]
    yield from (("sum of products", one) for one in s)
    i, f, n, o = a.sigmoid(s[0]), a.sigmoid(s[1]), a.tanh(s[2]), a.sigmoid(s[3])
    yield from [("sigmoid", i), ("sigmoid", f), ("tanh", n), ("sigmoid", o)]
    yield "gate times product", (reset := i * wh[2])
    yield "product plus number", (sum_ := wx[2] + reset)
    yield "tanh of a number", a.tanh(sum_)
    yield "gate times number", (added := i * n)
    after = a.carry(f, state, added)
    yield from [("carry", after), ("carry", a.carry(o, state, added)), ("carry", a.carry(f, state, n))]
    yield from [("squash", a.squash(after)), ("output", o * a.squash(after)), ("output", o * after)]
    yield from [("lerp", a.lerp(n, before, o)), ("lerp", a.lerp(n, before, i))]


def _others(a: Bounded, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Iterator[tuple[str, Number | Product]]:
    """What only some cells use."""
    values: dict[str, Number | Product] = {}
    for name, value in _gated(a, x, h, c):
        values[name] = value
        yield name, value
    s, n, o = values["sum of products"], values["tanh"], values["sigmoid"]
    yield from [("phi", a.phi(s)), ("phi of a number", a.phi(n)), ("rest", a.rest(n)), ("rest", a.rest(o))]
    yield from [("sum", n + o), ("number plus product", n + s), ("times", n * o), ("lerp", a.lerp(o, n, n))]
    if a.parameters.weight_ch is not None:
        yield from (("peephole", p * o + s) for p in a.peepholes())
    yield from [("hidden of a number", product) for product in a.hidden(a.rest(a.tanh(s)))]
    yield "projection", (m := a.project(o))
    yield "squash of a projection", a.squash(m)


def _read(value: Number | Product) -> Iterator[torch.Tensor]:
    if isinstance(value, Product):
        yield value.allowance
    yield from (value.v, value.e)


def _assert_reads_the_same(values: Callable[[], Iterator[tuple[str, Number | Product]]]) -> None:
    """At once, again after every later operation, and where nothing is read before all of them are done."""
    at_once = [(name, value, [one.clone() for one in _read(value)]) for name, value in values()]
    late = list(values())
    for (name, value, first), (_, unread) in zip(at_once, late, strict=True):
        for one in (value, value, unread, unread):
            assert all(map(torch.equal, _read(one), first)), name


@pytest.mark.each_value_once
@pytest.mark.parametrize("scale", [0.1, 3.0])
@pytest.mark.parametrize("u", [SINGLE, HALF, TF32], ids=["float32", "float16", "tf32"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", CLIPPED], ids=["tanh", "relu", "clipped"])
@pytest.mark.parametrize("kind", [Bounded, Ordered])
def test_a_value_reads_the_same_for_ever(kind: type[Bounded], nonlinearity: Nonlinearity, u: Roundoff, scale: float):
    torch.manual_seed(0)
    w = [scale * torch.randn(*shape) for shape in ((20, 3), (20, 5), (20,), (20,))]
    peepholes = w[2][:15] if nonlinearity == "relu" else None
    p, steps = LayerParameters(*w, torch.randn(5, 5), peepholes), 16 if peepholes is None else 1
    x, h, c = torch.randn(steps, 2, 3), torch.rand(steps, 2, 5) - 0.5, torch.randn(2, 5)
    _assert_reads_the_same(lambda: _others(kind(p, 4, u, nonlinearity), x, h, c))


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_a_value_of_a_screen_reads_the_same_until_its_next_look(scale: float):
    torch.manual_seed(0)
    w = [scale * torch.randn(*shape) for shape in ((20, 3), (20, 5), (20,), (20,))]
    x, h, c = torch.randn(16, 2, 3), torch.rand(16, 2, 5) - 0.5, torch.randn(2, 5)
    _assert_reads_the_same(lambda: _gated(Screening(LayerParameters(*w, None), 4, SINGLE), x, h, c))


def test_a_second_look_at_a_float64_sum_knows_a_plain_loop() -> None:
    """On constant terms a loop rounds each addition in the same direction, which a sum in pairs does not."""
    terms = np.full((1, 10_000), 0.1)
    exact, allowed = worst_of_orders(terms, np.ones_like(terms), ROUNDOFF[torch.float64], 1)
    looped = functools.reduce(operator.add, terms[0].tolist())
    paired = abs(float(terms.sum()) - exact[0])
    assert 100 * paired < abs(looped - exact[0]) <= allowed[0]


def test_what_loses_nothing_is_no_rounding() -> None:
    """A change of sign, and the first of several products: there is nothing yet to add it to."""
    u, none = ROUNDOFF[torch.bfloat16], torch.zeros((), dtype=torch.float64)
    v = Number(torch.full((1, 1, 1), 3.0, dtype=torch.float64), torch.full((1, 1, 1), 0.5, dtype=torch.float64), u)
    minus, third = (Number(torch.tensor(of, dtype=torch.float64), none, u) for of in (-1.0, 1 / 3))
    assert float((minus * v).e) == 0.5
    assert float((third * v).e) == pytest.approx(0.5 / 3 + u.stored)
    one = torch.eye(1, dtype=torch.float64)
    a = Bounded(LayerParameters(one, one, None, None, None), 1, u)
    (product,) = a.input(v.v)
    assert float(product.e) == pytest.approx(3 * u.stored, rel=0.01)  # and what adding up errs by in float32


def test_an_absolute_error_of_x_counts_as_much_as_the_weights_carry_it_on() -> None:
    """As of x that was recorded in a few decimals: W x is off by up to Σ |W| times that."""
    w = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    off, u = 5e-5, ROUNDOFF[torch.float32]
    more = RowBlock.of(w, None, 5, u, (0.0, off)).offset - RowBlock.of(w, None, 5, u, (0.0, 0.0)).offset
    torch.testing.assert_close(more, w.abs().sum(1) * off, rtol=1e-6, atol=0)  # the sums round in float64
