"""What a chunk's terms err by, beside a chunk of which each number is rounded by drawn amounts, many times over."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rnnspect.arithmetic.delta_rule import MatrixErrors, Off, delta_rule, read_by
from rnnspect.arithmetic.delta_terms import Written, along_keys
from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff

EPS, TRIALS, STEPS, KEYS, VALUES = 1e-6, 400, 12, 8, 3
Steps = tuple[Tensor, Tensor, Tensor, Tensor]
"""β (steps), k (steps, keys), v (steps, values) and the logarithms of decays (steps)."""


def drawn(seed: int = 0) -> tuple[Tensor, Steps]:
    """Matrices (keys, values) to begin with, and steps that write anything."""
    a = torch.Generator().manual_seed(seed)
    s, k, v = (torch.randn(*shape, generator=a).double() for shape in ((KEYS, VALUES), (STEPS, KEYS), (STEPS, VALUES)))
    b, g = (torch.rand(STEPS, generator=a).double() for _ in range(2))
    return s, (b, torch.nn.functional.normalize(k, dim=-1), v, -0.3 * g)


def nothing_written() -> tuple[Tensor, Steps]:
    s, (b, k, v, g) = drawn()
    return s, (b * 0, k, v, g)


def what_is_there_already() -> tuple[Tensor, Steps]:
    """v is what k reads, of matrices that lie along k: nothing changes, and two terms cancel at each step."""
    s, (b, k, v, g) = drawn()
    along = torch.full_like(k, KEYS**-0.5)
    return torch.ones_like(s), (b, along, torch.full_like(v, math.sqrt(KEYS)), g * 0)


def zeros_where_k_reads_much() -> tuple[Tensor, Steps]:
    s, (b, k, v, g) = what_is_there_already()
    return s, (b * 0 + 0.02, k, v * 0, g)


def zeros_where_k_reads_nothing() -> tuple[Tensor, Steps]:
    """Large numbers of turning sign, of which k reads a sum of zero."""
    s, (b, k, v, g) = zeros_where_k_reads_much()
    return s * torch.tensor([1.0, -1.0]).repeat(KEYS // 2)[:, None], (b * 0 + 0.9, k, v, g)


def from_zeros() -> tuple[Tensor, Steps]:
    s, steps = drawn()
    return s * 0, steps


def written_once_and_forgotten() -> tuple[Tensor, Steps]:
    s, (b, k, v, g) = from_zeros()
    once = (torch.arange(STEPS) == 0).double()
    return s, (b * once, k, v, g * 0 - 1)


CASES = {
    made.__name__: made
    for made in (
        *(drawn, nothing_written, what_is_there_already, zeros_where_k_reads_much),
        *(zeros_where_k_reads_nothing, from_zeros, written_once_and_forgotten),
    )
}


def rounded_chunk(s: Tensor, steps: Steps, q: Tensor) -> tuple[Tensor, Tensor]:
    """q·s and s after the last step, (trials, ·), as one chunk has them: each number rounded by up to ε, either way."""
    (b, k, v, g), draw = steps, torch.Generator().manual_seed(1)

    def off(x: Tensor, by: Tensor | float = 1.0) -> Tensor:
        shape = x.shape if len(x) == TRIALS else (TRIALS, *x.shape)
        return x * (1 + EPS * by * (2 * torch.rand(shape, generator=draw).double() - 1))

    sums = g.cumsum(0)
    apart = (sums[:, None] - sums).tril()
    decays = off(apart.exp().tril(), apart.abs() + 1)  # of the difference, and of exp
    among = off(off(off(b[:, None] * k) @ k.T) * decays).tril(-1)
    solved = off(torch.linalg.inv(torch.eye(STEPS).double() + among))
    from_s = off(off(solved @ off(off(b[:, None] * k) * off(sums.exp())[..., None]))[..., None] * s).sum(-2)
    new = off(off(solved[..., None] * off(b[:, None] * v)[:, None]).sum(-2) - from_s)
    last, begun = decays[:, -1], off(sums[-1:].exp())[..., None]
    h = off(off(off(off(k @ q) * last)[..., None] * new).sum(-2) + off(off(q * begun[..., 0])[..., None] * s).sum(-2))
    made = off(off(off(k * last[..., None])[..., None] * new[:, :, None]).sum(1) + off(begun * s))
    return h, made


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_covariance", [True, False])
def test_it_is_above_what_rounding_each_number_does(case: str, with_covariance: bool) -> None:
    """A rounding anywhere in ± ε alike has a standard deviation of ε / √3."""
    s, (b, k, v, g) = CASES[case]()
    q = torch.randn(KEYS, generator=torch.Generator().manual_seed(2)).double()
    u = Roundoff(EPS, EPS, 0.0, regrouped=EPS, logs=math.inf)
    made, written = s[None], Written.begin(s[None], u, with_covariance)
    for t in range(STEPS):
        f = g[t].exp().view(1, 1)
        kept, written = made * f, written.decayed(f, u)
        wrong = v[t] - along_keys(kept, k[None, t])
        made = kept + b[t] * k[t][None, :, None] * wrong[:, None]
        written = written.with_written(b[t].view(1, 1), k[None, t], v[None, t], wrong, made)
    h, last = rounded_chunk(s, (b, k, v, g), q)
    torch.testing.assert_close(h.mean(0), along_keys(made, q[None])[0], rtol=0, atol=1e-4)
    read, each = (written.variance(q[None], u)[0] / 3).sqrt(), written.each(u)[0] / math.sqrt(3)
    assert bool((h.std(0) <= read).all()), h.std(0) / read
    assert bool((last.std(0) <= each).all()), last.std(0) / each


def test_both_looks_and_a_step_count_what_was_written() -> None:
    """Where nothing else rounds, λ of its standard deviations: of ε / √3 each at the first look, of ε at the second."""
    s, (b, k, v, _) = drawn()
    u, q = Roundoff(0.0, 0.0, 0.0, regrouped=EPS), torch.randn(1, KEYS, dtype=torch.float64)
    none = torch.zeros(1, VALUES, KEYS, KEYS, dtype=torch.float64)
    errors = MatrixErrors(none[..., 0, 0], none, Written.begin(s[None], u, with_covariance=True))
    assert errors.written is not None

    def exact(of: Tensor) -> Off:
        return Off(of, torch.zeros_like(of))

    most = errors.written.variance(q, u).sqrt() * LAMBDA
    torch.testing.assert_close(read_by(exact(s[None]), errors, exact(q), u, surely=True), most)
    torch.testing.assert_close(read_by(exact(s[None]), errors, exact(q), u, surely=False), most / math.sqrt(3))
    given = exact(b[:1, None]), exact(k[:1]), exact(v[:1])
    _, after = delta_rule(exact(s[None]), errors, None, given, u)
    torch.testing.assert_close(after.lengths, b[0] * errors.written.variance(k[:1], u).sqrt() * LAMBDA)
    assert after.covariance is not None
    along = b[0] ** 2 * errors.written.variance(k[:1], u)
    torch.testing.assert_close(after.covariance[0], along[0, :, None, None] * k[0][:, None] * k[0])
