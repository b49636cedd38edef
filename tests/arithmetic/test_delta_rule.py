"""The bound of a gated delta run: above what a float32 run errs by, and not far above it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rnnspect.arithmetic import matrices
from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.delta_rule import MatrixErrors, Off, Written, read_by
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.arithmetic.sum_orders import Ordered
from rnnspect.network.parameters import LayerParameters

U = ROUNDOFF[torch.float32]


def exact(v: Tensor) -> Number:
    return Number(v.double(), torch.zeros_like(v, dtype=torch.float64), U)


def run(heads: int, keys: int, steps: int, decay: float, steady: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """What h = Sᵀ q of a float32 run errs by at each step, its bound, and that of the second look."""
    generator = torch.Generator().manual_seed(0)
    units = heads * keys
    p = LayerParameters(torch.zeros(units, 1), torch.zeros(units, units), None, None, None)
    looks: list[Bounded] = [Bounded(p, 1, U), Ordered(p, 1, U)]
    state = exact(torch.zeros(1, heads * keys * keys))
    s, found = torch.zeros(1, heads * keys * keys), []
    for step in range(steps):
        if steady:
            generator.manual_seed(step % 2)
        k, q = (normalize(torch.randn(1, 1, heads, keys, generator=generator), dim=-1).flatten(2) for _ in range(2))
        v, b = torch.randn(1, 1, units, generator=generator), torch.rand(1, 1, heads, generator=generator)
        f = torch.exp(-decay * torch.rand(1, 1, heads, generator=generator))
        made = looks[0].delta(state, *map(exact, (f, b, k, v)), heads)
        bounds = [look.by_key(made, exact(q), heads) for look in looks]
        kept = matrices.along_values(f, keys * keys) * s
        wrong = v - matrices.by_key(kept, k, heads)
        s = (kept + matrices.outer(matrices.along_values(b, keys) * k, wrong, heads))[0]
        error = (matrices.by_key(s[None], q, heads).double() - bounds[0].v).abs()
        found.append(torch.stack([error, *(one.e for one in bounds)]))
        assert made.errors is not None
        state = Number(made.v[0], made.e[0], U, errors=made.errors.each(lambda of: of[-1]))
    error, first, second = torch.stack(found, 1)
    return error, first, second


@pytest.mark.parametrize(("heads", "keys", "decay"), [(2, 16, 0.1), (1, 4, 0.01), (2, 8, 0.0)])
def test_its_median_is_at_most_thirty_times_the_error(heads: int, keys: int, decay: float) -> None:
    error, first, second = run(heads, keys, 512, decay)
    assert bool((error <= first).all())
    assert bool((first <= second).all())
    assert float(first.median()) <= 30 * float(error.median())


def test_roundings_that_repeat_stay_below_the_second_look() -> None:
    """On input that takes turns between two values each step rounds as two steps before: nothing cancels."""
    error, _, second = run(2, 8, 200, 0.0, steady=True)
    assert bool((error <= second).all())


def test_a_complex_decay_takes_an_error_along_by_its_absolute_value() -> None:
    """|p| + |q| is up to √2 |λ|: over 2,000 steps a bound made of that would be above 1e200. |λ| is 0.999 here."""
    units, generator = 8, torch.Generator().manual_seed(0)
    p = LayerParameters(torch.zeros(units, 1), torch.zeros(units, units), None, None, None)
    look, phase = Bounded(p, 1, U), torch.rand(units, generator=generator) * 6.28
    re, im = 0.999 * phase.cos(), 0.999 * phase.sin()
    state, s = exact(torch.zeros(1, 2 * units)), torch.zeros(1, 2 * units)
    for _ in range(2000):
        v = torch.randn(1, 1, 2 * units, generator=generator)
        made = look.carry_complex(exact(re), exact(im), state, exact(v))
        c_re, c_im = s.chunk(2, -1)
        s = torch.cat([re * c_re - im * c_im, re * c_im + im * c_re], -1) + v[0]
        assert bool(((s.double() - made.v[0]).abs() <= made.e[0]).all())
        assert made.errors is not None
        state = Number(made.v[0], made.e[0], U, errors=made.errors.each(lambda of: of[-1]))
    assert float(state.e.max()) < 1e-3 * float(s.abs().max())


@pytest.mark.parametrize("surely", [True, False], ids=["at most", "independent roundings"])
@pytest.mark.parametrize("carried", [True, False], ids=["with covariances", "lengths alone"])
def test_what_a_chunk_reads_term_by_term_may_be_off_where_the_matrix_is_exact(surely: bool, carried: bool) -> None:
    """Σ (q·k) w of all that was written is what a chunk has in place of q·S. Here three writes cancel to the last bit,
    so that S is exactly zero, and nothing but that sum of three rounds."""
    keys, u, generator = 4, replace(U, regrouped=U.sums), torch.Generator().manual_seed(0)
    q = torch.randn(1000, keys, generator=generator)
    k = torch.randint(-8, 8, (2, keys), generator=generator).float()
    k, w = torch.cat([k, k.sum(0, keepdim=True)]), torch.tensor([1.0, 1.0, -1.0])
    assert not bool((w @ k).any())
    read = (q[:, :1] * k[:, 0] + q[:, 1:2] * k[:, 1] + q[:, 2:3] * k[:, 2] + q[:, 3:] * k[:, 3]) @ w
    assert bool(read.any())
    squares = (k.double()[:, :, None] * k.double()[:, None, :]).sum(0)
    none = torch.zeros(1000, 1, 1, dtype=torch.float64)
    squares = squares.expand(1000, 1, 1, keys, keys) if carried else none + squares.trace()
    covariance = torch.zeros(1000, 1, 1, keys, keys, dtype=torch.float64) if carried else None
    s = torch.zeros(1000, 1, keys, 1, dtype=torch.float64)
    largest = s + (w[:, None] * k).cumsum(0).abs().amax(0).double()[:, None]
    errors = MatrixErrors(none, covariance, Written(squares, largest, none[..., None]))
    allowed = read_by(Off(s, s), errors, exact_by_head(q), u, surely)
    assert bool((read.double().abs() <= allowed.flatten()).all())


def exact_by_head(q: Tensor) -> Off:
    return Off(q.double()[:, None], torch.zeros(len(q), 1, q.shape[-1], dtype=torch.float64))
